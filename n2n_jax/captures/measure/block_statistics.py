"""Standard errors of image statistics, estimated from their scatter over blocks.

Valid for any noise, including signal-dependent noise and noise correlated over less than a block.

N images, H height, W width, C channels, B blocks.
"""

import dataclasses

import numpy as np
from scipy import special

CHANCE = 1e-6  # false-positive rate of one test

_SIDES = (6, 40)  # smallest and largest side of a block, in pixels
_ACROSS = 6  # blocks across the smaller side of an image, within those limits


def block_side(height: int, width: int) -> int:
    """Returns the side of blocks in pixels: many blocks, each wider than the noise correlation."""
    return int(np.clip(min(height, width) // _ACROSS, *_SIDES))


def block_sums(map_HW: np.ndarray, side: int) -> np.ndarray:
    """Returns sums over blocks, (..., H, W) -> (..., B); blocks at the end may be smaller."""
    rows = np.arange(0, map_HW.shape[-2], side)
    columns = np.arange(0, map_HW.shape[-1], side)
    sums = np.add.reduceat(map_HW, rows, axis=-2, dtype=np.float64)
    sums = np.add.reduceat(sums, columns, axis=-1)
    return sums.reshape(*map_HW.shape[:-2], -1)


def block_means(images_NHWC: np.ndarray, side: int) -> np.ndarray:
    """Returns means over complete blocks, (N, H // side, W // side, C) float64."""
    n, h, w, c = images_NHWC.shape
    x = images_NHWC[:, : h // side * side, : w // side * side]
    return x.reshape(n, h // side, side, w // side, side, c).mean(axis=(2, 4), dtype=np.float64)


def effective_count(weights_B: np.ndarray) -> float:
    """Returns the effective number of equally weighted blocks: (sum)^2 / sum of squares."""
    squares = float((weights_B**2).sum())
    return float(weights_B.sum()) ** 2 / squares if squares > 0 else 0.0


def significance_threshold(degrees_of_freedom: float, tests: int = 1) -> float:
    """Returns how many standard errors a value must exceed to be significant (Student's t).

    Several tests, such as one per channel, share the false-positive rate (Bonferroni).
    """
    # As scipy.stats.t.isf, but that module takes most of a second to import.
    return float(-special.stdtrit(max(degrees_of_freedom, 1.0), CHANCE / 2 / tests))


@dataclasses.dataclass(frozen=True)
class Ratio:
    """A ratio of sums over blocks.

    Attributes:
      value: the ratio; 0 if the denominator is.
      error: its standard error; infinite if unknown.
      degrees_of_freedom: those of the error.
    """

    value: float
    error: float
    degrees_of_freedom: float

    def exceeds(self, limit: float, tests: int = 1) -> bool:
        """Returns whether its magnitude exceeds both `limit` and its significance threshold."""
        chance = significance_threshold(self.degrees_of_freedom, tests) * self.error
        return abs(self.value) > max(limit, chance)

    def times(self, factor: float) -> 'Ratio':
        """Returns the ratio scaled by `factor`."""
        error = self.error * factor if np.isfinite(self.error) else self.error
        return Ratio(self.value * factor, error, self.degrees_of_freedom)


def ratio(above_B: np.ndarray, below_B: np.ndarray) -> Ratio:
    """Returns sum(above) / sum(below) with its linearized standard error.

    Cochran, Sampling Techniques, section 6.4.
    """
    total = float(below_B.sum())
    if total == 0:
        return Ratio(0.0, float('inf'), 0.0)
    value = float(above_B.sum()) / total
    degrees_of_freedom = effective_count(below_B) - 1
    if degrees_of_freedom <= 0:
        return Ratio(value, float('inf'), 0.0)
    residual_B = above_B - value * below_B
    scatter = float(np.sqrt((residual_B**2).sum() * (degrees_of_freedom + 1) / degrees_of_freedom))
    return Ratio(value, scatter / abs(total), degrees_of_freedom)
