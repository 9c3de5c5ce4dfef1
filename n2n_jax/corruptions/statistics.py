"""Determines which statistics of noisy targets equal the clean image, for chains of corruptions.

A network trained on noisy targets learns a statistic of them that depends on the loss (see
`n2n_jax.train.losses`). Each `Corruption` declares which of its statistics equal the clean value.
In a chain of stages they are preserved as follows:

  mean    by stages that all preserve it, unless one rectifies negative values
  median  by symmetric noise after symmetric noise, and by monotone functions after either; also
          while more than half of the values are exactly clean, and by black and white impulses on
          exact values while neither makes up half of all
  mode    while some values are exactly clean, and more than are black or white by mistake; and by
          symmetric noise; with impulses, at black and white, only up to a fraction of the noise's
          standard deviation
  mean in linear light  by the first stage that changes values, if it preserves it

A statistic not known to be preserved counts as lost: asymmetric noise after noise loses all but the
mean. Noise that scales with the value counts as symmetric on exact values alone.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from n2n_jax.corruptions.base import Corruption, Share, Statistic, none_of_them

_STATISTICS: tuple[Statistic, ...] = ('mean', 'median', 'mode', 'mean in linear light')
_SYMMETRIC = {'mean', 'median', 'mode'}  # statistics of symmetric noise with a single peak
_NUM_LEVELS = 100  # sampled from a range of levels


@dataclasses.dataclass(frozen=True)
class Stage:
    """A corruption with its range of levels; low == high for a fixed level."""

    corruption: Corruption
    low: float
    high: float

    @property
    def spec(self) -> str:
        """The stage in the notation of spec strings."""
        name, low, high = self.corruption.name, self.low, self.high
        if self.corruption.level:
            name = f'{name}:{low:g}' if low == high else f'{name}:{low:g}-{high:g}'
        return ','.join([name, *self._options_set()])

    def level(self, key: jax.Array) -> jax.Array:
        """Draws the level of an image, float32."""
        if self.low == self.high:
            return jnp.float32(self.low)
        if not self.corruption.logarithmic:
            return jax.random.uniform(key, minval=self.low, maxval=self.high)
        low, high = math.log(self.low), math.log(self.high)
        drawn = jnp.exp(jax.random.uniform(key, minval=low, maxval=high))
        return jnp.clip(drawn, self.low, self.high)

    @property
    def statistics(self) -> tuple[Statistic, ...]:
        """The statistics of its corruption, with the options set."""
        of = self.corruption.statistics
        return of(self.corruption.options) if callable(of) else of

    @property
    def untouched(self) -> float:
        """Share of the observed values that are left exactly as they were."""
        return self._mean(self.corruption.untouched)

    @property
    def observed(self) -> float:
        """Share of the values that are observed."""
        return self._mean(self.corruption.observed)

    @property
    def at_one_end(self) -> float:
        """Share of the values that become black, or white, whichever is larger."""
        return self._mean(self.corruption.at_one_end)

    def _mean(self, share: Share) -> float:
        """Averages a share over the levels; the level of a target is random like its noise."""
        last = self.corruption.last_argument
        if self.low == self.high:
            return share(self.low, *last)
        width = (self.high - self.low) / _NUM_LEVELS
        levels = (self.low + (i + 0.5) * width for i in range(_NUM_LEVELS))
        return sum(share(level, *last) for level in levels) / _NUM_LEVELS

    def _options_set(self) -> list[str]:
        """Returns the options that differ from their defaults, in the notation of spec strings."""
        options = self.corruption.options
        if options is None:
            return []
        values = {item.name: getattr(options, item.name) for item in dataclasses.fields(options)}
        defaults = dataclasses.asdict(type(options)())
        return [
            f'{key}={value:g}' if isinstance(value, float) else f'{key}={value}'
            for key, value in values.items()
            if value != defaults[key]
        ]


class CleanStatistics(NamedTuple):
    """The statistics of captures that equal the clean image, the preferred one first.

    Attributes:
      observed: statistics of the observed values.
      everywhere: statistics of all values, observed or missing.
    """

    observed: tuple[Statistic, ...]
    everywhere: tuple[Statistic, ...]


def clean_statistics(stages: Sequence[Stage]) -> CleanStatistics:
    """Returns the statistics that a chain of stages preserves."""
    kept, symmetric, negative = set(_STATISTICS), True, False
    untouched, observed, at_one_end = 1.0, 1.0, 0.0
    for stage in stages:
        noise, exact = stage.corruption, untouched
        untouched, observed = untouched * stage.untouched, observed * stage.observed
        at_one_end = at_one_end * stage.untouched + stage.at_one_end
        names = set(stage.statistics)
        keeps_all = names == _SYMMETRIC
        if untouched == 1 or (keeps_all and stage.untouched == 1):
            continue  # leaves observed values unchanged
        if keeps_all:
            mode = exact == 1 or not noise.scales
            median = symmetric = symmetric and mode
        elif noise.untouched is not none_of_them:
            outvoted = at_one_end > 0 and at_one_end >= untouched
            mode = stage.untouched > 0 and not outvoted
            at_ends = exact == 1 and untouched > 0 and 0 < at_one_end < 0.5
            median = at_ends or (noise.monotone and stage.untouched == 1)
        else:  # other noise: its statistics are only known for clean input
            median = mode = exact == 1
        holds = {
            'mean': not (noise.rectifies and negative),
            'median': median,
            'mode': mode,
            'mean in linear light': exact == 1,
        }
        kept &= {name for name in names if holds[name]}
        symmetric = symmetric and keeps_all
        negative = negative or not noise.nonnegative
    kept |= _from_untouched(untouched, at_one_end)
    everywhere = kept
    if observed < 1:  # missing values, all 0, must not outnumber the clean ones
        everywhere = _from_untouched(untouched * observed) if untouched * observed > 0.5 else set()
    order = _STATISTICS if 'mean' in kept else _order(stages)
    return CleanStatistics(
        tuple(name for name in order if name in kept),
        tuple(name for name in order if name in everywhere),
    )


def _from_untouched(share: float, at_one_end: float = 0.0) -> set[Statistic]:
    """Returns the statistics that equal the clean value if this share of the values does.

    Args:
      share: share of the values that equal the clean one.
      at_one_end: share of the values that equal one wrong value.
    """
    if share == 1:
        return set(_STATISTICS)
    if share > 0.5:
        return {'median', 'mode'}
    return {'mode'} if share > at_one_end else set()


def _order(stages: Sequence[Stage]) -> tuple[Statistic, ...]:
    """Returns the order of preference of the first stage that does not preserve the mean."""
    moving = [s.statistics for s in stages if 'mean' not in s.statistics]
    first = next((names for names in moving if names), _STATISTICS)
    return (*first, *(name for name in _STATISTICS if name not in first))
