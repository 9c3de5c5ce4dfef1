"""What a corruption is: a pure function of a key, a clean image and a level.

B batch, H height, W width, C channels. Images are float32 in [0, 1]; corrupted images may leave
that range, because a clipped target has the wrong mean (Lehtinen et al. 2018, section 2).
"""

import dataclasses
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax

Statistic = Literal['mean', 'median', 'mode']

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


def none_of_them(level: float) -> float:
    """A share of 0, whatever the level."""
    del level
    return 0.0


def all_of_them(level: float) -> float:
    """A share of 1, whatever the level."""
    del level
    return 1.0


@dataclasses.dataclass(frozen=True)
class Corruption:
    """One kind of corruption, before a level is chosen.

    What it says of its captures decides which losses may learn from noisy targets of this kind:
    see `n2n_jax.corruptions.statistics`, which also derives it for compositions. The defaults are
    those of noise on every value that nothing else is known of.

    Attributes:
      name: the word used in a spec string.
      level: what the number after the colon means, for help texts and errors; empty if the
        corruption takes no number.
      bounds: smallest and largest level that make sense.
      sample_image: draws one corrupted image; jittable, fixed shapes.
      statistics: those of an observed value, over many captures, that are the clean value; the one
        to learn from first. All three: the noise is symmetric about the clean value with one peak.
        With `untouched` the median counts only where more than half of the values are untouched,
        the mode only where any are.
      untouched: the share of the observed values that come back exactly as they were, of a level.
      observed: the share of the values that the mask calls observed, of a level.
      monotone: True for a fixed, nondecreasing function of each value: medians go through it.
      rectifies: True if values below 0 count as 0, so that behind such values the mean is lost.
      nonnegative: True if an image without values below 0 comes back without any.
      mixes: True if a value is made of its neighbors too; a mask goes through the same, and what
        any missing value has a part in is missing.
      cuts: what it does to the range and the steps of all values, in words that follow on
        'values are', with {level} for its level; '' if it leaves both alone.
    """

    name: str
    level: str
    bounds: tuple[float, float]
    sample_image: SampleImage
    statistics: tuple[Statistic, ...]
    untouched: Callable[[float], float] = none_of_them
    observed: Callable[[float], float] = all_of_them
    monotone: bool = False
    rectifies: bool = False
    nonnegative: bool = False
    mixes: bool = False
    cuts: str = ''
