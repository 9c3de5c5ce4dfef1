"""Lion (Chen et al. 2023): the sign of a running mean of the gradients."""

import dataclasses
from typing import Annotated

import optax

from n2n_jax.runtime.config_field import Bounds, at_least
from n2n_jax.train.optimizers.weight_decay import only_of_weights

_DECAY = Bounds(0, 1, open_high=True)


@dataclasses.dataclass(frozen=True)
class Lion:
    """Lion; its learning rate is a third to a tenth of Adam's, as every update has full size.

    Attributes:
      b1: share of the running mean in an update, the rest is the new gradient.
      b2: decay per step of the running mean.
      weight_decay: of kernels, times the learning rate.
    """

    b1: Annotated[float, _DECAY] = 0.9
    b2: Annotated[float, _DECAY] = 0.99
    weight_decay: Annotated[float, at_least(0)] = 0.0

    def transformation(self, learning_rate: optax.Schedule) -> optax.GradientTransformation:
        """See `n2n_jax.train.optimizers.Optimizer`."""
        return optax.lion(
            learning_rate,
            b1=self.b1,
            b2=self.b2,
            weight_decay=self.weight_decay,
            mask=only_of_weights,
        )
