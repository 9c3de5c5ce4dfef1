"""Optimizers by name, each with options of its own.

To add one, write a dataclass like `n2n_jax.train.optimizers.sgd.SGD` and add it to `REGISTRY`: its
fields are the options of `optim.name`, as in `sgd:momentum=0.9,nesterov`.
"""

from typing import Any, Protocol, runtime_checkable

import optax

from n2n_jax.runtime import choices
from n2n_jax.runtime.config import Config
from n2n_jax.train import schedules
from n2n_jax.train.optimizers.adam import Adam, AdamW
from n2n_jax.train.optimizers.lion import Lion
from n2n_jax.train.optimizers.muon import Muon
from n2n_jax.train.optimizers.schedule_free import ScheduleFree
from n2n_jax.train.optimizers.sgd import SGD
from n2n_jax.train.schedules import Schedule


class Optimizer(Protocol):
    """Computes updates of the weights from gradients."""

    def transformation(self, learning_rate: optax.Schedule) -> optax.GradientTransformation:
        """Returns the transformation; the structure of its state must not depend on the rate."""


@runtime_checkable
class Averaging(Protocol):
    """An optimizer that keeps an average of the weights, which is evaluated and used."""

    def average(self, state: Any, params: Any) -> Any:
        """Returns the average, from the state of the transformation and the weights."""


REGISTRY = choices.registry(
    'optimizer',
    {
        'adam': Adam,
        'adamw': AdamW,
        'lion': Lion,
        'muon': Muon,
        'schedule_free': ScheduleFree,
        'sgd': SGD,
    },
)


def make(config: Config) -> Optimizer:
    """Returns the optimizer that a config names.

    Raises:
      UserError: the name or an option is unknown or invalid.
    """
    made: Optimizer = choices.make('optim.name', config.optim.name, REGISTRY)
    return made


def averages(config: Config) -> bool:
    """Checks whether the optimizer keeps an average of the weights by itself."""
    return isinstance(make(config), Averaging)


def transformation(config: Config, schedule: Schedule) -> optax.GradientTransformation:
    """Returns the optimizer of a config with the rate of a schedule, after any clipping.

    The structure of its state is the same for every schedule.
    """
    rate = schedules.learning_rate(schedules.shape_of(config), schedule)
    made = make(config).transformation(rate)
    if config.optim.clip_norm > 0:
        return optax.chain(optax.clip_by_global_norm(config.optim.clip_norm), made)
    return made


def average(config: Config, state: Any, params: Any) -> Any:
    """Returns the average that the optimizer keeps; None if it keeps none.

    Args:
      config: config of the run.
      state: state of the `transformation`.
      params: the weights.
    """
    made = make(config)
    if not isinstance(made, Averaging):
        return None
    return made.average(state[-1] if config.optim.clip_norm > 0 else state, params)
