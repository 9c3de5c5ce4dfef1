"""What the page shows of an image file: its pixels as 8-bit color, at several sizes, in tiles.

They lie in memory-mapped files, so that an image of any size takes little memory. Each level has
half the size of the one before, down to one that fits into a tile.

H height, W width, C channels. A lower-case h or w: some rows or columns.
"""

import dataclasses
import io
import math
from pathlib import Path

import numpy as np
from PIL import Image

from n2n_jax.denoise.choice import Range
from n2n_jax.images import open_image
from n2n_jax.images.pictures import displayed
from n2n_jax.images.pixel_range import PixelRange
from n2n_jax.runtime.config import ModelConfig
from n2n_jax.runtime.errors import UserError

TILE = 512  # side in pixels
_ROWS = 256  # of an image, converted at a time
_MIDDLE = 128  # gray of a difference of 0
_LEAST_COMPRESSION = 1  # of PNG: the browser is near, and waits


class OutsideError(UserError):
    """There is no such tile."""


@dataclasses.dataclass(frozen=True)
class View:
    """One image of a file, as 8-bit color.

    Attributes:
      levels: (H, W, 3) uint8 each, from full size to one tile.
    """

    levels: tuple[np.ndarray, ...]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        height, width, _ = self.levels[0].shape
        return width, height

    def tile(self, level: int, column: int, row: int) -> np.ndarray:
        """Returns a tile, (h, w, 3) uint8, smaller at the right and lower edge.

        Raises:
          OutsideError: there is none.
        """
        if not (0 <= level < len(self.levels) and column >= 0 and row >= 0):
            raise OutsideError('The image has no such tile.')
        top, left = row * TILE, column * TILE
        tile_hwC = self.levels[level][top : top + TILE, left : left + TILE]
        if not tile_hwC.size:
            raise OutsideError('The image has no such tile.')
        return np.asarray(tile_hwC)


def make(source: Path, index: int, dtype: np.dtype, shown: Range, folder: Path) -> View:
    """Makes the view of an image, in files of a folder that exists and is empty.

    Args:
      source: the image file.
      index: of the image in it.
      dtype: the type that `shown` is meant for; another is shown over its full range.
      shown: which values are black and white; values beyond are clipped.
      folder: for the levels.

    Raises:
      OutsideError: the file has fewer images.
      UserError: it cannot be read.
    """
    with open_image(source) as opened:
        if index >= len(opened.frames):
            raise OutsideError('The file has no such image.')
        frame = opened.frames[index]
        scale = _scale(frame.dtype, shown if frame.dtype == dtype else Range(), source)
        pixels_HWC = _new(folder, 0, frame.height, frame.width)
        for start in range(0, frame.height, _ROWS):
            stop = min(start + _ROWS, frame.height)
            stored_hWC = opened.read(index, start, stop)[..., : frame.channels]
            pixels_HWC[start:stop] = displayed(scale.to_network(stored_hWC))
    levels = [pixels_HWC]
    while max(levels[-1].shape) > TILE:
        height, width, _ = levels[-1].shape
        smaller_HWC = _new(folder, len(levels), math.ceil(height / 2), math.ceil(width / 2))
        for start in range(0, len(smaller_HWC), _ROWS):
            part_hWC = levels[-1][2 * start : 2 * (start + _ROWS)]
            smaller_HWC[start : start + _ROWS] = _halved(part_hWC)
        levels.append(smaller_HWC)
    return View(tuple(levels))


def _scale(dtype: np.dtype, shown: Range, source: Path) -> PixelRange:
    config = dataclasses.replace(ModelConfig(), black=shown.black, white=shown.white)
    return PixelRange.of(dtype, config, name=str(source))


def _new(folder: Path, level: int, height: int, width: int) -> np.memmap:
    shape = height, width, 3
    return np.lib.format.open_memmap(folder / f'{level}.npy', 'w+', np.uint8, shape)


def _halved(image_HWC: np.ndarray) -> np.ndarray:
    """Averages squares of 2x2 pixels; those at an odd edge are repeated."""
    height, width, _ = image_HWC.shape
    even_HWC = np.pad(image_HWC, ((0, height % 2), (0, width % 2), (0, 0)), mode='edge')
    pairs = even_HWC.astype(np.uint16).reshape(-(-height // 2), 2, -(-width // 2), 2, 3)
    return ((pairs.sum(axis=(1, 3)) + 2) // 4).astype(np.uint8)


def difference(before_HWC: np.ndarray, after_HWC: np.ndarray, gain: float) -> np.ndarray:
    """Returns what was removed, (H, W, 3) uint8, gray where nothing was.

    Args:
      before_HWC: uint8.
      after_HWC: uint8 of the same shape.
      gain: how many times the difference is magnified.
    """
    removed_HWC = before_HWC.astype(np.float32) - after_HWC
    return np.clip(np.rint(_MIDDLE + gain * removed_HWC), 0, 255).astype(np.uint8)


def error_map(image_HWC: np.ndarray, clean_HWC: np.ndarray, gain: float) -> np.ndarray:
    """Returns the absolute error of an image, (H, W, 3) uint8, black where there is none."""
    error_HWC = np.abs(image_HWC.astype(np.float32) - clean_HWC).mean(axis=-1, keepdims=True)
    gray_HWC = np.clip(np.rint(gain * error_HWC), 0, 255).astype(np.uint8)
    return np.repeat(gray_HWC, 3, axis=-1)


def png(image_HWC: np.ndarray) -> bytes:
    """Returns (H, W, 3) uint8 as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(image_HWC).save(buffer, 'PNG', compress_level=_LEAST_COMPRESSION)
    return buffer.getvalue()
