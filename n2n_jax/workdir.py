"""The folder of a run: which files it holds, and how they are written whole.

config.json       resolved config and provenance, at start
captures.json     which captures it was trained on, see n2n_jax.trained_captures
parameters.txt    every parameter with its shape
metrics.jsonl     training curves, one JSON object per line
results.json      evaluation rows, for other programs
results.md        the same as a table
evaluation/       per-image scores and pictures of each evaluation
checkpoints/      see n2n_jax.checkpoint
DONE.json         written last: the run is complete
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from n2n_jax import pair_metrics
from n2n_jax.config import Config, changes_on_resume, from_config_dict
from n2n_jax.errors import UserError

_RUN_LOCK = '.training.lock'  # held as long as a training goes on
_PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'numpy')


def provenance() -> dict[str, Any]:
    """Versions, device, commit and command behind a result."""
    return {
        'n2n_jax': metadata.version('n2n_jax') if _installed('n2n_jax') else 'source tree',
        'commit': _commit(),
        'python': platform.python_version(),
        'packages': {name: metadata.version(name) for name in _PACKAGES},
        'device': f'{jax.device_count()} x {jax.devices()[0].device_kind}',
        'cpu_count': os.cpu_count(),
        'xla_flags': os.environ.get('XLA_FLAGS', ''),
        'command': ' '.join(sys.argv),
        'date': time.strftime('%Y-%m-%d %H:%M:%S %z'),
    }


def _installed(package: str) -> bool:
    with contextlib.suppress(metadata.PackageNotFoundError):
        return bool(metadata.version(package))
    return False


def _commit() -> str:
    """The commit of the source tree, '+' behind it if files differ; empty outside a checkout."""
    git = ['git', '-C', str(Path(__file__).parent)]
    try:
        describe = ['describe', '--always', '--abbrev=12', '--dirty=+', '--exclude=*']
        result = subprocess.run([*git, *describe], capture_output=True, text=True, check=False)
    except OSError:  # no git
        return ''
    return result.stdout.strip()


def write_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.')
    try:
        with os.fdopen(handle, 'w', encoding='utf-8') as file:
            file.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:  # a full disk is told without a name, or with the temporary one
        os.unlink(temporary)
        raise OSError(error.errno, error.strerror, str(path)) from error
    except BaseException:
        os.unlink(temporary)
        raise


class Workdir:
    """The folder of a run."""

    def __init__(self, path: Path):
        self.path = path

    def check(self, config: Config) -> None:
        """Looks whether a run of this config may live here; writes nothing.

        A run that has left nothing yet is no reason against it: it may be replaced.

        Raises:
          UserError: the folder holds a run of another config, a run that is going on, or something
            else altogether; or it cannot be written.
        """
        self._check_access()
        file = self.path / 'config.json'
        if file.exists():
            old = self.config()
            if not self.has_checkpoints:
                for name in ('results.json', 'evaluation', 'DONE.json'):
                    if (self.path / name).exists():
                        raise UserError(
                            f'{self.path} holds results ({name}) but no checkpoint to go on from: '
                            'choose another --workdir.'
                        )
                return
            changes = changes_on_resume(old, config)
            if self.done and config.train.steps > old.train.steps:  # it is extended
                changes.pop('train.steps', None)
            if changes:
                listed = ', '.join(
                    f'{key} ({old!r} there, {new!r} here)' for key, (old, new) in changes.items()
                )
                raise UserError(
                    f'{self.path} holds a run of another config, which differs in: {listed}. '
                    'Choose another --workdir, or the same values.'
                )
        elif self.path.exists() and any(p.name != _RUN_LOCK for p in self.path.iterdir()):
            raise UserError(f'--workdir {self.path} is not empty and holds no run: choose another.')

    def _check_access(self) -> None:
        nearest = next(p for p in (self.path, *self.path.absolute().parents) if p.exists())
        if not nearest.is_dir():
            raise UserError(f'--workdir {self.path} cannot be a folder: {nearest} is a file.')
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise UserError(f'--workdir {self.path} cannot be written: choose another.')

    @property
    def has_checkpoints(self) -> bool:
        """True once the run has something to go on from."""
        folder = self.path / 'checkpoints'
        return folder.is_dir() and any(folder.iterdir())

    @contextlib.contextmanager
    def claimed(self, config: Config) -> Iterator[None]:
        """Makes the folder this run's, and keeps other trainings out of it meanwhile.

        Raises:
          UserError: see `check`, or another training is going on there.
        """
        self._check_access()
        self.path.mkdir(parents=True, exist_ok=True)
        with open(self.path / _RUN_LOCK, 'w') as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(
                    f'A training is going on in {self.path}: wait for it, or choose another '
                    '--workdir.'
                ) from None
            self.check(config)
            self.keep(config)
            yield

    def keep(self, config: Config) -> None:
        """Writes the config of the run, in place of an earlier one; see `check` before."""
        content = {'config': dataclasses.asdict(config), 'provenance': provenance()}
        write_text(self.path / 'config.json', json.dumps(content, indent=2))

    def config(self) -> Config:
        """The config of the run.

        Raises:
          UserError: there is none.
        """
        file = self.path / 'config.json'
        try:
            return from_config_dict(json.loads(file.read_text())['config'], saved=True)
        except FileNotFoundError:
            raise UserError(f'There is no run in {self.path}: {file.name} is missing.') from None
        except NotADirectoryError:
            raise UserError(f'There is no run in {self.path}: it is not a folder.') from None
        except UserError as error:
            raise UserError(f'{file}: {error}') from None
        except (ValueError, KeyError, TypeError):
            raise UserError(
                f'{file} is not that of a run, or it is damaged: choose another --workdir.'
            ) from None

    @property
    def done(self) -> bool:
        """True once the run is complete."""
        return (self.path / 'DONE.json').exists()

    def mark_done(self, content: dict[str, Any]) -> None:
        """Says that the run is complete; nothing is written after this."""
        write_text(self.path / 'DONE.json', json.dumps(content, indent=2))

    def mark_not_done(self) -> None:
        """Takes `mark_done` back."""
        (self.path / 'DONE.json').unlink(missing_ok=True)

    def rows(self) -> list[dict[str, Any]]:
        """The evaluation rows written so far.

        Raises:
          UserError: the file is damaged.
        """
        file = self.path / 'results.json'
        try:
            return json.loads(file.read_text()) if file.exists() else []
        except ValueError:
            raise UserError(f'{file} is damaged: move it away, and evaluate again.') from None

    def add_rows(self, rows: list[dict[str, Any]]) -> None:
        """Adds evaluation rows, in place of earlier ones of the same step, set and noise."""

        def identity(row: dict[str, Any]) -> tuple[Any, ...]:
            return row['step'], row['set'], row['noise']

        with self._locked():  # a side-car evaluator may write at the same time
            merged = {identity(row): row for row in [*self.rows(), *rows]}
            content = [merged[key] for key in sorted(merged)]
            write_text(self.path / 'results.json', json.dumps(content, indent=2))
            write_text(self.path / 'results.md', markdown_table(content))

    def evaluation_folder(self, step: int) -> Path:
        """Where the per-image scores and pictures of an evaluation go."""
        return self.path / 'evaluation' / f'step_{step:07d}'

    def scores_file(self, row: dict[str, Any]) -> Path:
        """Where the per-image scores behind a row of `rows()` are."""
        name = re.sub(r'[^\w.-]+', '_', f'{row["set"]}_{row["noise"]}.json')
        return self.evaluation_folder(row['step']) / name

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with open(self.path / '.results.lock', 'w') as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def markdown_table(rows: list[dict[str, Any]]) -> str:
    """Evaluation rows for people; the protocol under the tables."""
    tables = []
    measured = [row for row in rows if 'psnr' in row]
    estimated = [row for row in rows if 'psnr_estimate' in row]
    if measured:
        lines = [
            '| step | set | noise | images | PSNR in | PSNR out (95 %) | gain '
            '| SSIM in | SSIM out |',
            '|---:|---|---|---:|---:|---:|---:|---:|---:|',
        ]
        for row in measured:
            low, high = row['ci95']
            lines.append(
                f'| {row["step"]} | {row["set"]} | {row["noise"]} | {row["n"]} '
                f'| {row["psnr_input"]:.2f} | **{row["psnr"]:.2f}** ({low:.2f} to {high:.2f}) '
                f'| {row["psnr"] - row["psnr_input"]:+.2f} '
                f'| {row["ssim_input"]:.4f} | {row["ssim"]:.4f} |'
            )
        tables.append('\n'.join(lines))
    if estimated:
        lines = [
            '| step | scenes held out | PSNR in, estimated | PSNR out, estimated (95 %) | gain |',
            '|---:|---:|---:|---:|---:|',
        ]
        for row in estimated:
            raw = row['psnr_estimate_input']
            lines.append(
                f'| {row["step"]} | {row["n"]} | {"" if raw is None else f"{raw:.2f}"} '
                f'| {pair_metrics.in_words(row)} | {pair_metrics.gain_in_words(row)} |'
            )
        tables.append('\n'.join(lines))
    for num in dict.fromkeys(row.get('realisations', 0) for row in rows):
        if num:
            tables.append(f'Trained on {num} fixed noisy version{"s" * (num > 1)} of each image.')
    for protocol in dict.fromkeys(row['protocol'] for row in rows):
        tables.append(f'Protocol: {protocol}.')
    return '\n\n'.join(tables) + '\n'
