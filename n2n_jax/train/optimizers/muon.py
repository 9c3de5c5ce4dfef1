"""Muon (Jordan et al. 2024): updates of which every direction is equally large."""

import dataclasses
from typing import Annotated, Any

import jax
import optax
from optax.contrib import MuonDimensionNumbers

from n2n_jax.runtime.config_field import Bounds, at_least

# A convolution is a matrix from its window and input channels to its output channels. optax treats
# only arrays of two dimensions as matrices by itself, and would train convolutions with AdamW.
_OF_CONVOLUTION = MuonDimensionNumbers(reduction_axis=(0, 1, 2), output_axis=3)
_OF_MATRIX = MuonDimensionNumbers(reduction_axis=0, output_axis=1)


@dataclasses.dataclass(frozen=True)
class Muon:
    """Muon for kernels of convolutions and matrix products, AdamW for all else.

    Updates are scaled to the root mean square that Adam's have (Liu et al. 2025), so its learning
    rates suit both.

    Attributes:
      beta: decay per step of the running mean of the gradients.
      weight_decay: of kernels, times the learning rate.
    """

    beta: Annotated[float, Bounds(0, 1, open_high=True)] = 0.95
    weight_decay: Annotated[float, at_least(0)] = 0.0

    def transformation(self, learning_rate: optax.Schedule) -> optax.GradientTransformation:
        """See `n2n_jax.train.optimizers.Optimizer`."""
        return optax.contrib.muon(
            learning_rate,
            beta=self.beta,
            weight_decay=self.weight_decay,
            adam_b2=0.99,
            consistent_rms=0.2,
            muon_weight_dimension_numbers=_dimension_numbers,
        )


def _dimension_numbers(params: Any) -> Any:
    """Returns how each array is a matrix; None for those that AdamW trains."""
    of_rank = {4: _OF_CONVOLUTION, 2: _OF_MATRIX}
    return jax.tree.map(lambda x: of_rank.get(x.ndim), params)
