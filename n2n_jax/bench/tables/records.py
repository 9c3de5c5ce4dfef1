"""What is kept of a cell once it is done: a small JSON file, without weights.

Records outlive the runs: a table is made from them alone, on any machine, and a cell that has one
is not run again.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from n2n_jax.bench.tables import costs
from n2n_jax.bench.tables.cells import Cell, asked, differences
from n2n_jax.data.sources import name_of
from n2n_jax.evaluate.report import Report
from n2n_jax.runtime import json_files
from n2n_jax.runtime.atomic_files import write_text
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.result_rows import Row

_DIGITS = 7  # significant ones, of scores; a file has thousands
_FOLDER = 'cells'


@dataclasses.dataclass(frozen=True)
class Score:
    """The scores of a cell on one set under one noise.

    Attributes:
      asked: what was asked for, see `cells.asked`.
      row: means and protocol, as in results.json.
      images: name of each image.
      per_image: by metric, the score of the output for each image, averaged over its noisy
        versions; early records have only some of the metrics.
      curve: PSNR by step, of runs that are scored as they go.
    """

    asked: Mapping[str, Any]
    row: Row
    images: list[str]
    per_image: Mapping[str, list[float]]
    curve: Mapping[int, float]


@dataclasses.dataclass(frozen=True)
class Record:
    """What is known about a cell.

    Attributes:
      key: of the cell.
      title: of the cell, when it was run; another table may call it otherwise.
      config: the values of its config that are not the defaults.
      diverged: why it has no scores; '' if it has.
      scores: one for each set and noise it was scored on.
      parameters: of the network; 0 for a classical method.
      crops: that it was trained on.
      seconds: that training took, or scoring a classical method.
      seconds_per_megapixel: that denoising takes on this machine, whatever else it does; 0 where
        that was not measured.
      files: the start of the SHA-256 of each file of the user's that it needed, by name.
      run: provenance of the run (commit, versions, device, date), without its command.
    """

    key: str
    title: str
    config: Mapping[str, Any]
    diverged: str
    scores: list[Score]
    parameters: int
    crops: int
    seconds: float
    run: Mapping[str, Any]
    seconds_per_megapixel: float = 0.0
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def code(self) -> str:
        """The commit that made it, or the version where there was no checkout."""
        return code_of(self.run)

    def score(self, wanted: Mapping[str, Any]) -> Score | None:
        """Returns the scores that an entry of `cells.asked` asks for, or None."""
        for score in self.scores:
            if _answers(score.asked, wanted):
                return score
        return None

    def answers(self, cell: Cell) -> bool:
        """Checks whether nothing is left to do for a cell."""
        wanted = asked(cell.config.eval)
        return bool(self.diverged) or all(self.score(one) is not None for one in wanted)

    def with_scores(self, new: Iterable[Score]) -> 'Record':
        """Returns the record with more scores, which replace those of the same kind."""
        new = list(new)
        old = [s for s in self.scores if not any(_answers(n.asked, s.asked) for n in new)]
        return dataclasses.replace(self, scores=[*old, *new])


def code_of(run: Mapping[str, Any]) -> str:
    """Returns what a provenance says of the code: its commit, else its version."""
    return str(run.get('commit') or run.get('n2n_jax', ''))


def _answers(have: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    same = all(have[key] == wanted[key] for key in wanted if key != 'metrics')
    return same and set(wanted['metrics'].split(',')) <= set(have['metrics'].split(','))


def scores_of(report: Report, cell: Cell, curves: Iterable[Row] = ()) -> list[Score]:
    """Returns the scores of a report, in the order in which the cell asks for them.

    Args:
      report: the evaluation of the cell.
      cell: the cell.
      curves: rows of earlier evaluations of the same run.
    """
    found = []
    for wanted in asked(cell.config.eval):
        name = name_of(wanted['set'])
        k = next(
            k
            for k, row in enumerate(report.rows)
            if (row['set'], row['noise']) == (name, wanted['noise'])
        )
        row, captures = report.rows[k], report.images[k]
        by_image: dict[str, list[dict[str, Any]]] = {}
        for capture in captures:
            by_image.setdefault(capture['image'], []).append(capture['metrics'])
        per_image = {
            metric: [
                _rounded(np.mean([version[metric]['out'] for version in versions]))
                for versions in by_image.values()
            ]
            for metric in row['metrics']
        }
        curve = {
            earlier['step']: _rounded(earlier['metrics']['psnr']['out'])
            for earlier in curves
            if earlier.get('id') == row['id'] and earlier['step'] < row['step']
        }
        found.append(Score(wanted, row, list(by_image), per_image, curve))
    return found


def _rounded(value: float | np.floating) -> float:
    return float(f'{value:.{_DIGITS}g}')


def new(cell: Cell, run: Mapping[str, Any], *, crops: int, seconds: float) -> Record:
    """Returns the record of a cell without scores.

    Args:
      cell: the cell.
      run: its provenance.
      crops: that it was trained on.
      seconds: that it took.
    """
    parameters = 0 if cell.arm.method else costs.num_parameters(cell.config.model)
    kept = {key: value for key, value in run.items() if key != 'command'}  # it has the user's paths
    return Record(
        cell.key, cell.title, differences(cell.config), '', [], parameters, crops, seconds, kept
    )


def write(folder: Path, record: Record) -> None:
    """Writes the record of a cell into the folder of a table."""
    text = json_files.dumps(as_json(record), indent=None)
    write_text(folder / _FOLDER / f'{record.key}.json', text)


def as_json(record: Record) -> dict[str, Any]:
    """Returns the content of the file of a record."""
    return dataclasses.asdict(record)


def read_all(folder: Path, table: Path) -> dict[str, Record]:
    """Reads the records of a folder by key: of the file of a table, then of single cells.

    Args:
      folder: the folder.
      table: file of the table, which holds all of its records; it may be missing.

    Raises:
      UserError: a file is damaged.
    """
    cells = sorted((folder / _FOLDER).glob('*.json'))
    singles = [record for file in cells for record in _read(file, lambda content: [content])]
    return read_table(table) | {record.key: record for record in singles}


def read_table(file: Path) -> dict[str, Record]:
    """Reads the records in the file of a table by key; none if there is no such file.

    Raises:
      UserError: the file is damaged.
    """
    return {record.key: record for record in _read(file, lambda content: content['cells'])}


def _read(file: Path, cells_of: Callable[[Any], list[Any]]) -> list[Record]:
    way_out = 'move it away, and its cells are run again.'
    try:
        content = json_files.restored(json_files.read(file, way_out=way_out))
        return [_parsed(cell) for cell in cells_of(content)]
    except FileNotFoundError:
        return []
    except UserError:  # which is a ValueError
        raise
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UserError(f'{file} is damaged: {way_out}') from None


def _parsed(content: dict[str, Any]) -> Record:
    scores = [
        Score(**{**one, 'curve': {int(step): psnr for step, psnr in one['curve'].items()}})
        for one in content['scores']
    ]
    return Record(**{**content, 'scores': scores})
