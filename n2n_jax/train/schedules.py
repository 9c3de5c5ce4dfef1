"""Learning-rate schedules by name.

A schedule is a shape, which starts at 1 or rises to it, times `optim.learning_rate` and a linear
warm-up. To add one, write a class like `RampDown` and add it to `REGISTRY`.
"""

import dataclasses
import math
from typing import Annotated, Protocol

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax

from n2n_jax.runtime import choices
from n2n_jax.runtime.config import Config
from n2n_jax.runtime.config_field import Bounds

Numbers = dict[str, np.float32 | jax.Array]


class Shape(Protocol):
    """The course of the learning rate over a run."""

    def numbers(self, num_steps: int) -> Numbers:
        """Returns the float32 scalars that `factor` needs of a run of this length."""

    def factor(self, step: jax.Array, numbers: Numbers) -> jax.Array:
        """Returns the learning rate of a step, as a share of the largest one."""


@dataclasses.dataclass(frozen=True)
class RampDown:
    """Constant, then (0.5 + 0.5 cos(pi t))^2 for t from 0 to 1: NVlabs/noise2noise.

    Attributes:
      share: of the run, at its end, over which the rate falls to 0.
    """

    share: Annotated[float, Bounds(0, 1)] = 0.7

    def numbers(self, num_steps: int) -> Numbers:
        """The first step of the fall, and 1 / its length; 0 if there is none."""
        length = max(1.0, self.share * num_steps)
        return {
            'start': np.float32(num_steps - length),
            'per_step': np.float32(1) / np.float32(length) if self.share > 0 else np.float32(0),
        }

    def factor(self, step: jax.Array, numbers: Numbers) -> jax.Array:
        """See `Shape`."""
        t = jnp.clip((step - numbers['start']) * numbers['per_step'], 0.0, 1.0)
        return (0.5 + 0.5 * jnp.cos(jnp.pi * t)) ** 2


@dataclasses.dataclass(frozen=True)
class Constant:
    """The same rate throughout, as schedule-free optimizers want it."""

    def numbers(self, num_steps: int) -> Numbers:
        """See `Shape`."""
        del num_steps
        return {}

    def factor(self, step: jax.Array, numbers: Numbers) -> jax.Array:
        """See `Shape`."""
        del step, numbers
        return jnp.float32(1)


@dataclasses.dataclass(frozen=True)
class Cosine:
    """Half a cosine from 1 to `end` over the whole run (Loshchilov and Hutter 2017).

    Attributes:
      end: share of the largest rate at the end.
    """

    end: Annotated[float, Bounds(0, 1)] = 0.0

    def numbers(self, num_steps: int) -> Numbers:
        """1 / length of the run."""
        return {'per_step': np.float32(1) / np.float32(num_steps)}

    def factor(self, step: jax.Array, numbers: Numbers) -> jax.Array:
        """See `Shape`."""
        t = jnp.clip(step * numbers['per_step'], 0.0, 1.0)
        return self.end + (1 - self.end) * (0.5 + 0.5 * jnp.cos(jnp.pi * t))


@dataclasses.dataclass(frozen=True)
class OneCycle:
    """Half a cosine up to the largest rate, then half a cosine down (Smith and Topin 2018).

    Attributes:
      peak: share of the run after which the rate is largest.
      start, end: shares of the largest rate at the start and at the end.
    """

    peak: Annotated[float, Bounds(0, 1, open_low=True, open_high=True)] = 0.3
    start: Annotated[float, Bounds(0, 1)] = 0.04
    end: Annotated[float, Bounds(0, 1)] = 0.0

    def numbers(self, num_steps: int) -> Numbers:
        """1 / length of the run."""
        return {'per_step': np.float32(1) / np.float32(num_steps)}

    def factor(self, step: jax.Array, numbers: Numbers) -> jax.Array:
        """See `Shape`."""
        t = jnp.clip(step * numbers['per_step'], 0.0, 1.0)
        up = 0.5 - 0.5 * jnp.cos(jnp.pi * jnp.minimum(t / self.peak, 1.0))
        down = 0.5 + 0.5 * jnp.cos(jnp.pi * (t - self.peak) / (1 - self.peak))
        rising, falling = self.start + (1 - self.start) * up, self.end + (1 - self.end) * down
        return jnp.where(t < self.peak, rising, falling)


@dataclasses.dataclass(frozen=True)
class Exponential:
    """From `start` to `end` by the same factor at each step.

    Rising, it is a learning-rate range test, see `n2n_jax.train.rate_finder`.

    Attributes:
      end, start: shares of the largest rate after the last step and at the first.
    """

    end: Annotated[float, Bounds(0, 1, open_low=True)] = 0.01
    start: Annotated[float, Bounds(0, 1, open_low=True)] = 1.0

    def numbers(self, num_steps: int) -> Numbers:
        """1 / length of the run."""
        return {'per_step': np.float32(1) / np.float32(num_steps)}

    def factor(self, step: jax.Array, numbers: Numbers) -> jax.Array:
        """See `Shape`."""
        t = jnp.clip(step * numbers['per_step'], 0.0, 1.0)
        return jnp.exp((1 - t) * math.log(self.start) + t * math.log(self.end))


REGISTRY = choices.registry(
    'schedule',
    {
        'ramp_down': RampDown,
        'constant': Constant,
        'cosine': Cosine,
        'exponential': Exponential,
        'one_cycle': OneCycle,
    },
)


@flax.struct.dataclass
class Schedule:
    """Length and learning rate of a run, float32 scalars that the step takes as inputs.

    One compiled step serves every length: the timed step is the one that trains, and a run can be
    shortened or extended. Numbers of steps are stored as reciprocals to multiply by, as XLA divides
    by constants.

    Attributes:
      learning_rate: the largest learning rate.
      per_step: 1 / number of steps of the run.
      per_warmup_step: 1 / number of warm-up steps.
      numbers: those of the shape.
    """

    learning_rate: jax.Array | np.float32
    per_step: jax.Array | np.float32
    per_warmup_step: jax.Array | np.float32
    numbers: Numbers


def shape_of(config: Config) -> Shape:
    """Returns the shape that a config names.

    Raises:
      UserError: the name or an option is unknown or invalid.
    """
    shape: Shape = choices.make('optim.schedule', config.optim.schedule, REGISTRY)
    return shape


def make_schedule(config: Config) -> Schedule:
    """Returns the schedule of a config, on the host."""
    one = np.float32(1)
    return Schedule(
        learning_rate=np.float32(config.optim.learning_rate),
        per_step=one / np.float32(config.train.steps),
        per_warmup_step=one / np.float32(max(1, config.optim.warmup_steps)),
        numbers=shape_of(config).numbers(config.train.steps),
    )


def learning_rate(shape: Shape, schedule: Schedule) -> optax.Schedule:
    """Returns the learning rate as a function of the step: warm-up times shape."""

    def at_step(step: jax.Array) -> jax.Array:
        warm = jnp.minimum(1.0, (step + 1) * schedule.per_warmup_step)
        return schedule.learning_rate * warm * shape.factor(step, schedule.numbers)

    return at_step
