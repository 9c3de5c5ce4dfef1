"""Stochastic gradient descent with momentum."""

import dataclasses
from typing import Annotated

import optax

from n2n_jax.runtime.config_field import Bounds, at_least
from n2n_jax.train.optimizers.weight_decay import only_of_weights


@dataclasses.dataclass(frozen=True)
class SGD:
    """v = momentum * v + gradient, weights -= learning rate * v.

    Attributes:
      momentum: decay per step of the sum of gradients; 0 for plain gradient descent.
      nesterov: use the gradient ahead (Sutskever et al. 2013).
      weight_decay: added to the gradient, times the weight; kernels only.
    """

    momentum: Annotated[float, Bounds(0, 1, open_high=True)] = 0.9
    nesterov: bool = False
    weight_decay: Annotated[float, at_least(0)] = 0.0

    def transformation(self, learning_rate: optax.Schedule) -> optax.GradientTransformation:
        """See `n2n_jax.train.optimizers.Optimizer`."""
        momentum = self.momentum or None  # with 0 optax would keep a useless sum
        sgd = optax.sgd(learning_rate, momentum=momentum, nesterov=self.nesterov)
        if not self.weight_decay:
            return sgd
        return optax.chain(optax.add_decayed_weights(self.weight_decay, only_of_weights), sgd)
