"""How sure a table is: intervals over images and over seeds, and paired tests.

S seeds, I images.

Two things vary: the images that are scored, and the seeds of the runs. Over images the interval is
a bootstrap of the mean (of the differences image by image, where two arms are compared). Seeds are
few, so their standard deviation is pooled over all arms that were run with several, as in an
analysis of variance, and the interval is that of Student's t. Both together: the half-widths add as
the independent errors they are, in squares.
"""

import dataclasses
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Generic, TypeVar

import numpy as np
from scipy import stats

from n2n_jax.evaluate.metrics import bootstrap_interval

_SHARE = 0.95

Key = TypeVar('Key', bound=Hashable)

BySeed = Mapping[int, np.ndarray]  # scores of each image, (I,), by the seed of the run
NO_SEED = -1  # of methods that are not trained


@dataclasses.dataclass(frozen=True)
class Spread:
    """The standard deviation over seeds, pooled over arms.

    Attributes:
      sd: the standard deviation; NaN if no arm has two seeds.
      degrees: degrees of freedom behind it.
    """

    sd: float
    degrees: int

    def half_width(self, num_seeds: int) -> float:
        """Returns half of the 95 % interval of a mean over seeds; NaN if `sd` is."""
        if not self.degrees:
            return math.nan
        quantile = float(stats.t.ppf((1 + _SHARE) / 2, self.degrees))
        return quantile * self.sd / math.sqrt(num_seeds)


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean and how sure it is.

    Attributes:
      mean: over images and seeds.
      over_images: 95 % interval if only the images varied.
      over_seeds: if only the seeds varied; NaN without repeated seeds.
      over_both: if both vary; the interval over images without repeated seeds.
      seeds: number of seeds.
      images: number of images.
    """

    mean: float
    over_images: tuple[float, float]
    over_seeds: tuple[float, float]
    over_both: tuple[float, float]
    seeds: int
    images: int


def pooled(groups: Sequence[np.ndarray]) -> Spread:
    """Pools the standard deviation over seeds of several arms.

    Args:
      groups: means over images, one array over seeds, (S,), per arm.
    """
    squares, degrees = 0.0, 0
    for means_S in groups:
        if len(means_S) > 1 and np.isfinite(means_S).all():
            squares += float(np.sum((means_S - means_S.mean()) ** 2))
            degrees += len(means_S) - 1
    return Spread(math.sqrt(squares / degrees) if degrees else math.nan, degrees)


def estimate(scores_SI: np.ndarray, spread: Spread) -> Estimate:
    """Returns the mean of scores, or of differences, with its intervals.

    Args:
      scores_SI: one score per seed and image.
      spread: over seeds.
    """
    per_image_I = scores_SI.mean(axis=0)
    mean = float(per_image_I.mean())
    low, high = bootstrap_interval(per_image_I)
    half = spread.half_width(len(scores_SI))
    if math.isnan(half):
        both = low, high
    else:
        both = mean - math.hypot(mean - low, half), mean + math.hypot(high - mean, half)
    return Estimate(mean, (low, high), (mean - half, mean + half), both, *scores_SI.shape)


def paired(one: BySeed, other: BySeed) -> BySeed:
    """Returns differences, one minus other, seed by seed; what has no seed goes with each."""
    if NO_SEED in other:
        return {seed: x_I - other[NO_SEED] for seed, x_I in one.items()}
    if NO_SEED in one:
        return {seed: one[NO_SEED] - x_I for seed, x_I in other.items()}
    return {seed: x_I - other[seed] for seed, x_I in one.items() if seed in other}


def wilcoxon(differences_I: np.ndarray) -> float:
    """Returns the p-value of Wilcoxon's signed-rank test; 1 if no image differs."""
    if not np.any(differences_I):
        return 1.0
    return float(stats.wilcoxon(differences_I).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusts p-values for the number of tests, after Holm (1979).

    Returns:
      Them, in the order given: below 0.05 is significant over all tests together.
    """
    order = np.argsort(p_values)
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, k in enumerate(order):
        largest = max(largest, (len(p_values) - rank) * p_values[k])
        adjusted[k] = min(1.0, largest)
    return adjusted


def p_in_words(p: float) -> str:
    """Formats a p-value."""
    return '< 0.001' if p < 0.001 else f'{p:.3f}'


def seed_sd(by_seed: BySeed) -> float:
    """Returns the standard deviation over seeds of one entry; NaN for one seed."""
    means_S = [float(x_I.mean()) for x_I in by_seed.values()]
    return float(np.std(means_S, ddof=1)) if len(means_S) > 1 else math.nan


@dataclasses.dataclass(frozen=True)
class Compared(Generic[Key]):
    """What is known about the entries of a table.

    Attributes:
      means: of all entries.
      differences: of the entries that have a control.
      p: of those differences, adjusted for the number of them.
    """

    means: dict[Key, Estimate]
    differences: dict[Key, Estimate]
    p: dict[Key, float]


def compared(
    scores: Mapping[Key, BySeed],
    controls: Mapping[Key, Key],
    column_of: Callable[[Key], Hashable],
) -> Compared[Key]:
    """Compares the entries of a table.

    Args:
      scores: of each entry, by seed.
      controls: the entry that differences are taken against, for those that have one; an entry and
        its control that have no seed in common are not compared.
      column_of: the column of an entry: spreads over seeds are pooled over its entries.
    """
    differences = {key: paired(scores[key], scores[control]) for key, control in controls.items()}
    differences = {key: by_seed for key, by_seed in differences.items() if by_seed}
    p_values = holm([wilcoxon(_stacked(by_seed).mean(axis=0)) for by_seed in differences.values()])
    return Compared(
        _estimates(scores, column_of),
        _estimates(differences, column_of),
        dict(zip(differences, p_values, strict=True)),
    )


def _stacked(by_seed: BySeed) -> np.ndarray:
    return np.stack([by_seed[seed] for seed in sorted(by_seed)])


def _estimates(
    values: Mapping[Key, BySeed], column_of: Callable[[Key], Hashable]
) -> dict[Key, Estimate]:
    """Estimates each entry with the spread over seeds of its column."""
    columns: dict[Hashable, list[np.ndarray]] = {}
    for key, by_seed in values.items():
        if NO_SEED not in by_seed:
            columns.setdefault(column_of(key), []).append(_stacked(by_seed).mean(axis=1))
    spreads = {column: pooled(means) for column, means in columns.items()}
    none = Spread(math.nan, 0)
    return {
        key: estimate(_stacked(by_seed), none if NO_SEED in by_seed else spreads[column_of(key)])
        for key, by_seed in values.items()
    }
