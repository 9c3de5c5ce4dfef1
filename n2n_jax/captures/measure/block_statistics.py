"""How certain a measurement on noisy images is, told by how it scatters over blocks of them.

It holds whatever the noise is: dependent on the signal, or correlated over less than a block.

N images, H height, W width, C channels, B blocks.
"""

import dataclasses

import numpy as np
from scipy import stats

CHANCE = 1e-6  # that something is called significant where there is nothing

_SIDES = (6, 40)  # the smallest and the largest side of a block, in pixels
_ACROSS = 6  # blocks across the smaller side of an image, if they are not too small or too large


def block_side(height: int, width: int) -> int:
    """Pixels a side of blocks: many, but each larger than noise is correlated."""
    return int(np.clip(min(height, width) // _ACROSS, *_SIDES))


def block_sums(map_HW: np.ndarray, side: int) -> np.ndarray:
    """Sums over blocks, (..., H, W) -> (..., B); narrow ones at the end are smaller blocks."""
    rows = np.arange(0, map_HW.shape[-2], side)
    columns = np.arange(0, map_HW.shape[-1], side)
    sums = np.add.reduceat(map_HW, rows, axis=-2, dtype=np.float64)
    sums = np.add.reduceat(sums, columns, axis=-1)
    return sums.reshape(*map_HW.shape[:-2], -1)


def block_means(images_NHWC: np.ndarray, side: int) -> np.ndarray:
    """Means over whole blocks, (N, H // side, W // side, C) float64; the rest is left out."""
    n, h, w, c = images_NHWC.shape
    x = images_NHWC[:, : h // side * side, : w // side * side]
    return x.reshape(n, h // side, side, w // side, side, c).mean(axis=(2, 4), dtype=np.float64)


def effective_count(weights_B: np.ndarray) -> float:
    """How many blocks as good as equal ones there are: (sum)^2 / sum of squares."""
    squares = float((weights_B**2).sum())
    return float(weights_B.sum()) ** 2 / squares if squares > 0 else 0.0


def needed(freedom: float, tests: int = 1) -> float:
    """How many standard errors are beyond chance, by Student's distribution.

    Of several tests, such as one per channel, each gets its part of the chance (Bonferroni).
    """
    return float(stats.t.isf(CHANCE / 2 / tests, max(freedom, 1.0)))


@dataclasses.dataclass(frozen=True)
class Ratio:
    """A ratio of sums over blocks.

    Attributes:
      value: of it; 0 if the denominator is.
      error: its standard error; infinite if it cannot be told.
      freedom: degrees of freedom of the error.
    """

    value: float
    error: float
    freedom: float

    def beyond(self, limit: float, tests: int = 1) -> bool:
        """Whether it is larger than the limit, either way, and not 0 but for chance."""
        return abs(self.value) > max(limit, needed(self.freedom, tests) * self.error)

    def surely_below(self, limit: float) -> bool:
        """Whether it is smaller than the limit by more than chance."""
        return self.value + needed(self.freedom) * self.error < limit

    def times(self, factor: float) -> 'Ratio':
        """In other units."""
        error = self.error * factor if np.isfinite(self.error) else self.error
        return Ratio(self.value * factor, error, self.freedom)


def ratio(above_B: np.ndarray, below_B: np.ndarray) -> Ratio:
    """The ratio, with its linearised standard error (Cochran, Sampling Techniques, section 6.4)."""
    total = float(below_B.sum())
    if total == 0:
        return Ratio(0.0, float('inf'), 0.0)
    value = float(above_B.sum()) / total
    freedom = effective_count(below_B) - 1
    if freedom <= 0:
        return Ratio(value, float('inf'), 0.0)
    left_B = above_B - value * below_B
    scatter = float(np.sqrt((left_B**2).sum() * (freedom + 1) / freedom))
    return Ratio(value, scatter / abs(total), freedom)
