"""A 3x3 convolution of every channel by itself, in a form that XLA:CPU executes fast.

B batch, H height, W width, C channels.

XLA:CPU runs a convolution of as many groups as channels about 20 times slower than the sum of nine
shifted and scaled copies of the map, which it fuses into one loop. Milliseconds of processor time
on a busy machine, for 16x64x64x32 and 4x128x128x64:

                                      convolution      sum of nine
  forward                             117     200        5     10
  gradient by the input                86     259        5     10
  gradient by input and weights       228    1288       28     80

On GPU and TPU the convolution stays as it is.
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from n2n_jax.models import convolutions
from n2n_jax.models.initializers import unit_gain

_MOST_TERMS = 8  # added in one loop of the weight gradient; XLA does not fuse many more


class DepthwiseConv(nn.Module):
    """A 3x3 convolution of each channel, with zero padding and a bias.

    The parameters are those of `nn.Conv` with as many groups as channels.

    Attributes:
      dtype: type of the computation; parameters stay float32.
      plain: use the plain convolution on every platform.
    """

    dtype: jax.typing.DTypeLike = jnp.float32
    plain: bool = False

    @nn.compact
    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        """(B, H, W, C) -> (B, H, W, C)."""
        num_features = x_BHWC.shape[-1]
        kernel_331C = self.param('kernel', unit_gain, (3, 3, 1, num_features))
        bias_C = self.param('bias', nn.initializers.zeros, (num_features,)).astype(self.dtype)
        on_cpu = not self.plain and convolutions.platform() == 'cpu'
        function = _sum_of_nine if on_cpu else _convolve
        y_BHWC = function(x_BHWC.astype(self.dtype), kernel_331C.astype(self.dtype))
        return y_BHWC + bias_C.reshape(1, 1, 1, -1)


def _convolve(x_BHWC: jax.Array, kernel_331C: jax.Array) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x_BHWC,
        kernel_331C,
        window_strides=(1, 1),
        padding=((1, 1), (1, 1)),
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
        feature_group_count=x_BHWC.shape[-1],
    )


@jax.custom_vjp
def _sum_of_nine(x_BHWC: jax.Array, kernel_331C: jax.Array) -> jax.Array:
    _, h, w, _ = x_BHWC.shape
    padded_BHWC = _padded(x_BHWC)
    y_BHWC = jnp.zeros_like(x_BHWC)
    for i in range(3):
        for j in range(3):
            kernel_111C = kernel_331C[i : i + 1, j : j + 1]
            y_BHWC += padded_BHWC[:, i : i + h, j : j + w] * kernel_111C
    return y_BHWC


def _padded(x_BHWC: jax.Array) -> jax.Array:
    return jnp.pad(x_BHWC, ((0, 0), (1, 1), (1, 1), (0, 0)))


def _forward(
    x_BHWC: jax.Array, kernel_331C: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _sum_of_nine(x_BHWC, kernel_331C), (x_BHWC, kernel_331C)


def _backward(
    saved: tuple[jax.Array, jax.Array], grad_BHWC: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x_BHWC, kernel_331C = saved
    input_grad_BHWC = _sum_of_nine(grad_BHWC, kernel_331C[::-1, ::-1])
    return input_grad_BHWC, _weight_gradient(x_BHWC, grad_BHWC).astype(kernel_331C.dtype)


_sum_of_nine.defvjp(_forward, _backward)


def _weight_gradient(x_BHWC: jax.Array, grad_BHWC: jax.Array) -> jax.Array:
    """Returns the gradient by the weights, (3, 3, 1, C), in float32 or better.

    XLA:CPU sums over pixels slowly, but adds maps fast. So blocks of rows are added to each other
    first, in the loop that multiplies, then the rows and images that are left, and few places are
    left to be summed.
    """
    dtype = jnp.promote_types(x_BHWC.dtype, jnp.float32)
    _, h, w, num_features = x_BHWC.shape
    padded_BHWC = _padded(x_BHWC)
    rows = h // convolutions.largest_divisor(h, _MOST_TERMS)
    maps = [
        sum(
            padded_BHWC[:, top + i : top + i + rows, j : j + w].astype(dtype)
            * grad_BHWC[:, top : top + rows].astype(dtype)
            for top in range(0, h, rows)
        )
        for i in range(3)
        for j in range(3)
    ]
    # Slicing a batch sharded over devices would gather it.
    for axis in (1, 0) if convolutions.num_devices() == 1 else (1,):
        maps = jax.lax.optimization_barrier(maps)  # keeps the steps apart
        maps = [_added_up(y, axis) for y in maps]
    maps = jax.lax.optimization_barrier(maps)
    sums = [jnp.sum(y, axis=(0, 1, 2)) for y in maps]
    return jnp.stack(sums).reshape(3, 3, 1, num_features)


def _added_up(y: jax.Array, axis: int) -> jax.Array:
    """Adds blocks of an axis, which becomes shorter by their number."""
    length = y.shape[axis]
    size = length // convolutions.largest_divisor(length, 2 * _MOST_TERMS)
    starts = range(0, length, size)
    blocks = [jax.lax.slice_in_dim(y, start, start + size, axis=axis) for start in starts]
    return functools.reduce(jnp.add, blocks)
