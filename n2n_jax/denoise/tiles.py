"""Where an image is cut, so that its parts, denoised one by one, are the whole.

A tile is what the network sees at once, its core what is kept of the answer. Two things make the
cores of all tiles together equal to the answer for the whole image, without any blending:

* Tiles begin at multiples of the network's stride, so that its poolings fall on the same pixels.
* A core is at least the network's halo away from the sides of its tile, unless that side is one of
  the image, where the network pads both alike.

All tiles of an image have one shape, so that one program is compiled for them.
"""

import dataclasses

import numpy as np

from n2n_jax.models.geometry import Geometry, padded


@dataclasses.dataclass(frozen=True)
class Span:
    """A tile along one axis of the image.

    Attributes:
      origin: first pixel of the tile.
      start: first pixel of the core.
      stop: behind its last pixel.
    """

    origin: int
    start: int
    stop: int


def tile_shape(height: int, width: int, core: int, geometry: Geometry) -> tuple[int, int]:
    """Rows and columns of the tiles of an image.

    Args:
      height: of the image.
      width: of the image.
      core: largest side of a core, a multiple of the stride.
      geometry: of the network.

    Returns:
      The padded image itself if it has no more pixels than such a tile. Otherwise along each axis
      the side that covers it with the fewest tiles.
    """
    stride, halo = geometry.stride, geometry.halo
    whole = padded(height, stride), padded(width, stride)
    if halo is None or whole[0] * whole[1] <= (core + 2 * halo) ** 2:
        return whole

    def side(length: int) -> int:
        if length <= core + 2 * halo:
            return length
        count = -(-(length - 2 * halo) // core)
        return padded(-(-(length - 2 * halo) // count), stride) + 2 * halo

    return side(whole[0]), side(whole[1])


def spans(length: int, side: int, geometry: Geometry) -> list[Span]:
    """The tiles along an axis of `length` pixels; their cores follow each other and cover it.

    Args:
      length: of the image.
      side: of the tiles, from `tile_shape`.
      geometry: of the network.
    """
    whole = padded(length, geometry.stride)
    if side == whole:
        return [Span(0, 0, length)]
    halo = geometry.halo or 0
    found: list[Span] = []
    start = 0
    while start < length:
        # The last tile ends where the image does, as far as its padding goes.
        origin = min(max(0, start - halo), whole - side)
        stop = length if origin + side == whole else origin + side - halo
        found.append(Span(origin, start, min(stop, length)))
        start = stop
    return found


def reflected(length: int, stride: int) -> np.ndarray:
    """For each pixel of an axis padded to a multiple of the stride, the one it is a copy of.

    Reflection at the far side, as the network pads by itself (`n2n_jax.models.Restorer`).
    """
    return np.pad(np.arange(length), (0, padded(length, stride) - length), mode='reflect')


ORIENTATIONS = range(8)


def oriented(image: np.ndarray, orientation: int) -> np.ndarray:
    """One of the 8 flips and rotations of (H, W, C); odd rotations are (W, H, C)."""
    if orientation & 1:
        image = image[::-1]
    if orientation & 2:
        image = image[:, ::-1]
    return image.swapaxes(0, 1) if orientation & 4 else image


def put_back(image: np.ndarray, orientation: int) -> np.ndarray:
    """The inverse of `oriented`."""
    if orientation & 4:
        image = image.swapaxes(0, 1)
    if orientation & 2:
        image = image[:, ::-1]
    return image[::-1] if orientation & 1 else image
