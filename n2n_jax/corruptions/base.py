"""The interface of corruptions: pure functions of a key, a clean image and a level.

B batch, H height, W width, C channels. Images are float32 in [0, 1]; corrupted images may exceed
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
    """Synthetic captures.

    Attributes:
      image_BHWC: the noisy images, float32, not clipped.
      mask_BHWC: 1 where a value is observed and 0 where it is missing; None: all are observed.
    """

    image_BHWC: jax.Array
    mask_BHWC: jax.Array | None


def none_of_them(level: float) -> float:
    """Returns a share of 0 for every level."""
    del level
    return 0.0


def all_of_them(level: float) -> float:
    """Returns a share of 1 for every level."""
    del level
    return 1.0


@dataclasses.dataclass(frozen=True)
class Corruption:
    """One kind of corruption, without a level.

    Its properties determine which losses can learn from noisy targets of this kind; see
    `n2n_jax.corruptions.statistics`, which also derives them for chains. The defaults suit noise on
    every value of which nothing else is known.

    Attributes:
      name: name in a spec string.
      level: meaning of the number after the colon, for help texts and errors; empty if the
        corruption takes no number.
      bounds: smallest and largest sensible level.
      sample_image: draws one corrupted image; jittable, fixed shapes.
      statistics: the statistics of an observed value, over many captures, that equal the clean
        value, the preferred one first. All three mean that the noise is symmetric about the clean
        value with a single peak. If `untouched` is given, the median only counts where more than
        half of the values are untouched, and the mode where any are.
      untouched: share of the observed values that are left exactly as they were, given the level.
      observed: share of the values that the mask marks as observed, given the level.
      monotone: True for a fixed, nondecreasing function of each value, which preserves medians.
      rectifies: True if values below 0 are treated as 0, which loses the mean after stages that
        produce such values.
      nonnegative: True if an image without negative values stays without them.
      mixes: True if a value also depends on its neighbors; the mask is mixed too, and a value with
        a missing contribution counts as missing.
      cuts: how it limits the range or the steps of all values, as words that follow 'values are',
        with {level} for its level; '' if it does not.
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
