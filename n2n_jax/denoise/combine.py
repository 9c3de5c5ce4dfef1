"""The captures of one scene: opened a few at a time, compared, and averaged.

H height, W width, C channels. A lower-case h: some rows.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from n2n_jax.denoise.denoiser import Read
from n2n_jax.denoise.jobs import Job
from n2n_jax.images import Frame, ImageFile, open_image, row_writer
from n2n_jax.images.file_cache import FewFiles, ReopenedFile
from n2n_jax.images.pixel_range import PixelRange
from n2n_jax.runtime.errors import UserError

Combine = Literal['', 'results', 'captures']


@contextlib.contextmanager
def open_captures(job: Job) -> Iterator[list[tuple[ImageFile, int | None]]]:
    """Opens the captures of a job: (file, index of the image or None) for each, see `Job`."""
    with contextlib.ExitStack() as stack:
        files = stack.enter_context(FewFiles())
        opened: dict[Path, ImageFile] = {}
        for path in job.sources:
            if not opened:  # the first stays open: the output takes its format and metadata
                opened[path] = stack.enter_context(open_image(path))
            elif path not in opened:
                opened[path] = ReopenedFile(files, path)
        sources = [opened[path] for path in job.sources]
        if not job.channels:
            yield list(zip(sources, job.frames, strict=True))
            return
        yield [
            (row_writer.OneChannel(source, frame or 0, channel), 0)
            for source, frame, channel in zip(sources, job.frames, job.channels, strict=True)
        ]


def check_alike(frame: Frame, first: Frame, name: str) -> None:
    """Checks that a capture can be combined with the first of its scene.

    Args:
      frame: the capture.
      first: the first capture.
      name: the name of the capture.

    Raises:
      UserError: they differ in shape or type.
    """
    if _shape_and_type(frame) != _shape_and_type(first):
        raise UserError(
            f'Captures of one scene must be alike: {name} is {_described(frame)}, but the first '
            f'is {_described(first)}.'
        )


def _shape_and_type(frame: Frame) -> tuple[int, int, int, np.dtype]:
    """Returns what all captures of a scene must share; only some may have alpha."""
    return frame.height, frame.width, frame.channels, frame.dtype


def _described(frame: Frame) -> str:
    channels = f'{frame.channels} channel{"s" * (frame.channels > 1)}'
    return f'{frame.width}x{frame.height} with {channels} of {frame.dtype.name}'


def read_mean(reads: Sequence[Read], scale: PixelRange, start: int, stop: int) -> np.ndarray:
    """Reads rows of all captures, and averages each pixel over the captures that measured it.

    Args:
      reads: reads rows of one capture each, (h, W, C), NaN where nothing was measured.
      scale: their value range.
      start: first row.
      stop: end of the rows.

    Returns:
      The mean in the range of the network, (h, W, C); NaN where no capture measured it.
    """
    total_hWC = scale.to_network(reads[0](start, stop))
    num_hWC = (~np.isnan(total_hWC)).astype(np.int32)
    total_hWC[num_hWC == 0] = 0
    for read in reads[1:]:
        part_hWC = scale.to_network(read(start, stop))
        measured_hWC = ~np.isnan(part_hWC)
        np.add(total_hWC, part_hWC, out=total_hWC, where=measured_hWC)
        num_hWC += measured_hWC
    mean_hWC = total_hWC / np.maximum(num_hWC, 1).astype(np.float32)
    mean_hWC[num_hWC == 0] = np.nan
    return mean_hWC
