"""Image files as stacks of captures.

N images of the file, H height, W width, C channels.

A view of `n2n_jax.images`, which defines images and channels of a file.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from n2n_jax import images
from n2n_jax.runtime.errors import UserError

SUFFIXES = frozenset(images.SUFFIXES)
OTHER_SUFFIXES = images.OTHER_SUFFIXES


@dataclasses.dataclass(frozen=True)
class Stack:
    """A file of images of one kind.

    Attributes:
      num_images: number of images, N.
      num_planes: pages per image if each channel has its own page (axis C of a TIFF file), else 1.
      read: takes image indices; returns (N, H, W, C) in the type of the file, without alpha.
      doubt: a sentence if captures may have been saved as colors by mistake; else ''.
    """

    num_images: int
    num_planes: int
    read: Callable[[Sequence[int]], np.ndarray]
    doubt: str = ''


def open_stack(path: Path) -> Stack:
    """Reads the header of a file.

    Raises:
      UserError: as `images.open_image` and `check_one_kind`; `read`: as `images.ImageFile.read`.
    """
    with images.open_image(path) as image:
        check_one_kind(image)
        frames = image.frames
        return Stack(
            len(frames),
            frames[0].planes,
            functools.partial(_read, path),
            _doubt_about_colors(image),
        )


def read_frames(image: images.ImageFile, indices: Sequence[int]) -> np.ndarray:
    """Returns images of an open file, (N, H, W, C); they must have the same shape."""
    return np.stack([image.read_channels(index) for index in indices])


def check_one_kind(image: images.ImageFile) -> None:
    """Checks that all images of a file have the same size and type, as captures must.

    Raises:
      UserError: they do not.
    """
    kinds = dict.fromkeys(_kind(frame) for frame in image.frames)
    if len(kinds) > 1:
        raise UserError(
            f'{image.path} holds images of different sizes or types ({", ".join(kinds)}): save '
            'each kind as its own file.'
        )


def _kind(frame: images.Frame) -> str:
    channels = f' with {frame.channels} channels' if frame.channels > 1 else ''
    return f'{frame.width}x{frame.height}{channels} of {frame.dtype}'


def _read(path: Path, indices: Sequence[int]) -> np.ndarray:
    with images.open_image(path) as image:
        return read_frames(image, indices)


def _doubt_about_colors(image: images.ImageFile) -> str:
    first = image.frames[0]
    if len(image.frames) > 1 or first.axes != 'SYX' or first.samples not in (3, 4):
        return ''
    return (
        f' The {first.samples} planes of {image.path.name} are marked as red, green'
        f'{", blue and alpha" if first.samples == 4 else " and blue"}, as tifffile does by '
        'default; if they are captures, save them with tifffile.imwrite(..., photometric='
        "'minisblack')."
    )
