"""Training curves: always a JSON Lines file, and TensorBoard if TensorFlow is installed.

H height, W width, C channels.
"""

import importlib.util
import logging
import math
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from n2n_jax.evaluate.metrics import in_tables
from n2n_jax.evaluate.report import Report
from n2n_jax.runtime import json_files
from n2n_jax.runtime.atomic_files import write_text
from n2n_jax.runtime.errors import UserError

_log = logging.getLogger(__name__)

_ESTIMATES = ('psnr_estimate', 'psnr_estimate_input')


class Writer(Protocol):
    """Writes the scalars and images of a run."""

    def write_scalars(self, step: int, scalars: dict[str, float]) -> None:
        """Adds the scalars of one step."""

    def write_image(self, step: int, name: str, pixels_HWC: np.ndarray) -> None:
        """Adds an image, uint8."""

    def flush(self) -> None:
        """Writes everything to disk."""


class JsonlWriter:
    """One JSON object per line: {"step": 100, "loss": 0.01, ...}.

    Args:
      path: the file to write. Existing lines after `first_step` are dropped, because a resumed run
        writes them again; so are damaged lines, which are no reason to stop a run.
      first_step: the step that the run starts or resumes from.

    Raises:
      UserError: `path` is a folder.
    """

    def __init__(self, path: Path, *, first_step: int):
        if path.is_dir():
            raise UserError(f'{path} is a folder where a file belongs: move it away.')
        if path.exists():
            lines = [line for line in path.read_bytes().split(b'\n') if line.strip()]
            steps = [_step(line) for line in lines]
            if None in steps:
                num = steps.count(None)
                _log.warning('%s: dropped %d damaged line%s.', path, num, 's' * (num > 1))
            kept = [
                line.decode() + '\n'
                for line, step in zip(lines, steps, strict=True)
                if step is not None and step <= first_step
            ]
            write_text(path, ''.join(kept))
        self._path, self._lines = path, ''

    def write_scalars(self, step: int, scalars: dict[str, float]) -> None:
        """Adds a line; NaN and infinities become null, as JSON cannot represent them."""
        finite = {k: v if math.isfinite(v) else None for k, v in scalars.items()}
        self._lines += json_files.dumps({'step': step, **finite}) + '\n'

    def write_image(self, step: int, name: str, pixels_HWC: np.ndarray) -> None:
        """Does nothing: images are files in the evaluation folder."""

    def flush(self) -> None:
        """Writes everything to disk."""
        try:
            with open(self._path, 'a') as file:
                file.write(self._lines)
        except OSError as error:  # the error of a full disk names no file
            raise OSError(error.errno, error.strerror, str(self._path)) from error
        self._lines = ''


def _step(line: bytes) -> int | None:
    """Returns the step of a line, None if the line is damaged: a crash may truncate it."""
    try:
        step = json_files.loads(line)['step']
    except (ValueError, KeyError, TypeError):
        return None
    return step if type(step) is int else None


class TensorBoardWriter:
    """TensorBoard files, through clu."""

    def __init__(self, folder: Path):
        from clu import metric_writers  # imports TensorFlow

        self._writer = metric_writers.SummaryWriter(str(folder))

    def write_scalars(self, step: int, scalars: dict[str, float]) -> None:
        """Adds the scalars of one step."""
        self._writer.write_scalars(step, scalars)

    def write_image(self, step: int, name: str, pixels_HWC: np.ndarray) -> None:
        """Adds an image, uint8."""
        self._writer.write_images(step, {name: pixels_HWC[None]})

    def flush(self) -> None:
        """Writes everything to disk."""
        self._writer.flush()


def make_writers(workdir: Path, *, first_step: int, tensorboard: bool) -> list[Writer]:
    """Returns the writers whose packages are installed."""
    writers: list[Writer] = [JsonlWriter(workdir / 'metrics.jsonl', first_step=first_step)]
    packages = ('tensorflow', 'tensorboard')
    if tensorboard and all(importlib.util.find_spec(package) for package in packages):
        writers.append(TensorBoardWriter(workdir))
        _log.info('TensorBoard: tensorboard --logdir %s', workdir)
    return writers


def write_report(report: Report, step: int, writers: list[Writer]) -> None:
    """Adds the scores and images of an evaluation to the curves."""
    for writer in writers:
        for row in report.rows:
            prefix = f'{row["set"]}/{row["noise"]}'
            scores = {f'{prefix}/{name}': value for name, value in _scores(row).items()}
            writer.write_scalars(step, scores)
        for name, pixels in report.triptychs.items():
            writer.write_image(step, name.removesuffix('.png'), pixels)
        writer.flush()


def _scores(row: dict[str, Any]) -> dict[str, float]:
    """Returns the scores of a row that are drawn, by the names of their curves."""
    found = {name: row[name] for name in _ESTIMATES if row.get(name) is not None}
    for metric in in_tables(row.get('metrics', {})):
        score = row['metrics'][metric.name]
        found |= {metric.name: score['out'], f'{metric.name}_input': score['in']}
    return found
