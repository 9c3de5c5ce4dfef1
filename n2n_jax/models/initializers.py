"""Laws that initial kernels are drawn from, whatever the network (`model.init`).

A network gives each kernel a gain. The law, which `models.init` sets, turns it into numbers.
"""

import contextlib
import contextvars
import math
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
from flax import linen as nn

Initializer = nn.initializers.Initializer


def _he(scale: float) -> Initializer:
    """He et al. 2015; the Noise2Noise code draws from an untruncated normal too."""
    return nn.initializers.variance_scaling(scale, 'fan_in', 'normal')


def _xavier(scale: float) -> Initializer:
    """Glorot and Bengio 2010: the mean of inputs and outputs instead of the inputs."""
    return nn.initializers.variance_scaling(scale, 'fan_avg', 'normal')


def _orthogonal(scale: float) -> Initializer:
    """Saxe et al. 2014: a convolution as a matrix from its window to its outputs."""
    return nn.initializers.orthogonal(math.sqrt(scale))


LAWS: dict[str, Callable[[float], Initializer]] = {
    'he': _he,
    'xavier': _xavier,
    'orthogonal': _orthogonal,
}

_law = contextvars.ContextVar('law', default='he')


@contextlib.contextmanager
def law(name: str) -> Iterator[None]:
    """Draws the kernels of networks that are initialized inside from a law, a key of `LAWS`."""
    token = _law.set(name)
    try:
        yield
    finally:
        _law.reset(token)


def with_gain(scale: float) -> Initializer:
    """Returns an initializer of kernels, whose last axis are the outputs.

    Args:
      scale: square of the gain: the variance of an output, if the inputs have variance 1.
    """

    def draw(
        key: jax.Array, shape: tuple[int, ...], dtype: jax.typing.DTypeLike = jnp.float32
    ) -> jax.Array:
        return LAWS[_law.get()](scale)(key, shape, dtype)

    return draw


# For a ReLU or leaky ReLU, which halves the variance.
relu_gain = with_gain(2.0)
# For the last layer: no activation follows it.
unit_gain = with_gain(1.0)
# For the end of a residual branch: 16 of them one after another triple the variance, not more.
branch_gain = with_gain(1 / 16)
