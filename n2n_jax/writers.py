"""Training curves: a JSON file always, TensorBoard where TensorFlow is installed.

H height, W width, C channels.
"""

import importlib.util
import json
import logging
import math
from pathlib import Path
from typing import Protocol

import numpy as np

from n2n_jax.workdir import write_text

_log = logging.getLogger(__name__)


class Writer(Protocol):
    """Takes the numbers and pictures of a run."""

    def write_scalars(self, step: int, scalars: dict[str, float]) -> None:
        """Adds numbers of one step."""

    def write_image(self, step: int, name: str, pixels_HWC: np.ndarray) -> None:
        """Adds a picture, uint8."""

    def flush(self) -> None:
        """Puts everything on disk."""


class JsonlWriter:
    """One JSON object per line: {"step": 100, "loss": 0.01, ...}.

    Args:
      path: of the file; lines of later steps than `first_step` are dropped, because a resumed run
        writes them again.
      first_step: where the run starts.
    """

    def __init__(self, path: Path, *, first_step: int):
        if path.exists():
            kept = [line for line in path.read_text().splitlines() if _step(line) <= first_step]
            write_text(path, ''.join(line + '\n' for line in kept))
        self._path, self._lines = path, ''

    def write_scalars(self, step: int, scalars: dict[str, float]) -> None:
        """Adds a line; what is not finite becomes null, as JSON has no word for it."""
        finite = {k: v if math.isfinite(v) else None for k, v in scalars.items()}
        self._lines += json.dumps({'step': step, **finite}) + '\n'

    def write_image(self, step: int, name: str, pixels_HWC: np.ndarray) -> None:
        """Nothing: pictures are files of the evaluation folder."""

    def flush(self) -> None:
        """Puts everything on disk."""
        try:
            with open(self._path, 'a') as file:
                file.write(self._lines)
        except OSError as error:  # a full disk is told without a name
            raise OSError(error.errno, error.strerror, str(self._path)) from error
        self._lines = ''


def _step(line: str) -> float:
    try:
        return json.loads(line)['step']
    except (json.JSONDecodeError, KeyError):  # cut off by a crash
        return math.inf


class TensorBoardWriter:
    """TensorBoard files, through clu."""

    def __init__(self, folder: Path):
        from clu import metric_writers  # imports TensorFlow

        self._writer = metric_writers.SummaryWriter(str(folder))

    def write_scalars(self, step: int, scalars: dict[str, float]) -> None:
        """Adds points to the curves."""
        self._writer.write_scalars(step, scalars)

    def write_image(self, step: int, name: str, pixels_HWC: np.ndarray) -> None:
        """Adds a picture."""
        self._writer.write_images(step, {name: pixels_HWC[None]})

    def flush(self) -> None:
        """Puts everything on disk."""
        self._writer.flush()


def make_writers(workdir: Path, *, first_step: int, tensorboard: bool) -> list[Writer]:
    """The writers that this machine has the packages for."""
    writers: list[Writer] = [JsonlWriter(workdir / 'metrics.jsonl', first_step=first_step)]
    packages = ('tensorflow', 'tensorboard')
    if tensorboard and all(importlib.util.find_spec(package) for package in packages):
        writers.append(TensorBoardWriter(workdir))
        _log.info('TensorBoard: tensorboard --logdir %s', workdir)
    return writers
