"""Layers that halve or double a map, with gradients free of scatter operations.

B batch, H height, W width, I input channels, O output channels; V, U row and column within a 2x2
block.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from n2n_jax.models.convolutions import platform
from n2n_jax.models.initializers import relu_gain, unit_gain


def _of_pixels(gain: nn.initializers.Initializer) -> nn.initializers.Initializer:
    """Returns what draws the kernel of a transposed convolution without overlap, (v, u, I, O).

    Each of its outputs depends on one pixel, so it is drawn as one matrix from I to all of them.
    """

    def draw(
        key: jax.Array, shape: tuple[int, ...], dtype: jax.typing.DTypeLike = jnp.float32
    ) -> jax.Array:
        v, u, num_in, num_out = shape
        matrix = gain(key, (num_in, v * u * num_out), dtype)
        return matrix.reshape(num_in, v, u, num_out).transpose(1, 2, 0, 3)

    return draw


def _kernel_of_quarters(
    key: jax.Array, shape: tuple[int, ...], dtype: jax.typing.DTypeLike = jnp.float32
) -> jax.Array:
    """Draws the kernel of a 3x3 transposed convolution with stride 2, (3, 3, I, O).

    An output sees a quarter of its nine taps in the mean.
    """
    return 2 * relu_gain(key, shape, dtype)


class DownConv(nn.Module):
    """A 2x2 convolution with stride 2 and a bias; (B, H, W, I) -> (B, H/2, W/2, O).

    Its windows do not overlap, so it is one matrix product over blocks of 2x2 pixels.

    Attributes:
      num_features: output channels.
      kernel_init: initializer of the weights.
      use_bias: whether to add a bias.
      dtype: type of the computation; parameters stay float32.
      plain: use the convolution of XLA.
    """

    num_features: int
    kernel_init: nn.initializers.Initializer = unit_gain
    use_bias: bool = True
    dtype: jax.typing.DTypeLike = jnp.float32
    plain: bool = False

    @nn.compact
    def __call__(self, x_BHWI: jax.Array) -> jax.Array:
        """(B, H, W, I) -> (B, H/2, W/2, O), H and W even; no activation."""
        b, h, w, num_in = x_BHWI.shape
        shape = (2, 2, num_in, self.num_features)
        kernel_VUIO = self.param('kernel', self.kernel_init, shape).astype(self.dtype)
        x_BHWI = x_BHWI.astype(self.dtype)
        if self.plain:
            y_BHWO = jax.lax.conv_general_dilated(
                x_BHWI, kernel_VUIO, (2, 2), 'VALID', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
            )
        else:
            x_BHVWUI = x_BHWI.reshape(b, h // 2, 2, w // 2, 2, num_in)
            blocks = x_BHVWUI.transpose(0, 1, 3, 2, 4, 5).reshape(b, h // 2, w // 2, 4 * num_in)
            y_BHWO = blocks @ kernel_VUIO.reshape(4 * num_in, self.num_features)
        if not self.use_bias:
            return y_BHWO
        bias_O = self.param('bias', nn.initializers.zeros, (self.num_features,)).astype(self.dtype)
        return y_BHWO + bias_O.reshape(1, 1, 1, -1)


class TransposedConv(nn.Module):
    """A 2x2 transposed convolution with stride 2; (B, H, W, I) -> (B, 2H, 2W, O).

    Each pixel becomes a block of 2x2 pixels, so it is one matrix product and a rearrangement. Entry
    (v, u) of the kernel belongs to row v and column u of the block, as in PyTorch;
    `jax.lax.conv_transpose` turns it by 180 degrees. By default, the first weights allow for a ReLU
    that follows.

    Attributes:
      num_features: output channels.
      kernel_init: initializer of the weights, as of a matrix from one pixel to its block.
      use_bias: whether to add a bias.
      dtype: type of the computation; parameters stay float32.
      plain: use the transposed convolution of XLA.
    """

    num_features: int
    kernel_init: nn.initializers.Initializer = relu_gain
    use_bias: bool = True
    dtype: jax.typing.DTypeLike = jnp.float32
    plain: bool = False

    @nn.compact
    def __call__(self, x_BHWI: jax.Array) -> jax.Array:
        """(B, H, W, I) -> (B, 2H, 2W, O); no activation."""
        b, h, w, num_in = x_BHWI.shape
        num_out = self.num_features
        shape = (2, 2, num_in, num_out)
        kernel_VUIO = self.param('kernel', _of_pixels(self.kernel_init), shape).astype(self.dtype)
        x_BHWI = x_BHWI.astype(self.dtype)
        if self.plain:
            y_BHWO = jax.lax.conv_transpose(
                x_BHWI,
                kernel_VUIO[::-1, ::-1],
                (2, 2),
                'VALID',
                dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
            )
        else:
            matrix = kernel_VUIO.transpose(2, 0, 1, 3).reshape(num_in, 4 * num_out)
            y_BHWVUO = (x_BHWI @ matrix).reshape(b, h, w, 2, 2, num_out)
            y_BHWO = y_BHWVUO.transpose(0, 1, 3, 2, 4, 5).reshape(b, 2 * h, 2 * w, num_out)
        if not self.use_bias:
            return y_BHWO
        bias_O = self.param('bias', nn.initializers.zeros, (num_out,)).astype(self.dtype)
        return y_BHWO + bias_O.reshape(1, 1, 1, -1)


class TransposedConv3x3(nn.Module):
    """A 3x3 transposed convolution with stride 2; (B, H, W, I) -> (B, 2H, 2W, O), no bias.

    With padding 1 and output padding 1 in PyTorch's words. The four pixels of a block depend on 1,
    2, 2 and 4 pixels of the input: one matrix product over those 4, in which 7 of 16 parts are 0,
    is faster on a CPU than the dilated convolution.

    Attributes:
      num_features: output channels.
      dtype: type of the computation; parameters stay float32.
      plain: use the dilated convolution of XLA.
    """

    num_features: int
    dtype: jax.typing.DTypeLike = jnp.float32
    plain: bool = False

    @nn.compact
    def __call__(self, x_BHWI: jax.Array) -> jax.Array:
        """(B, H, W, I) -> (B, 2H, 2W, O); no activation."""
        b, h, w, num_in = x_BHWI.shape
        num_out = self.num_features
        shape = (3, 3, num_in, num_out)
        kernel_33IO = self.param('kernel', _kernel_of_quarters, shape).astype(self.dtype)
        x_BHWI = x_BHWI.astype(self.dtype)
        if self.plain or platform() != 'cpu':
            return jax.lax.conv_general_dilated(
                x_BHWI,
                kernel_33IO,
                (1, 1),
                ((1, 2), (1, 2)),
                lhs_dilation=(2, 2),
                dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
            )
        padded_BHWI = jnp.pad(x_BHWI, ((0, 0), (0, 1), (0, 1), (0, 0)))
        shifted_BHWN = jnp.concatenate(
            [padded_BHWI[:, i : i + h, j : j + w] for i in (0, 1) for j in (0, 1)], axis=-1
        )
        zero_IO = jnp.zeros((num_in, num_out), self.dtype)
        # Row v of a block sees row i of the input with this tap, or not at all.
        taps = {(0, 0): 1, (1, 0): 0, (1, 1): 2}
        rows = [
            [
                kernel_33IO[taps[v, i], taps[u, j]]
                if (v, i) in taps and (u, j) in taps
                else zero_IO
                for v in (0, 1)
                for u in (0, 1)
            ]
            for i in (0, 1)
            for j in (0, 1)
        ]
        matrix = jnp.concatenate([jnp.concatenate(row, axis=1) for row in rows], axis=0)
        y_BHWVUO = (shifted_BHWN @ matrix).reshape(b, h, w, 2, 2, num_out)
        return y_BHWVUO.transpose(0, 1, 3, 2, 4, 5).reshape(b, 2 * h, 2 * w, num_out)


def upsample_bilinear_2x(x_BHWC: jax.Array) -> jax.Array:
    """Upsamples by linear interpolation; (B, H, W, C) -> (B, 2H, 2W, C).

    Pixels are areas (PyTorch's align_corners=False, `jax.image.resize`), so the weights are 3/4 and
    1/4 everywhere: with aligned corners they would depend on the size of the image, and tiles would
    not make up the whole.
    """
    for axis in (1, 2):
        x_BHWC = _doubled(x_BHWC, axis)
    return x_BHWC


def _doubled(x_BHWC: jax.Array, axis: int) -> jax.Array:
    length = x_BHWC.shape[axis]
    first = jax.lax.slice_in_dim(x_BHWC, 0, 1, axis=axis)
    last = jax.lax.slice_in_dim(x_BHWC, length - 1, length, axis=axis)
    rest = jax.lax.slice_in_dim(x_BHWC, 0, length - 1, axis=axis)
    before = jnp.concatenate([first, rest], axis=axis)
    after = jnp.concatenate([jax.lax.slice_in_dim(x_BHWC, 1, length, axis=axis), last], axis=axis)
    even, odd = 0.75 * x_BHWC + 0.25 * before, 0.75 * x_BHWC + 0.25 * after
    shape = (*x_BHWC.shape[:axis], 2 * length, *x_BHWC.shape[axis + 1 :])
    return jnp.stack([even, odd], axis=axis + 1).reshape(shape)
