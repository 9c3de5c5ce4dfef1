"""How sure a table is: intervals over images and over seeds, and paired tests.

A arms, S seeds, I images.

Two things vary: the images that are scored, and the seeds of the runs. Over images the interval is
a bootstrap of the mean (of the differences image by image, where two arms are compared). Seeds are
few, so their standard deviation is pooled over the arms that were run with several, as in an
analysis of variance, and the interval is that of Student's t. An arm whose runs scatter far more
than those of the others is not pooled with them, and has its own. Arms that are compared with one
control share what that one does, seed by seed, so the standard deviation of their differences comes
from what is left after the effects of arm and seed: a two-way analysis of variance. Both together:
the half-widths add as the independent errors they are, in squares.
"""

import dataclasses
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Generic, TypeVar

import numpy as np
from scipy import stats

from n2n_jax.evaluate.metrics import bootstrap_interval

_SHARE = 0.95
_WILD = 0.01  # chance that any arm of a column is called wild although all scatter alike

Key = TypeVar('Key', bound=Hashable)

BySeed = Mapping[int, np.ndarray]  # scores of each image, (I,), by the seed of the run
Means = Mapping[int, float]  # over images, by the seed of the run
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
    columns: dict[Hashable, dict[Key, Means]] = {}
    for key, by_seed in scores.items():
        if NO_SEED not in by_seed:
            means = {seed: float(x_I.mean()) for seed, x_I in by_seed.items()}
            columns.setdefault(column_of(key), {})[key] = means
    of_means: dict[Key, Spread] = {}
    of_differences: dict[Key, Spread] = {}
    for column in columns.values():
        of_means |= spreads(column)
        of_differences |= spreads_of_differences(column, controls)
    for key, control in controls.items():
        if key not in of_means and control in of_means:
            of_differences[key] = of_means[control]  # of a method, which adds no spread
    return Compared(
        _estimates(scores, of_means),
        _estimates(differences, of_differences),
        dict(zip(differences, p_values, strict=True)),
    )


def _estimates(values: Mapping[Key, BySeed], of_seeds: Mapping[Key, Spread]) -> dict[Key, Estimate]:
    none = Spread(math.nan, 0)
    return {key: estimate(_stacked(x), of_seeds.get(key, none)) for key, x in values.items()}


def _stacked(by_seed: BySeed) -> np.ndarray:
    return np.stack([by_seed[seed] for seed in sorted(by_seed)])


def spreads(means: Mapping[Key, Means]) -> dict[Key, Spread]:
    """Returns the spread over seeds of each entry of a column.

    Args:
      means: over images, by seed, of each entry.
    """
    arrays = {key: np.array(list(by_seed.values())) for key, by_seed in means.items()}
    wild = _wild(arrays)
    common = pooled([means_S for key, means_S in arrays.items() if key not in wild])
    return {key: pooled([x_S]) if key in wild else common for key, x_S in arrays.items()}


def _wild(means: Mapping[Key, np.ndarray]) -> set[Key]:
    """Returns the entries whose runs scatter far more than those of the others (F-tests)."""
    tame = {key: means_S for key, means_S in means.items() if pooled([means_S]).degrees}
    wild: set[Key] = set()
    while len(tame) > 2:
        widest = max(tame, key=lambda key: pooled([tame[key]]).sd)
        own, others = pooled([tame[widest]]), pooled([tame[key] for key in tame if key != widest])
        ratio = (own.sd / others.sd) ** 2 if others.sd else math.inf
        if stats.f.sf(ratio, own.degrees, others.degrees) * len(tame) >= _WILD or not own.sd:
            break
        wild.add(widest)
        del tame[widest]
    return wild


def spreads_of_differences(
    means: Mapping[Key, Means], controls: Mapping[Key, Key]
) -> dict[Key, Spread]:
    """Returns the spread over seeds of the difference of each entry of a column to its control.

    Args:
      means: over images, by seed, of each entry.
      controls: of the entries that have one. A control without seeds, such as a classical method,
        adds no spread.
    """
    wild = _wild({key: np.array(list(by_seed.values())) for key, by_seed in means.items()})
    own = spreads(means)
    families: dict[Key, list[Key]] = {}
    found: dict[Key, Spread] = {}
    for key in means:
        if key not in controls:
            continue
        control = controls[key]
        if control not in means:
            found[key] = own[key]
        elif key in wild or control in wild:
            found[key] = _residual_spread([means[key], means[control]])
        else:
            families.setdefault(control, [control]).append(key)
    parts = [_residual_spread([means[key] for key in family]) for family in families.values()]
    degrees = sum(part.degrees for part in parts)
    squares = sum(part.sd**2 * part.degrees for part in parts if part.degrees)
    common = Spread(math.sqrt(squares / degrees) if degrees else math.nan, degrees)
    return found | {key: common for control, family in families.items() for key in family[1:]}


def _residual_spread(family: Sequence[Means]) -> Spread:
    """Returns the spread of a difference of two members, from what arm and seed do not explain."""
    repeated = [by_seed for by_seed in family if len(by_seed) > 1]
    seeds = sorted(set.intersection(*map(set, repeated))) if repeated else []
    if min(len(repeated), len(seeds)) < 2:
        return Spread(math.nan, 0)
    degrees = (len(repeated) - 1) * (len(seeds) - 1)
    x_AS = np.array([[by_seed[seed] for seed in seeds] for by_seed in repeated])
    left_AS = x_AS - x_AS.mean(axis=0) - x_AS.mean(axis=1, keepdims=True) + x_AS.mean()
    return Spread(math.sqrt(2 * float(np.sum(left_AS**2)) / degrees), degrees)
