"""Adam (Kingma and Ba 2015), and AdamW (Loshchilov and Hutter 2019)."""

import dataclasses
from typing import Annotated

import optax

from n2n_jax.runtime.config_field import Bounds, above, at_least
from n2n_jax.train.optimizers.weight_decay import only_of_weights

_DECAY = Bounds(0, 1, open_high=True)


@dataclasses.dataclass(frozen=True)
class Adam:
    """Adam, with the constants of Lehtinen et al. 2018, appendix A.2.

    Attributes:
      b1: decay per step of the running mean of the gradients.
      b2: decay per step of the running mean of their squares.
      eps: added to the denominator of an update.
    """

    b1: Annotated[float, _DECAY] = 0.9
    b2: Annotated[float, _DECAY] = 0.99
    eps: Annotated[float, above(0)] = 1e-8

    def transformation(self, learning_rate: optax.Schedule) -> optax.GradientTransformation:
        """See `n2n_jax.train.optimizers.Optimizer`."""
        return optax.adam(learning_rate, b1=self.b1, b2=self.b2, eps=self.eps)


@dataclasses.dataclass(frozen=True)
class AdamW(Adam):
    """Adam with weights that decay, by learning rate * weight_decay per step.

    Attributes:
      weight_decay: of kernels; biases and norms do not decay.
    """

    weight_decay: Annotated[float, at_least(0)] = 1e-4

    def transformation(self, learning_rate: optax.Schedule) -> optax.GradientTransformation:
        """See `n2n_jax.train.optimizers.Optimizer`."""
        return optax.adamw(
            learning_rate,
            b1=self.b1,
            b2=self.b2,
            eps=self.eps,
            weight_decay=self.weight_decay,
            mask=only_of_weights,
        )
