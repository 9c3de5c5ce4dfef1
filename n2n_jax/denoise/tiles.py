"""Tiling: cuts an image so that denoising it tile by tile gives the same result as in one piece.

A tile is the input of one call of the network; its core is the part of the output that is kept. Two
rules make the cores together equal to the output for the whole image, without blending:

* Tiles begin at multiples of the network's stride, so that pooling windows cover the same pixels.
* A core is at least the network's halo away from the sides of its tile, except where the tile ends
  at a side of the image, which the network pads in the same way in both cases.

All tiles of an image have the same shape, so that only one program is compiled.

This module is the geometry alone; the loops over tiles are `Denoiser.bands` (down the image, with
smaller tiles when memory runs out) and `Denoiser._denoised_cores` (across).
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
      stop: one past the last pixel of the core.
    """

    origin: int
    start: int
    stop: int


def tile_shape(height: int, width: int, core: int, geometry: Geometry) -> tuple[int, int]:
    """Chooses the shape of an image's tiles.

    Args:
      height: rows of the image, before padding.
      width: columns of the image, before padding.
      core: largest side of a core, a multiple of the stride.
      geometry: stride and halo of the network.

    Returns:
      (rows, columns). The whole padded image if it has no more pixels than the largest tile;
      otherwise along each axis the shortest side that needs the fewest tiles.
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
    """Returns the tiles along one axis; their cores cover it without gap or overlap.

    Args:
      length: pixels of the image along this axis, before padding.
      side: side of the tiles along this axis, from `tile_shape`.
      geometry: stride and halo of the network.
    """
    whole = padded(length, geometry.stride)
    if side == whole:
        return [Span(0, 0, length)]
    halo = geometry.halo or 0
    found: list[Span] = []
    start = 0
    while start < length:
        # The last tile is moved back to end with the padded image, as all have the same shape.
        origin = min(max(0, start - halo), whole - side)
        stop = length if origin + side == whole else origin + side - halo
        found.append(Span(origin, start, min(stop, length)))
        start = stop
    return found


def reflected(length: int, stride: int) -> np.ndarray:
    """Returns, for each pixel of an axis padded to a multiple of the stride, its source pixel.

    Pads by reflection at the far side, as the network itself does (`n2n_jax.models.Restorer`).
    """
    return np.pad(np.arange(length), (0, padded(length, stride) - length), mode='reflect')
