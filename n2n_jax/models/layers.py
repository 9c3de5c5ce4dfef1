"""Layers with gradients free of scatter operations: reproducible and fast on every backend.

B batch, H height, W width, C channels.
"""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from flax import linen as nn

T = TypeVar('T')  # an array, or a tuple of arrays


@jax.custom_vjp
def leaky_relu(x: jax.Array) -> jax.Array:
    """max(x, 0.1 x), elementwise (Lehtinen et al. 2018, table 2)."""
    return jnp.maximum(x, 0.1 * x)


def _leaky_relu_forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    y = leaky_relu(x)
    return y, y


def _leaky_relu_backward(y: jax.Array, grad: jax.Array) -> tuple[jax.Array]:
    # The output has the sign of the input, and is stored anyway for the next convolution. The VJP
    # that JAX derives for `maximum` handles ties with two divisions per value.
    return (jnp.where(y > 0, grad, 0.1 * grad),)


leaky_relu.defvjp(_leaky_relu_forward, _leaky_relu_backward)


def max_pool_2x2(x_BHWC: jax.Array) -> jax.Array:
    """Takes the maximum over 2x2 blocks; (B, H, W, C) -> (B, H/2, W/2, C), H and W even.

    Uses a reshape, because the gradient of `nn.max_pool` is select-and-scatter, which is not
    deterministic on XLA:GPU. Equal maxima share the gradient.
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
    # The VJP that JAX derives, except that ties are counted with three additions: summing over the
    # two axes of size 2 takes XLA:CPU longer than the preceding convolution.
    x_BHVWUC, y_BHWC = saved
    largest_BHVWUC = (x_BHVWUC == y_BHWC[:, :, None, :, None]).astype(grad_BHWC.dtype)
    num_BHWC = sum(largest_BHVWUC[:, :, v, :, u] for v in (0, 1) for u in (0, 1))
    return (largest_BHVWUC * (grad_BHWC / num_BHWC)[:, :, None, :, None],)


_max_of_blocks.defvjp(_max_of_blocks_forward, _max_of_blocks_backward)


def max_pool_3x3_stride_2(x_BHWC: jax.Array) -> jax.Array:
    """Takes the maximum over 3x3 windows, stride 2, padding 1; (B, H, W, C) -> (B, H/2, W/2, C).

    Uses nine strided slices instead of `nn.max_pool`, for the reason given in `max_pool_2x2`.
    """
    _, h, w, _ = x_BHWC.shape
    padded_BHWC = jnp.pad(x_BHWC, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-jnp.inf)
    windows = [strided(padded_BHWC, (i, j), (h, w), 2) for i in range(3) for j in range(3)]
    pooled_BHWC = windows[0]
    for window_BHWC in windows[1:]:
        pooled_BHWC = jnp.maximum(pooled_BHWC, window_BHWC)
    return pooled_BHWC


def strided(
    x_BHWC: jax.Array, start: tuple[int, int], extent: tuple[int, int], stride: int
) -> jax.Array:
    """Returns every stride-th row and column of a part of a map.

    The same as `x_BHWC[:, i : i + height : stride, j : j + width : stride]`, which becomes a gather
    in exported programs, where sizes are not known yet.

    Args:
      x_BHWC: the map.
      start: first row and column.
      extent: rows and columns of the part, multiples of the stride.
      stride: distance of the rows and columns that are kept.
    """
    b, _, _, c = x_BHWC.shape
    (i, j), (h, w) = start, extent
    return jax.lax.slice(x_BHWC, (0, i, j, 0), (b, i + h, j + w, c), (1, stride, stride, 1))


def upsample_2x(x_BHWC: jax.Array) -> jax.Array:
    """Upsamples by nearest neighbor; (B, H, W, C) -> (B, 2H, 2W, C)."""
    return jnp.repeat(jnp.repeat(x_BHWC, 2, axis=1), 2, axis=2)


def run_stage(module: nn.Module, function: Callable[..., T], *inputs: jax.Array, remat: bool) -> T:
    """Returns `function(*inputs)`, a stage of the network `module`.

    With `remat`, its activations are not stored but recomputed for the gradients. This saves memory
    on GPU and TPU, but not on CPU, where XLA schedules the recomputation early.
    """
    if not remat:
        return function(*inputs)
    return nn.remat(lambda _, *arrays: function(*arrays))(module, *inputs)
