"""Image files as stacks of captures: the channels of all or some of their images.

N images of the file, H height, W width, C channels.

A view of `n2n_jax.images`, which says what counts as an image of a file and what as a channel.
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
    """A file of images.

    Attributes:
      num_images: how many, N.
      num_planes: channels of an image that lie on pages of their own (axis C of a TIFF file), 1 if
        all channels lie together.
      read: the images of these numbers, (N, H, W, C), in the type of the file; alpha is left out.
      doubt: a sentence where captures may have been saved as something else; ''.
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
        return Stack(len(frames), frames[0].planes, functools.partial(_read, path), _doubt(image))


def read_frames(image: images.ImageFile, rows: Sequence[int]) -> np.ndarray:
    """The images of these numbers of an open file, (N, H, W, C), which are of one kind."""
    return np.stack([image.read_channels(row) for row in rows])


def check_one_kind(image: images.ImageFile) -> None:
    """Captures have to be alike.

    Raises:
      UserError: images of different sizes or types.
    """
    kinds = dict.fromkeys(_kind(frame) for frame in image.frames)
    if len(kinds) > 1:
        raise UserError(
            f'{image.path} holds images of different sizes or types ({", ".join(kinds)}): save '
            'those of one kind as a file of their own.'
        )


def _kind(frame: images.Frame) -> str:
    channels = f' with {frame.channels} channels' if frame.channels > 1 else ''
    return f'{frame.width}x{frame.height}{channels} of {frame.dtype}'


def _read(path: Path, rows: Sequence[int]) -> np.ndarray:
    with images.open_image(path) as image:
        return read_frames(image, rows)


def _doubt(image: images.ImageFile) -> str:
    first = image.frames[0]
    if len(image.frames) > 1 or first.axes != 'SYX' or first.samples not in (3, 4):
        return ''
    return (
        f' The {first.samples} planes of {image.path.name} are marked as red, green'
        f'{", blue and alpha" if first.samples == 4 else " and blue"}, as tifffile does by '
        'default; if they are captures, save them with tifffile.imwrite(..., photometric='
        "'minisblack')."
    )
