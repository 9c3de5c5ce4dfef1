"""What a source of images is.

H height, W width, C channels.
"""

import logging
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from n2n_jax.runtime.errors import UserError

_log = logging.getLogger(__name__)

# ITU-R BT.601, the gray of Pillow, OpenCV and most test sets.
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


class ImageSource(Protocol):
    """A numbered set of images.

    Attributes:
      names: one per image, unique within the source; for people, nothing is keyed by it.
    """

    names: Sequence[str]

    def size(self, i: int) -> tuple[int, int]:
        """(H, W) of image i, without decoding it if that can be helped."""

    def read(self, i: int) -> np.ndarray:
        """Image i: (H, W, 1 or 3), uint8, or float32 in [0, 1] where 8 bits do not hold it."""


class ArraySource:
    """Images that are in memory already."""

    def __init__(self, images: dict[str, np.ndarray]):
        self.names = list(images)
        self._images = list(images.values())

    def size(self, i: int) -> tuple[int, int]:
        """(H, W) of image i."""
        return self._images[i].shape[:2]

    def read(self, i: int) -> np.ndarray:
        """Image i."""
        return self._images[i]


class Concatenated:
    """Several sources, one after the other."""

    def __init__(self, sources: Sequence[ImageSource]):
        self._members = [(source, i) for source in sources for i in range(len(source.names))]
        self.names = [source.names[i] for source, i in self._members]

    def size(self, i: int) -> tuple[int, int]:
        """(H, W) of image i."""
        source, j = self._members[i]
        return source.size(j)

    def read(self, i: int) -> np.ndarray:
        """Image i."""
        source, j = self._members[i]
        return source.read(j)


class Subset:
    """Some images of a source."""

    def __init__(self, source: ImageSource, rows: list[int]):
        self._source, self._rows = source, rows
        self.names = [source.names[row] for row in rows]

    def size(self, i: int) -> tuple[int, int]:
        """(H, W) of image i."""
        return self._source.size(self._rows[i])

    def read(self, i: int) -> np.ndarray:
        """Image i."""
        return self._source.read(self._rows[i])


def with_channels(image_HWC: np.ndarray, channels: int) -> np.ndarray:
    """The image as gray (1) or color (3), dtype kept; gray becomes color by repetition."""
    if image_HWC.shape[-1] == channels:
        return image_HWC
    if channels == 3:
        return np.repeat(image_HWC, 3, axis=-1)
    gray_HW1 = (image_HWC.astype(np.float32) @ _LUMA)[..., None]
    return np.rint(gray_HW1).astype(np.uint8) if image_HWC.dtype == np.uint8 else gray_HW1


def to_float(image: np.ndarray) -> np.ndarray:
    """Float32 in [0, 1]; rounds exactly as the training step does on the device."""
    if image.dtype == np.uint8:
        return image.astype(np.float32) * np.float32(1 / 255)
    return image.astype(np.float32)


def at_least(source: ImageSource, side: int, *, skip: bool) -> ImageSource:
    """The source, once every image is known to hold a crop of `side` pixels.

    Args:
      source: where the images come from.
      side: shortest side needed, in pixels.
      skip: leave out the smaller ones, with a warning, in place of an error.

    Raises:
      UserError: an image is smaller (names it and its size), or every image is.
    """
    rows = [i for i in range(len(source.names)) if min(source.size(i)) >= side]
    num_small = len(source.names) - len(rows)
    if not num_small:
        return source
    largest = max(min(source.size(i)) for i in range(len(source.names)))
    if not rows:
        raise UserError(
            f'data.crop={side} is larger than every image: the shortest side of the largest is '
            f'{largest} pixels. Write data.crop={largest} or less.'
        )
    if not skip:
        small = next(i for i in range(len(source.names)) if i not in set(rows))
        h, w = source.size(small)
        raise UserError(
            f'{num_small} of {len(source.names)} images are smaller than data.crop={side}, the '
            f'first is {source.names[small]} ({w}x{h}). Write a smaller data.crop, or '
            'data.on_bad_file=skip to leave them out.'
        )
    _log.warning('Skipped %d images smaller than the crop of %d.', num_small, side)
    return Subset(source, rows)
