"""Layers whose gradients need no scatter, so that runs are repeatable and fast on every backend.

B batch, H height, W width, C channels.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

# He et al. 2015, std = sqrt(2 / fan_in): the paper's code draws from an untruncated normal.
he_normal = nn.initializers.variance_scaling(2.0, 'fan_in', 'normal')
# The last layer has no activation behind it, hence gain 1 in place of sqrt(2).
unit_gain_normal = nn.initializers.variance_scaling(1.0, 'fan_in', 'normal')


@jax.custom_vjp
def leaky_relu(x: jax.Array) -> jax.Array:
    """max(x, 0.1 x), elementwise (Lehtinen et al. 2018, table 2)."""
    return jnp.maximum(x, 0.1 * x)


def _leaky_relu_forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    y = leaky_relu(x)
    return y, y


def _leaky_relu_backward(y: jax.Array, grad: jax.Array) -> tuple[jax.Array]:
    # The output has the sign of the input and is kept anyway, for the convolution behind it. What
    # JAX derives from `maximum` counts ties by two divisions per value.
    return (jnp.where(y > 0, grad, 0.1 * grad),)


leaky_relu.defvjp(_leaky_relu_forward, _leaky_relu_backward)


def max_pool_2x2(x_BHWC: jax.Array) -> jax.Array:
    """Maximum over 2x2 blocks; (B, H, W, C) -> (B, H/2, W/2, C), H and W even.

    As a reshape, not `nn.max_pool`: that one's gradient is select-and-scatter, which XLA:GPU has
    only in a non-deterministic form. Equal largest values share the gradient.
    """
    b, h, w, c = x_BHWC.shape
    return _max_of_blocks(x_BHWC.reshape(b, h // 2, 2, w // 2, 2, c))


@jax.custom_vjp
def _max_of_blocks(x_BHVWUC: jax.Array) -> jax.Array:
    return x_BHVWUC.max(axis=(2, 4))


def _max_of_blocks_forward(x_BHVWUC: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    y_BHWC = x_BHVWUC.max(axis=(2, 4))
    return y_BHWC, (x_BHVWUC, y_BHWC)


def _max_of_blocks_backward(
    saved: tuple[jax.Array, jax.Array], grad_BHWC: jax.Array
) -> tuple[jax.Array]:
    # What JAX derives, with the equal values counted by three additions: XLA:CPU takes longer for
    # the sum over the axes of two than for the convolution before it.
    x_BHVWUC, y_BHWC = saved
    largest_BHVWUC = (x_BHVWUC == y_BHWC[:, :, None, :, None]).astype(grad_BHWC.dtype)
    num_BHWC = sum(largest_BHVWUC[:, :, v, :, u] for v in (0, 1) for u in (0, 1))
    return (largest_BHVWUC * (grad_BHWC / num_BHWC)[:, :, None, :, None],)


_max_of_blocks.defvjp(_max_of_blocks_forward, _max_of_blocks_backward)


def max_pool_3x3_stride_2(x_BHWC: jax.Array) -> jax.Array:
    """Maximum over 3x3 windows at stride 2, padded by one; (B, H, W, C) -> (B, H/2, W/2, C).

    Nine strided slices in place of `nn.max_pool`, for the reason given in `max_pool_2x2`.
    """
    _, h, w, _ = x_BHWC.shape
    padded_BHWC = jnp.pad(x_BHWC, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-jnp.inf)
    windows = [padded_BHWC[:, i : i + h : 2, j : j + w : 2, :] for i in range(3) for j in range(3)]
    pooled_BHWC = windows[0]
    for window_BHWC in windows[1:]:
        pooled_BHWC = jnp.maximum(pooled_BHWC, window_BHWC)
    return pooled_BHWC


def upsample_2x(x_BHWC: jax.Array) -> jax.Array:
    """Nearest-neighbor upsampling; (B, H, W, C) -> (B, 2H, 2W, C)."""
    return jnp.repeat(jnp.repeat(x_BHWC, 2, axis=1), 2, axis=2)


def run_stage(
    module: nn.Module, function: Callable[..., jax.Array], *inputs: jax.Array, remat: bool
) -> jax.Array:
    """`function(*inputs)`, a part of the network `module`.

    With `remat`, nothing inside it is kept for the gradients, which compute it a second time. A GPU
    and a TPU do so when they get there; XLA:CPU does it early and saves no memory.
    """
    if not remat:
        return function(*inputs)
    return nn.remat(lambda _, *arrays: function(*arrays))(module, *inputs)
