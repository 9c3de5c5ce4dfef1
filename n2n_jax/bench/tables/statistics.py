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
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from typing import Generic, TypeVar

import numpy as np
from scipy import stats

from n2n_jax.evaluate.metrics import bootstrap_interval

_SHARE = 0.95

Key = TypeVar('Key', bound=Hashable)


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


def paired_seeds(one_SI: np.ndarray, other_SI: np.ndarray) -> np.ndarray:
    """Returns differences, one minus other, of the seeds that both have: (S, I)."""
    num = min(len(one_SI), len(other_SI))
    return np.asarray(one_SI[:num] - other_SI[:num])


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
    scores: Mapping[Key, np.ndarray],
    controls: Mapping[Key, Key],
    column_of: Callable[[Key], Hashable],
    *,
    without_seed: Collection[Key] = (),
) -> Compared[Key]:
    """Compares the entries of a table.

    Args:
      scores: of each entry, (S, I).
      controls: the entry that differences are taken against, for those that have one.
      column_of: the column of an entry: spreads over seeds are pooled over its entries.
      without_seed: entries of methods that have no seed, (1, I).
    """
    random = {key: scores_SI for key, scores_SI in scores.items() if key not in without_seed}
    spreads = _spreads(random, column_of)
    differences_SI = {
        key: np.asarray(scores[key] - scores[control])
        if control in without_seed
        else paired_seeds(scores[key], scores[control])
        for key, control in controls.items()
    }
    of_differences = _spreads(differences_SI, column_of)
    p_values = holm([wilcoxon(x_SI.mean(axis=0)) for x_SI in differences_SI.values()])
    none = Spread(math.nan, 0)
    return Compared(
        {key: estimate(x_SI, spreads.get(column_of(key), none) if key in random else none)
         for key, x_SI in scores.items()},
        {key: estimate(x_SI, of_differences[column_of(key)])
         for key, x_SI in differences_SI.items()},
        dict(zip(differences_SI, p_values, strict=True)),
    )  # fmt: skip


def _spreads(
    values: Mapping[Key, np.ndarray], column_of: Callable[[Key], Hashable]
) -> dict[Hashable, Spread]:
    """Returns the spread over seeds of each column."""
    columns: dict[Hashable, list[np.ndarray]] = {}
    for key, x_SI in values.items():
        columns.setdefault(column_of(key), []).append(x_SI.mean(axis=1))
    return {column: pooled(means) for column, means in columns.items()}
