"""What a network asks of the shape of an image or a tile of one."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Geometry:
    """What a network asks of a tile.

    Attributes:
      stride: its sides are multiples of this.
      halo: pixels that a core, cut at multiples of the stride, depends on beyond each of its sides;
        a multiple of the stride. None: all of the image.
    """

    stride: int
    halo: int | None


def padded(length: int, stride: int) -> int:
    """The next multiple of the stride."""
    return -(-length // stride) * stride
