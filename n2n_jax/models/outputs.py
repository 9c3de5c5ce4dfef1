"""What a network returns, if it is more than an image.

B batch, H height, W width, C channels.
"""

from typing import NamedTuple

import jax


class Outputs(NamedTuple):
    """The answers of a network with pyramid supervision (Jiang et al. 2018, RedNet).

    Attributes:
      image_BHWC: the answer, at the size of the input.
      coarse: answers at strides above 1, {stride: (B, H / stride, W / stride, C)}. Pixel (i, j)
        answers for pixel (i * stride, j * stride) of the image. Only training reads them.
    """

    image_BHWC: jax.Array
    coarse: dict[int, jax.Array]


def as_outputs(answer: 'jax.Array | Outputs') -> Outputs:
    """Returns what a network returned, which is the image alone for most."""
    return answer if isinstance(answer, Outputs) else Outputs(answer, {})
