"""The interface of corruptions: pure functions of a key, a clean image and a level.

B batch, H height, W width, C channels. Images are float32 in [0, 1]; corrupted images may exceed
that range, because a clipped target has the wrong mean (Lehtinen et al. 2018, section 2).
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax

Statistic = Literal['mean', 'median', 'mode', 'mean in linear light']

# (key, image_HWC, level) -> (image_HWC, mask_HWC or None). The options come last, if there are any;
# so they do in a share.
SampleImage = Callable[..., tuple[jax.Array, jax.Array | None]]
Share = Callable[..., float]  # level -> share


class Corrupted(NamedTuple):
    """Synthetic captures.

    Attributes:
      image_BHWC: the noisy images, float32, not clipped.
      mask_BHWC: 1 where a value is observed and 0 where it is missing; None: all are observed.
    """

    image_BHWC: jax.Array
    mask_BHWC: jax.Array | None


def none_of_them(level: float, *options: object) -> float:
    """Returns a share of 0 for every level."""
    del level, options
    return 0.0


def all_of_them(level: float, *options: object) -> float:
    """Returns a share of 1 for every level."""
    del level, options
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
        value, the preferred one first; or a function of the options that returns them. Mean, median
        and mode together mean that the noise is symmetric about the clean value with a single peak.
        If `untouched` is given, the median only counts where more than half of the values are
        untouched, and the mode where any are; see also `at_one_end`.
      logarithmic: whether the level of an image is drawn from a range of the logarithm, for levels
        whose range spans decades; else from that of the level.
      options: what can be set besides the level, with the defaults: an instance of a frozen
        dataclass, as `n2n_jax.runtime.choices` reads them. None: nothing.
      untouched: share of the observed values that are left exactly as they were, given the level.
      observed: share of the values that the mask marks as observed, given the level.
      at_one_end: for noise whose wrong values are all black or white: the share of the values that
        it makes black, or the share that it makes white, whichever is larger, given the level.
      scales: True if the width of the noise depends on the value it meets, so that it is symmetric
        only about exact values.
      monotone: True for a fixed, nondecreasing function of each value, which preserves medians.
      rectifies: True if values below 0 are treated as 0, which loses the mean after stages that
        produce such values.
      nonnegative: True if an image without negative values stays without them.
      mixes: True if a value also depends on its neighbors; the mask is mixed too, and a value with
        a missing contribution counts as missing.
      spread: for corruptions that do not mix linearly, what the mask becomes instead of being mixed
        like an image: a function of the mask, (H, W, C), and the options.
      check: raises UserError if the options cannot be used; called when a spec is parsed.
      cuts: how it limits the range or the steps of all values, as words that follow 'values are',
        with {level} for its level; '' if it does not.
    """

    name: str
    level: str
    bounds: tuple[float, float]
    sample_image: SampleImage
    statistics: tuple[Statistic, ...] | Callable[[Any], tuple[Statistic, ...]]
    logarithmic: bool = False
    options: Any = None
    untouched: Share = none_of_them
    observed: Share = all_of_them
    at_one_end: Share = none_of_them
    scales: bool = False
    monotone: bool = False
    rectifies: bool = False
    nonnegative: bool = False
    mixes: bool = False
    spread: Callable[[jax.Array, Any], jax.Array] | None = None
    check: Callable[[Any], None] | None = None
    cuts: str = ''

    def draw(
        self, key: jax.Array, image_HWC: jax.Array, level: jax.Array
    ) -> tuple[jax.Array, jax.Array | None]:
        """Draws one corrupted image with these options, and its mask of observed values."""
        return self.sample_image(key, image_HWC, level, *self.last_argument)

    @property
    def last_argument(self) -> tuple[Any, ...]:
        """The options, as the functions of a level take them; () if there are none."""
        return () if self.options is None else (self.options,)
