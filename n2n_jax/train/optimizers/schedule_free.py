"""Schedule-free AdamW (Defazio et al. 2024): an average of the weights replaces the ramp-down."""

import dataclasses
from typing import Annotated, Any

import optax

from n2n_jax.runtime.config_field import Bounds, at_least

_DECAY = Bounds(0, 1, open_low=True, open_high=True)


@dataclasses.dataclass(frozen=True)
class ScheduleFree:
    """AdamW without momentum, whose gradients are taken between its weights and their average.

    The average is what is evaluated and used. Suits `optim.schedule=constant`, with a warm-up.

    Attributes:
      b1: where the gradient is taken: 0 at the weights, 1 at their average.
      b2: decay per step of the running mean of the squared gradients.
      weight_decay: of all parameters, times the learning rate.
    """

    b1: Annotated[float, _DECAY] = 0.9
    b2: Annotated[float, _DECAY] = 0.99
    weight_decay: Annotated[float, at_least(0)] = 0.0

    def transformation(self, learning_rate: optax.Schedule) -> optax.GradientTransformation:
        """See `n2n_jax.train.optimizers.Optimizer`."""
        adam = optax.adamw(learning_rate, b1=0.0, b2=self.b2, weight_decay=self.weight_decay)
        return optax.contrib.schedule_free(adam, learning_rate, b1=self.b1)

    def average(self, state: Any, params: Any) -> Any:
        """See `n2n_jax.train.optimizers.Averaging`."""
        return optax.contrib.schedule_free_eval_params(state, params)
