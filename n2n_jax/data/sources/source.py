"""The interface of image sources, and sources made from other sources.

H height, W width, C channels.
"""

import abc
import logging
from collections.abc import Sequence

import numpy as np

from n2n_jax.runtime.errors import UserError

_log = logging.getLogger(__name__)

# ITU-R BT.601 luma, as in Pillow, OpenCV and most test sets.
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


class ImageSource(abc.ABC):
    """An indexed set of images.

    Attributes:
      names: one per image, unique within the source; for display only.
      planes: names of the auxiliary planes that every image has; none in most sources.
    """

    names: Sequence[str]
    planes: Sequence[str] = ()

    @abc.abstractmethod
    def size(self, i: int) -> tuple[int, int]:
        """Returns (H, W) of image i, without decoding it if possible."""

    @abc.abstractmethod
    def read(self, i: int) -> np.ndarray:
        """Reads image i: (H, W, 1 or 3), uint8, or float32 in [0, 1] if 8 bits do not suffice."""

    def read_plane(self, i: int, name: str) -> np.ndarray:
        """Reads a plane of image i, as `read`."""
        raise KeyError(name)


class ArraySource(ImageSource):
    """Images in memory, by name."""

    def __init__(self, images: dict[str, np.ndarray]):
        self.names = list(images)
        self._images = list(images.values())

    def size(self, i: int) -> tuple[int, int]:
        """Returns (H, W) of image i."""
        return self._images[i].shape[:2]

    def read(self, i: int) -> np.ndarray:
        """Reads image i."""
        return self._images[i]


class Concatenated(ImageSource):
    """Several sources, one after the other."""

    def __init__(self, sources: Sequence[ImageSource]):
        self._members = [(source, i) for source in sources for i in range(len(source.names))]
        self.names = [source.names[i] for source, i in self._members]
        shared = set.intersection(*(set(source.planes) for source in sources))
        self.planes = sorted(shared)

    def size(self, i: int) -> tuple[int, int]:
        """Returns (H, W) of image i."""
        source, j = self._members[i]
        return source.size(j)

    def read(self, i: int) -> np.ndarray:
        """Reads image i."""
        source, j = self._members[i]
        return source.read(j)

    def read_plane(self, i: int, name: str) -> np.ndarray:
        """Reads a plane of image i."""
        source, j = self._members[i]
        return source.read_plane(j, name)


class Subset(ImageSource):
    """The images of a source at some indices."""

    def __init__(self, source: ImageSource, indices: list[int]):
        self._source, self._indices = source, indices
        self.names = [source.names[index] for index in indices]
        self.planes = source.planes

    def size(self, i: int) -> tuple[int, int]:
        """Returns (H, W) of image i."""
        return self._source.size(self._indices[i])

    def read(self, i: int) -> np.ndarray:
        """Reads image i."""
        return self._source.read(self._indices[i])

    def read_plane(self, i: int, name: str) -> np.ndarray:
        """Reads a plane of image i."""
        return self._source.read_plane(self._indices[i], name)


def with_channels(image_HWC: np.ndarray, channels: int) -> np.ndarray:
    """Converts an image to gray (1) or color (3); keeps the dtype, repeats gray for color."""
    if image_HWC.shape[-1] == channels:
        return image_HWC
    if channels == 3:
        return np.repeat(image_HWC, 3, axis=-1)
    gray_HW1 = (image_HWC.astype(np.float32) @ _LUMA)[..., None]
    return np.rint(gray_HW1).astype(np.uint8) if image_HWC.dtype == np.uint8 else gray_HW1


def to_float(image: np.ndarray) -> np.ndarray:
    """Converts pixels to float32 in [0, 1]; rounds exactly as the training step on the device."""
    if image.dtype == np.uint8:
        return image.astype(np.float32) * np.float32(1 / 255)
    return image.astype(np.float32)


def at_least(source: ImageSource, side: int, *, skip: bool) -> ImageSource:
    """Returns the source after checking that every image can hold a crop of `side` pixels.

    Args:
      source: the images.
      side: shortest side that is needed, in pixels.
      skip: leave out smaller images, with a warning, instead of raising an error.

    Raises:
      UserError: an image is too small and `skip` is False, or all images are.
    """
    large = [i for i in range(len(source.names)) if min(source.size(i)) >= side]
    num_small = len(source.names) - len(large)
    if not num_small:
        return source
    largest = max(min(source.size(i)) for i in range(len(source.names)))
    if not large:
        raise UserError(
            f'data.crop={side} is larger than every image. Set data.crop={largest} or less, the '
            'shorter side of the largest image.'
        )
    if not skip:
        small = next(i for i in range(len(source.names)) if i not in set(large))
        h, w = source.size(small)
        raise UserError(
            f'{num_small} of {len(source.names)} images are smaller than data.crop={side}, the '
            f'first is {source.names[small]} ({w}x{h}). Set a smaller data.crop, or '
            'data.on_bad_file=skip to leave them out.'
        )
    _log.warning('Skipped %d images that are smaller than data.crop=%d.', num_small, side)
    return Subset(source, large)
