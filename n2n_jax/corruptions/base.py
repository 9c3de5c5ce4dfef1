"""What a corruption is: a pure function of a key, a clean image and a level.

B batch, H height, W width, C channels. Images are float32 in [0, 1]; corrupted images may leave
that range, because a clipped target has the wrong mean (Lehtinen et al. 2018, section 2).
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax

# (key, image_HWC, level) -> (image_HWC, mask_HWC or None)
SampleImage = Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array | None]]


class Corrupted(NamedTuple):
    """A synthetic capture.

    Attributes:
      image_BHWC: the noisy image, float32, not clipped.
      mask_BHWC: 1 where the value was observed and 0 where it is missing; None: all observed.
    """

    image_BHWC: jax.Array
    mask_BHWC: jax.Array | None


@dataclasses.dataclass(frozen=True)
class Corruption:
    """One kind of corruption, before a level is chosen.

    Attributes:
      name: the word used in a spec string.
      level: what the number after the colon means, for help texts and errors; empty if the
        corruption takes no number.
      bounds: smallest and largest level that make sense.
      zero_mean: True if E[capture | clean] = clean, so that L2 on noisy targets is unbiased.
      sample_image: draws one corrupted image; jittable, fixed shapes.
      loss: the loss that noisy targets of this kind need (a name of `n2n_jax.losses`).
      rectifies: True if values below 0 count as 0, so that behind noise the mean is kept no more.
    """

    name: str
    level: str
    bounds: tuple[float, float]
    zero_mean: bool
    sample_image: SampleImage
    loss: str = 'l2'
    rectifies: bool = False
