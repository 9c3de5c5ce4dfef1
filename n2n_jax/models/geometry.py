"""Constraints of a network on the shape of its input."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Geometry:
    """Constraints of a network on its tiles.

    Attributes:
      stride: the sides of a tile must be multiples of this, in pixels.
      halo: pixels beyond each side of a core that its result depends on, if it is cut at multiples
        of the stride; a multiple of the stride. None: the result depends on the whole image.
    """

    stride: int
    halo: int | None


def padded(length: int, stride: int) -> int:
    """Rounds a length up to a multiple of the stride."""
    return -(-length // stride) * stride
