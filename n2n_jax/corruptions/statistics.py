"""Which statistics of noisy targets are the clean image, for one corruption and for several.

A network that is trained on noisy targets learns a statistic of them, and the loss says which (see
`n2n_jax.train.losses`). Each `Corruption` says which of its own are the clean value; here is what
is left
of them behind a row of stages:

  mean    kept while every stage keeps it, but not through one that rectifies values below 0
  median  kept by symmetric noise on symmetric noise, and by monotone functions behind any of it;
          also as long as more than half of the values are exactly the clean ones
  mode    kept while some values are exactly the clean ones, and by symmetric noise: with impulses
          to a fraction of its standard deviation, at black and white

What is not known to be kept counts as lost: asymmetric noise behind noise loses all but the mean.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

from n2n_jax.corruptions.base import Corruption, Statistic, none_of_them

_ALL: tuple[Statistic, ...] = ('mean', 'median', 'mode')
_NUM_LEVELS = 100  # of a range


@dataclasses.dataclass(frozen=True)
class Stage:
    """A corruption with its range of levels; low == high means a fixed level."""

    corruption: Corruption
    low: float
    high: float

    @property
    def spec(self) -> str:
        """As in a spec string."""
        name, low, high = self.corruption.name, self.low, self.high
        if not self.corruption.level:
            return name
        return f'{name}:{low:g}' if low == high else f'{name}:{low:g}-{high:g}'

    @property
    def untouched(self) -> float:
        """Share of the observed values that come back exactly as they were."""
        return self._mean(self.corruption.untouched)

    @property
    def observed(self) -> float:
        """Share of the values that are observed."""
        return self._mean(self.corruption.observed)

    def _mean(self, share: Callable[[float], float]) -> float:
        """Over the levels. A target's is not known from the input: it is part of the noise."""
        if self.low == self.high:
            return share(self.low)
        width = (self.high - self.low) / _NUM_LEVELS
        return sum(share(self.low + (i + 0.5) * width) for i in range(_NUM_LEVELS)) / _NUM_LEVELS


class CleanStatistics(NamedTuple):
    """The statistics of captures that are the clean image, the one to learn from first.

    Attributes:
      observed: of the observed values.
      everywhere: of all values, whether observed or missing.
    """

    observed: tuple[Statistic, ...]
    everywhere: tuple[Statistic, ...]


def clean_statistics(stages: Sequence[Stage]) -> CleanStatistics:
    """The statistics that are left behind the stages, which are applied in turn."""
    kept, symmetric, negative = set(_ALL), True, False
    untouched = observed = 1.0
    for stage in stages:
        noise, exact = stage.corruption, untouched
        untouched, observed = untouched * stage.untouched, observed * stage.observed
        names = set(noise.statistics)
        keeps_all = names == set(_ALL)
        if untouched == 1 or (keeps_all and stage.untouched == 1):
            continue  # nothing happens to what is observed
        if keeps_all:
            median, mode = symmetric, True
        elif noise.untouched is not none_of_them:
            median, mode = noise.monotone and stage.untouched == 1, stage.untouched > 0
        else:  # noise of which no more is known than what it says of clean values
            median = mode = exact == 1
        holds = {'mean': not (noise.rectifies and negative), 'median': median, 'mode': mode}
        kept &= {name for name in names if holds[name]}
        symmetric = symmetric and keeps_all
        negative = negative or not noise.nonnegative
    kept |= _of_atom(untouched)
    everywhere = kept
    if observed < 1:  # the missing ones, all 0, are not to outnumber the clean ones
        everywhere = _of_atom(untouched * observed) if untouched * observed > 0.5 else set()
    order = _ALL if 'mean' in kept else _order(stages)
    return CleanStatistics(
        tuple(name for name in order if name in kept),
        tuple(name for name in order if name in everywhere),
    )


def _of_atom(share: float) -> set[Statistic]:
    """The statistics that are the clean value where this share of the values are equal to it."""
    if share == 1:
        return set(_ALL)
    if share > 0.5:
        return {'median', 'mode'}
    return {'mode'} if share > 0 else set()


def _order(stages: Sequence[Stage]) -> tuple[Statistic, ...]:
    """As the first stage has it that moves the mean."""
    moving = [s.corruption.statistics for s in stages if 'mean' not in s.corruption.statistics]
    first = next((names for names in moving if names), _ALL)
    return (*first, *(name for name in _ALL if name not in first))
