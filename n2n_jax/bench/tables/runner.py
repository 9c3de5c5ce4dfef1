"""Runs the cells of a table: each an ordinary resumable run in a folder of its own."""

import collections
import contextlib
import dataclasses
import errno
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import jax

from n2n_jax.bench.tables import costs, records
from n2n_jax.bench.tables.cells import Cell, asked, cells, waiting
from n2n_jax.bench.tables.places import Places
from n2n_jax.bench.tables.records import Record
from n2n_jax.bench.tables.table import Arm, Table
from n2n_jax.evaluate import baseline_scores, baselines, follow
from n2n_jax.runtime import json_files
from n2n_jax.runtime.config import Config, ModelConfig, changed
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.parallel import make_layout
from n2n_jax.runtime.progress import duration
from n2n_jax.runtime.workdir import Workdir, provenance
from n2n_jax.train import loop

_log = logging.getLogger(__name__)


class Share(NamedTuple):
    """Which cells one of several processes runs: every `of`-th, from the `first` (from 1)."""

    first: int
    of: int


ALL = Share(1, 1)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How far a table has come.

    Attributes:
      records: of its cells, by key.
      cells: all of its cells that are known.
      failed: why a cell has no record, by its title.
      elsewhere: cells that another process is running.
      waiting: arms whose learning rate is not known yet.
      interrupted: whether the user stopped the program.
    """

    records: Mapping[str, Record]
    cells: list[Cell]
    failed: Mapping[str, str]
    elsewhere: list[str]
    waiting: list[str]
    interrupted: bool

    @property
    def complete(self) -> bool:
        """True once every cell has its record."""
        return not self.waiting and all(is_done(self.records, cell) for cell in self.cells)


def is_done(found: Mapping[str, Record], cell: Cell) -> bool:
    """Checks whether nothing is left to do for a cell."""
    return cell.key in found and found[cell.key].answers(cell)


class Runner:
    """Runs the cells of a table in a folder.

    Args:
      table: the table.
      budget: name of the budget.
      seeds: number of seeds.
      folder: for the runs and records, shared by all tables.
      places: where images and weights lie.
      share: the cells that this process runs.
      any_commit: whether to use records of other versions of the code.

    Attributes:
      table: the table.

    Raises:
      UserError: there is no such budget, a record is damaged, or records are of another commit.
    """

    def __init__(
        self,
        table: Table,
        budget: str,
        seeds: int,
        folder: Path,
        *,
        places: Places,
        share: Share = ALL,
        any_commit: bool = False,
    ):
        self.table, self._budget, self._seeds, self._folder = table, budget, seeds, folder
        self._places, self._share = places, share
        self._records: dict[str, Record] = {}
        self._failed: dict[str, str] = {}
        self._elsewhere: set[str] = set()
        self._done_here: list[float] = []  # seconds of each cell
        self._last_model: ModelConfig | None = None
        self._code = '' if any_commit else records.code_of(provenance())
        self._read()
        self._check_code()

    def run(self) -> Outcome:
        """Runs what is not done yet, until nothing is left that this process could do."""
        interrupted = False
        while not interrupted:
            todo = self._todo()
            if not todo:
                break
            self._say_what_is_left(todo)
            interrupted = not self._run_one(todo[0])
        return self.outcome(interrupted=interrupted)

    def outcome(self, *, interrupted: bool = False) -> Outcome:
        """Returns how far the table has come."""
        self._read()
        arms = waiting(self.table, self._budget, self._choose_rate)
        return Outcome(
            self._records,
            self._cells(),
            self._failed,
            sorted(self._elsewhere),
            [arm.title for arm in arms],
            interrupted,
        )

    def _cells(self) -> list[Cell]:
        return list(cells(self.table, self._budget, self._seeds, self._choose_rate))

    def _todo(self) -> list[Cell]:
        """Returns the cells that are left for this process, in order."""
        self._read()
        first, of = self._share
        return [
            cell
            for cell in self._cells()
            if cell.index % of == first - 1
            and not is_done(self._records, cell)
            and cell.title not in self._failed
            and not self._taken(cell)
        ]

    def _taken(self, cell: Cell) -> bool:
        taken = not cell.arm.method and self._workdir(cell).in_training
        (self._elsewhere.add if taken else self._elsewhere.discard)(cell.title)
        return taken

    def _read(self) -> None:
        self._records |= records.read_all(
            self._folder, table_file(self._folder, self.table, self._budget)
        )

    def _workdir(self, cell: Cell) -> Workdir:
        return Workdir(run_folder(self._folder, cell))

    def _choose_rate(self, arm: Arm) -> float | None:
        """Returns the rate of the best score on the search set; None if one is still missing."""
        scores: dict[float, float] = {}
        for cell in self._search_cells(arm):
            record = self._records.get(cell.key)
            if record is None or not record.answers(cell):
                return None
            found = [record.score(one) for one in asked(cell.config.eval)]
            psnrs = [one.row['metrics']['psnr']['out'] for one in found if one is not None]
            scores[cell.searched or 0.0] = sum(psnrs) / len(psnrs) if psnrs else float('-inf')
        best = max(scores, key=lambda rate: scores[rate])
        return best if scores[best] > float('-inf') else None

    def _search_cells(self, arm: Arm) -> list[Cell]:
        searching = cells(self.table, self._budget, 0, lambda _: None)
        return [cell for cell in searching if cell.arm is arm and cell.searched is not None]

    def _check_code(self) -> None:
        others: collections.Counter[str] = collections.Counter()
        for cell in self._cells():
            record = self._records.get(cell.key)
            if record is not None and self._code not in ('', record.code):
                others[record.code] += 1
        if others:
            listed = ', '.join(f'{count} of {code}' for code, count in others.items())
            raise UserError(
                f'{self._folder} holds cells of this table from another version of the code '
                f'({listed}; this is {self._code}): choose another folder with -o, or use them as '
                'they are with --any-commit, which the table then says.'
            )

    def _say_what_is_left(self, todo: list[Cell]) -> None:
        cell, total = todo[0], len(self._cells())
        left = ''
        if self._done_here:
            seconds = sum(self._done_here) / len(self._done_here) * len(todo)
            left = f', about {duration(seconds)} left'
        _log.info(
            '\n%s: %d of %d cells to do%s. Now: %s', self.table.name, len(todo), total, left,
            cell.title,
        )  # fmt: skip

    def _run_one(self, cell: Cell) -> bool:
        """Runs a cell and keeps its record; returns False if the user stopped it."""
        start = time.monotonic()
        if self._last_model not in (None, cell.config.model):
            jax.clear_caches()  # frees the compiled code of another network
        self._last_model = cell.config.model
        files: Mapping[str, str] = {}
        try:
            config = self._places.located(cell.config)
            files = self._places.fingerprints(cell.config)
            made = self._scored(cell, config) if cell.arm.method else self._trained(cell, config)
        except FloatingPointError as error:
            new = records.new(cell, provenance(), crops=0, seconds=time.monotonic() - start)
            made = dataclasses.replace(new, diverged=str(error).splitlines()[0])
        except UserError as error:
            if not self._taken(cell):  # by another process, a moment ago
                self._fail(cell, str(error))
            return True
        except OSError as error:
            if error.errno == errno.ENOSPC:  # nothing else would succeed either
                raise
            self._fail(cell, f'{type(error).__name__}: {error}')
            return True
        except Exception as error:
            _log.exception('%s failed', cell.title)
            self._fail(cell, f'{type(error).__name__}: {str(error).splitlines()[0]}')
            return True
        if made is None:
            return False
        records.write(self._folder, dataclasses.replace(made, files=files))
        self._done_here.append(time.monotonic() - start)
        return True

    def _fail(self, cell: Cell, why: str) -> None:
        self._failed[cell.title] = why
        _log.error('%s: %s', cell.title, why)

    def _scored(self, cell: Cell, config: Config) -> Record:
        """Scores a classical method."""
        made = baselines.make_list(cell.arm.method)
        start = time.monotonic()
        (report,) = baseline_scores.score(made, config, make_layout(1))
        self._read()  # another process may have scored it under another noise
        known = self._records.get(cell.key)
        seconds = time.monotonic() - start + (known.seconds if known else 0.0)
        record = records.new(cell, provenance(), crops=0, seconds=seconds)
        if known:
            record = record.with_scores(known.scores)
        return record.with_scores(records.scores_of(report, cell))

    def _trained(self, cell: Cell, config: Config) -> Record | None:
        """Trains a network and scores it; None if the user stopped it."""
        workdir = self._workdir(cell)
        self._check_code_of_run(workdir)
        # Scores of a run that is gone are those of other weights, if only by their last bits.
        known = self._records.get(cell.key) if workdir.started else None
        # The last weights are scored below, whatever was scored before.
        trained = changed(config, {'eval.in_loop': config.eval.every > 0})
        if not workdir.done and not loop.train(trained, workdir.path):
            return None
        report = follow.evaluate_checkpoint(config, workdir.path)
        done = json_files.read(workdir.path / 'DONE.json', way_out='delete the run.')
        record = records.new(
            cell,
            done['provenance'],
            crops=done['step'] * config.data.batch_size,
            seconds=done['wall_seconds'],
        )
        if cell.searched is None:
            speed = costs.seconds_per_megapixel(config.model)
            record = dataclasses.replace(record, seconds_per_megapixel=speed)
        if known is not None:
            record = record.with_scores(known.scores)
        return record.with_scores(records.scores_of(report, cell, workdir.rows()))

    def _check_code_of_run(self, workdir: Workdir) -> None:
        """Raises UserError if another version of the code has started a run."""
        with contextlib.suppress(FileNotFoundError):
            content = json_files.read(workdir.path / 'config.json', way_out='delete the run.')
            code = records.code_of(content.get('provenance', {}))
            if self._code not in ('', code):
                raise UserError(
                    f'{workdir.path} was started by another version of the code ({code}; this is '
                    f'{self._code}): delete it, or continue it with --any-commit.'
                )


def run_folder(folder: Path, cell: Cell) -> Path:
    """Returns the workdir of a cell."""
    return folder / 'runs' / cell.key


def table_file(folder: Path, table: Table, budget: str) -> Path:
    """Returns the file that holds a table and all of its records."""
    return folder / f'{table.name}-{budget}.json'
