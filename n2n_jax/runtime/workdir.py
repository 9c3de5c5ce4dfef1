"""The folder of a run: its files, and how they are written atomically.

config.json       resolved config and provenance, at start
config.py         of runs on captures: the same config, for `python -m n2n_jax.main --config`
imports/          copies of the user's Python files that it imports, see user_code
captures.json     which captures it was trained on, see n2n_jax.captures.trained_captures
parameters.txt    every parameter with its shape
metrics.jsonl     training curves, one JSON object per line
results.json      evaluation rows, for other programs
results.md        the same as a table
evaluation/       per-image scores and example images of each evaluation
checkpoints/      see n2n_jax.runtime.checkpoint
DONE.json         the run is complete
report.html       all of it as a web page, see n2n_jax.evaluate.run_page
FAILED.json       why the run ended with an error; removed when it is started again
"""

import contextlib
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from n2n_jax.runtime import config_file, file_locks, json_files, result_rows, user_code
from n2n_jax.runtime.atomic_files import is_temporary, write_text, wrong_kind
from n2n_jax.runtime.config import Config, from_saved, to_saved
from n2n_jax.runtime.config_identity import changes_on_resume
from n2n_jax.runtime.errors import UserError

_RUN_LOCK = '.training.lock'  # held as long as a run is trained
_FAILED = 'FAILED.json'
_LOCK_SECONDS = 0.5  # `in_training` of another program takes the lock for a moment
_PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'numpy')


def provenance() -> dict[str, Any]:
    """Returns the versions, device, commit and command behind a result."""
    return {
        'n2n_jax': metadata.version('n2n_jax') if _installed('n2n_jax') else 'source tree',
        'commit': _commit(),
        'python': platform.python_version(),
        'packages': {name: metadata.version(name) for name in _PACKAGES},
        'device': devices(),
        'cpu_count': os.cpu_count(),
        'xla_flags': os.environ.get('XLA_FLAGS', ''),
        'command': ' '.join(sys.argv),
        'date': _now(),
    }


def _now() -> str:
    return time.strftime('%Y-%m-%d %H:%M:%S %z')


def devices() -> str:
    """Returns the number and kind of the devices, such as '8 x NVIDIA H100'."""
    return f'{jax.device_count()} x {jax.devices()[0].device_kind}'


def _installed(package: str) -> bool:
    with contextlib.suppress(metadata.PackageNotFoundError):
        return bool(metadata.version(package))
    return False


def _commit() -> str:
    """Returns the commit of the source tree, with '+' if files differ; '' outside a checkout."""
    git = ['git', '-C', str(Path(__file__).parent)]
    try:
        describe = ['describe', '--always', '--abbrev=12', '--dirty=+', '--exclude=*']
        result = subprocess.run([*git, *describe], capture_output=True, text=True, check=False)
    except OSError:  # no git
        return ''
    return result.stdout.strip()


class Workdir:
    """The folder of a run."""

    def __init__(self, path: Path):
        self.path = path

    def check(self, config: Config) -> None:
        """Checks whether this folder can hold a run of `config`; writes nothing.

        A run that has saved nothing yet may be replaced.

        Raises:
          UserError: the folder holds a run of another config or other files, or it cannot be
            written.
        """
        self._check_access()
        file = self.path / 'config.json'
        if file.exists():
            old = self.config()
            if not self.has_checkpoints:
                for name in ('results.json', 'evaluation', 'DONE.json'):
                    if (self.path / name).exists():
                        raise UserError(
                            f'{self.path} holds results ({name}) but no checkpoint to resume '
                            'from: choose another --workdir.'
                        )
                return
            changes = changes_on_resume(old, config)
            if self.done and config.train.steps > old.train.steps:  # it is extended
                changes.pop('train.steps', None)
            self._check_code(old, config)
            if changes:
                listed = ', '.join(
                    f'{key} ({old!r} there, {new!r} here)' for key, (old, new) in changes.items()
                )
                raise UserError(
                    f'{self.path} holds a run of another config, which differs in: {listed}. '
                    'Choose another --workdir, or the same values.'
                )
        elif self.path.exists() and any(
            not (p.name == _RUN_LOCK or is_temporary(p) or user_code.is_left_over(p, config))
            for p in self.path.iterdir()
        ):
            raise UserError(f'--workdir {self.path} is not empty and holds no run: choose another.')

    def _check_code(self, old: Config, config: Config) -> None:
        name = user_code.changed(old.imports, config.imports)
        if name:
            raise UserError(
                f'{name} was changed since the run in {self.path} was trained with it, and changed '
                'code means another run: choose another --workdir, or go back to the copy in '
                f'{self.path / user_code.FOLDER}.'
            )

    def check_free(self) -> None:
        """Raises UserError if another program is training here."""
        if self.in_training:
            raise self._taken()

    def _taken(self) -> UserError:
        return UserError(
            f'Another program is training in {self.path}: wait for it, or choose another --workdir.'
        )

    def _check_access(self) -> None:
        nearest = next(p for p in (self.path, *self.path.absolute().parents) if p.exists())
        if not nearest.is_dir():
            raise UserError(
                f'--workdir {self.path} cannot be a folder: {nearest} is a file. Choose another.'
            )
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise UserError(
                f'--workdir {self.path}: no permission to write in {nearest}. Choose another.'
            )

    @property
    def has_checkpoints(self) -> bool:
        """True once the run has saved a checkpoint to resume from."""
        folder = self.path / 'checkpoints'
        return folder.is_dir() and any(folder.iterdir())

    @contextlib.contextmanager
    def claimed(self, config: Config) -> Iterator[None]:
        """Makes the folder this run's, and keeps other runs out of it inside the context.

        Raises:
          UserError: see `check`, or another program is training there.
        """
        self._check_access()
        self.path.mkdir(parents=True, exist_ok=True)
        with self._locked():
            self.check(config)
            self._clean_up()
            (self.path / _FAILED).unlink(missing_ok=True)
            if not self.done:  # a complete run keeps its provenance
                self.keep(config)
            if not (self.path / 'results.json').exists() and self.rows():
                self.add_rows([])  # writes the lost file again
            yield

    def _clean_up(self) -> None:
        for path in (*self.path.iterdir(), *self.path.glob(f'{user_code.FOLDER}/.*')):
            if is_temporary(path):
                path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        lock = self.path / _RUN_LOCK
        if lock.is_dir():
            raise wrong_kind(lock)
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(file_locks.held(lock, seconds=_LOCK_SECONDS))
            except TimeoutError:
                raise self._taken() from None
            yield

    @property
    def in_training(self) -> bool:
        """True while a process trains here, on any machine that shares this folder."""
        return file_locks.is_held(self.path / _RUN_LOCK)

    def keep(self, config: Config) -> None:
        """Writes the config of the run, replacing an earlier one; call `check` before."""
        content = {**to_saved(config), 'provenance': provenance()}
        user_code.keep(config, self.path)  # first: who reads the config needs the code
        write_text(self.path / 'config.json', json_files.dumps(content, indent=2))
        if config.captures.paths:
            write_text(self.path / 'config.py', config_file.source(config))

    def config(self) -> Config:
        """Reads the config of the run.

        Raises:
          UserError: there is no run, or its config is damaged.
        """
        file = self.path / 'config.json'
        try:
            content = json_files.read(file, way_out='choose another --workdir.')
            if not isinstance(content['config'], dict):
                raise TypeError
            return from_saved(content)
        except FileNotFoundError:
            raise UserError(f'There is no run in {self.path}: {file.name} is missing.') from None
        except NotADirectoryError:
            raise UserError(f'There is no run in {self.path}: it is not a folder.') from None
        except UserError as error:
            named = str(error).startswith(str(file))
            raise UserError(str(error) if named else f'{file}: {error}') from None
        except (KeyError, TypeError):
            raise UserError(
                f'{file} is not the config of a run: choose another --workdir.'
            ) from None

    @property
    def started(self) -> bool:
        """True once there is a run; also if the folder is a file, for which `config` raises."""
        return (self.path / 'config.json').exists() or self.path.is_file()

    @property
    def done(self) -> bool:
        """True once the run is complete, and DONE.json is not damaged."""
        try:
            return isinstance(json_files.loads((self.path / 'DONE.json').read_bytes()), dict)
        except (OSError, ValueError):
            return False

    @contextlib.contextmanager
    def failure_marked(self) -> Iterator[None]:
        """Records an error inside in FAILED.json, which ends programs that follow the run."""
        try:
            yield
        except Exception as error:
            content = {'error': f'{type(error).__name__}: {error}', 'date': _now()}
            with contextlib.suppress(OSError):  # a full disk may be the very reason
                write_text(self.path / _FAILED, json_files.dumps(content, indent=2))
            raise

    @property
    def failure(self) -> str:
        """The error that ended the run; '' if there was none, or it was started again."""
        try:
            return str(json_files.loads((self.path / _FAILED).read_bytes())['error'])
        except (OSError, ValueError, KeyError, TypeError):
            return ''

    def mark_done(self, content: dict[str, Any]) -> None:
        """Marks the run as complete; does nothing if it was complete before."""
        if not self.done:
            write_text(self.path / 'DONE.json', json_files.dumps(content, indent=2))

    def mark_not_done(self, config: Config) -> None:
        """Undoes `mark_done`, because the run is extended with this config."""
        if self.done:
            self.keep(config)
        (self.path / 'DONE.json').unlink(missing_ok=True)

    def records(self) -> list[dict[str, Any]]:
        """Reads the training curves, records with a 'step'; skips damaged ones."""
        file = self.path / 'metrics.jsonl'
        found = []
        for line in file.read_bytes().splitlines() if file.exists() else ():
            with contextlib.suppress(ValueError):
                content = json_files.loads(line)
                if isinstance(content, dict) and isinstance(content.get('step'), int):
                    found.append(content)
        return found

    def rows(self) -> list[dict[str, Any]]:
        """Reads the evaluation rows written so far, see `n2n_jax.runtime.result_rows`.

        Raises:
          UserError: the file is damaged.
        """
        return result_rows.read(self.path / 'results.json', self.path / 'evaluation')

    def add_rows(
        self,
        rows: list[dict[str, Any]],
        *,
        table: Callable[[list[dict[str, Any]]], str] | None = None,
    ) -> None:
        """Adds evaluation rows; those of the same step and identity are replaced.

        Args:
          rows: the rows to add.
          table: formats all rows for results.md; None leaves that file as it is.
        """
        with file_locks.held(self.path / '.results.lock'):  # `--mode follow` may write too
            content = result_rows.merged(self.rows(), rows)
            write_text(self.path / 'results.json', json_files.dumps(content, indent=2))
            if table is not None:
                write_text(self.path / 'results.md', table(content))

    def evaluation_folder(self, step: int) -> Path:
        """Returns the folder for the per-image scores and example images of an evaluation."""
        return self.path / 'evaluation' / f'step_{step:07d}'

    def scores_file(self, row: dict[str, Any]) -> Path:
        """Returns the file of the per-image scores behind a row of `rows()`."""
        name = file_name(row['set'], row['noise'], row.get('id', ''))
        return self.evaluation_folder(row['step']) / f'{name}.json'


def file_name(*words: str) -> str:
    """Joins words to the stem of a file name; skips empty ones, which early rows have."""
    return re.sub(r'[^\w.-]+', '_', '_'.join(word for word in words if word))
