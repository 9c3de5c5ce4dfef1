"""NAFNet: a U-shaped network without activation functions.

Chen et al. 2022, "Simple Baselines for Image Restoration" (arXiv 2204.04676).

B batch, H height, W width, C channels.

Sizes, for RGB, of the registry entries:

  nafnet_xs   0.32 M   width 16, blocks 1-1-2     / 1 / 1-1-1     stride 8
  nafnet_s    0.96 M   width 24, blocks 2-2-4     / 1 / 2-2-2     stride 8
  nafnet_m    2.93 M   width 32, blocks 2-4-8     / 2 / 4-2-2     stride 8
  nafnet     17.11 M   width 32, blocks 1-1-1-28  / 1 / 1-1-1-1   stride 16, the paper's
"""

import functools
from collections.abc import Iterable
from typing import Annotated

import jax
import jax.numpy as jnp
from flax import linen as nn

from n2n_jax.models.convolutions import Conv
from n2n_jax.models.depthwise import DepthwiseConv
from n2n_jax.models.geometry import padded
from n2n_jax.models.initializers import unit_gain
from n2n_jax.models.layers import run_stage
from n2n_jax.runtime.config_field import Bounds
from n2n_jax.runtime.errors import UserError

_MOST_LEVELS = 6  # sides of the input must be multiples of 2**levels


class NAFNet(nn.Module):
    """Encoder, middle and decoder of `NAFBlock`s; skips are added, and the output is linear.

    Each level of the encoder ends with a convolution that halves the sides and doubles the
    channels.

    The channel attention of the paper averages over the whole image. A network then sees other
    averages in a photograph than in the crops that it was trained on (Chu et al. 2022,
    arXiv 2112.04491), and cannot denoise large images in tiles. By default it therefore averages
    over the 64 x 64 pixels around each pixel: the same as the paper's as long as crops are no
    larger.

    Attributes:
      out_channels: channels of the output.
      width: channels at full resolution.
      encoder: blocks of each level of the encoder, from full resolution down.
      middle: blocks at the lowest resolution.
      decoder: blocks of each level of the decoder, up to full resolution.
      pool: side of the window of the channel attention, in pixels; 0: the whole image.
      dtype: type of the computation; parameters, means and the last layer stay float32.
      plain: use plain convolutions, see `Conv` and `DepthwiseConv`.
      remat: recompute activations inside blocks for the gradients, see `run_stage`.
    """

    out_channels: int
    width: Annotated[int, Bounds(1, 512)] = 32
    encoder: Annotated[tuple[int, ...], Bounds(0, 100)] = (1, 1, 1, 28)
    middle: Annotated[int, Bounds(0, 100)] = 1
    decoder: Annotated[tuple[int, ...], Bounds(0, 100)] = (1, 1, 1, 1)
    pool: Annotated[int, Bounds(0)] = 64
    dtype: jax.typing.DTypeLike = jnp.float32
    plain: bool = False
    remat: bool = False

    last_layer = 'ending'

    def __post_init__(self) -> None:
        """Checks the numbers of levels.

        Raises:
          UserError: encoder and decoder have different numbers of levels, or too many.
        """
        super().__post_init__()
        if len(self.encoder) != len(self.decoder) or len(self.encoder) > _MOST_LEVELS:
            counts = [
                f'{name}={"-".join(map(str, blocks))}'
                for name, blocks in (('encoder', self.encoder), ('decoder', self.decoder))
            ]
            raise UserError(
                f'{counts[0]} and {counts[1]} do not match: write as many numbers for one as for '
                f'the other, at most {_MOST_LEVELS}.'
            )

    @property
    def stride(self) -> int:
        """The sides of the input must be multiples of this."""
        return 2 ** len(self.encoder)

    @property
    def halo(self) -> int | None:
        """Pixels around an area, cut at multiples of the stride, that its output depends on.

        None if the channel attention averages over the whole image.
        """
        if not self.pool:
            return None
        reach = 1  # of the last convolution
        levels = range(len(self.encoder))
        for level, blocks in zip(levels, reversed(self.decoder), strict=True):
            reach = padded(reach, 2**level) + blocks * self._reach_of_block(level)
        reach = padded(reach, self.stride) + self.middle * self._reach_of_block(len(levels))
        for level, blocks in reversed([*zip(levels, self.encoder, strict=True)]):
            reach += blocks * self._reach_of_block(level)
        return padded(reach + 1, self.stride)

    def _window(self, level: int) -> int:
        return max(1, self.pool // 2**level) if self.pool else 0

    def _reach_of_block(self, level: int) -> int:
        return (1 + self._window(level) // 2) * 2**level

    @nn.compact
    def __call__(self, x_BHWC: jax.Array, *, train: bool = False) -> jax.Array:
        """Maps (B, H, W, C), centered on 0, to (B, H, W, out_channels) float32."""
        del train  # no layer of this network behaves differently in training

        def blocks(y_BHWC: jax.Array, name: str, number: int, level: int) -> jax.Array:
            for i in range(number):
                function = functools.partial(block, level=level, name=f'{name}_{i}')
                y_BHWC = run_stage(self, function, y_BHWC, remat=self.remat)
            return y_BHWC

        def block(y_BHWC: jax.Array, *, level: int, name: str) -> jax.Array:
            return NAFBlock(self._window(level), dtype=self.dtype, plain=self.plain, name=name)(
                y_BHWC
            )

        intro = Conv(
            self.width, kernel_init=unit_gain, dtype=self.dtype, plain=self.plain,
            name='intro',
        )  # fmt: skip
        y_BHWC = intro(x_BHWC)
        skips = []
        for level, number in enumerate(self.encoder):
            y_BHWC = blocks(y_BHWC, f'encoder{level}', number, level)
            skips.append(y_BHWC)
            y_BHWC = Downsample(dtype=self.dtype, name=f'down{level}')(y_BHWC)
        y_BHWC = blocks(y_BHWC, 'middle', self.middle, len(self.encoder))
        for level, number in zip(reversed(range(len(skips))), self.decoder, strict=True):
            y_BHWC = Upsample(dtype=self.dtype, name=f'up{level}')(y_BHWC) + skips.pop()
            y_BHWC = blocks(y_BHWC, f'decoder{level}', number, level)
        ending = Conv(self.out_channels, kernel_init=unit_gain, plain=self.plain, name='ending')
        return ending(y_BHWC)


NAFNET_XS = functools.partial(NAFNet, width=16, encoder=(1, 1, 2), middle=1, decoder=(1, 1, 1))
NAFNET_S = functools.partial(NAFNet, width=24, encoder=(2, 2, 4), middle=1, decoder=(2, 2, 2))
NAFNET_M = functools.partial(NAFNet, width=32, encoder=(2, 4, 8), middle=2, decoder=(4, 2, 2))


class NAFBlock(nn.Module):
    """Two residual branches: spatial mixing with channel attention, and mixing of channels.

    Wherever other networks have an activation function, one half of the channels is multiplied by
    the other. Both branches are scaled by parameters that start at zero, so the block starts as the
    identity.

    Attributes:
      window: side of the window of the channel attention, in features; 0: the whole map.
      dtype: type of the computation; parameters and means stay float32.
      plain: use plain convolutions, see `DepthwiseConv`.
    """

    window: int = 0
    dtype: jax.typing.DTypeLike = jnp.float32
    plain: bool = False

    @nn.compact
    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        """(B, H, W, C) -> (B, H, W, C)."""
        num_features = x_BHWC.shape[-1]

        def linear(y_BHWC: jax.Array, num_outputs: int, name: str) -> jax.Array:
            # A 1x1 convolution; XLA:CPU differentiates the matrix product faster.
            layer = nn.Dense(num_outputs, kernel_init=unit_gain, dtype=self.dtype, name=name)
            return layer(y_BHWC)

        def normalize(y_BHWC: jax.Array, name: str) -> jax.Array:
            # Statistics are float32 in Flax.
            return nn.LayerNorm(epsilon=1e-6, dtype=self.dtype, name=name)(y_BHWC)

        def scaled(y_BHWC: jax.Array, name: str) -> jax.Array:
            scale_C = self.param(name, nn.initializers.zeros, (num_features,))
            return y_BHWC * scale_C.reshape(1, 1, 1, -1).astype(self.dtype)

        y_BHWC = linear(normalize(x_BHWC, 'norm1'), 2 * num_features, 'conv1')
        y_BHWC = _gate(DepthwiseConv(dtype=self.dtype, plain=self.plain, name='conv2')(y_BHWC))
        mean_BHWC = window_mean(y_BHWC, self.window)
        y_BHWC *= linear(mean_BHWC, num_features, 'attention')
        x_BHWC += scaled(linear(y_BHWC, num_features, 'conv3'), 'beta')
        y_BHWC = _gate(linear(normalize(x_BHWC, 'norm2'), 2 * num_features, 'conv4'))
        return x_BHWC + scaled(linear(y_BHWC, num_features, 'conv5'), 'gamma')


def _gate(x_BHWC: jax.Array) -> jax.Array:
    first_BHWC, second_BHWC = jnp.split(x_BHWC, 2, axis=-1)
    return first_BHWC * second_BHWC


def window_mean(x_BHWC: jax.Array, size: int) -> jax.Array:
    """Averages over the size x size window around each place.

    At the borders, windows are moved inside the map instead of being cut. Along an axis no longer
    than the window, or if `size` is 0, the mean is that of the whole axis, which becomes 1 long.

    Returns:
      (B, H or 1, W or 1, C), float32 or better.
    """
    mean_BHWC = x_BHWC.astype(jnp.promote_types(x_BHWC.dtype, jnp.float32))
    axes: Iterable[int] = (1, 2)
    if all(isinstance(x_BHWC.shape[axis], int) for axis in axes):  # not so in exported programs
        axes = sorted(axes, key=lambda axis: x_BHWC.shape[axis])
    for axis in axes:
        length = x_BHWC.shape[axis]
        if not size or length <= size:
            mean_BHWC = jnp.mean(mean_BHWC, axis=axis, keepdims=True)
            continue
        mean_BHWC = _window_sums(mean_BHWC, size, axis=axis) / size
        margins = [(0, 0)] * 4
        margins[axis] = ((size - 1) // 2, size // 2)
        mean_BHWC = jnp.pad(mean_BHWC, margins, mode='edge')
    return mean_BHWC


def _window_sums(x: jax.Array, size: int, *, axis: int) -> jax.Array:
    """Returns the sums of `size` consecutive elements; element t is that from t on.

    Sums of 1, 2, 4, ... elements are added. Unlike differences of running sums, the result is as
    exact in a large image as in a small one.
    """

    def cut(x: jax.Array, start: int, length: int) -> jax.Array:
        return jax.lax.slice_in_dim(x, start, start + length, axis=axis)

    num_sums = x.shape[axis] - size + 1
    parts: list[jax.Array] = []
    done, width, sums = 0, 1, x  # `sums` are of `width` elements
    while True:
        if size & width:
            parts.append(cut(sums, done, num_sums))
            done += width
        if done == size:
            return functools.reduce(jnp.add, parts)
        length = sums.shape[axis] - width
        sums = cut(sums, 0, length) + cut(sums, width, length)
        width *= 2


class Downsample(nn.Module):
    """A 2x2 convolution of stride 2 to twice the channels; the parameters are those of `nn.Conv`.

    Attributes:
      dtype: type of the computation; parameters stay float32.
    """

    dtype: jax.typing.DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        """(B, H, W, C) -> (B, H / 2, W / 2, 2 C)."""
        b, h, w, num_features = x_BHWC.shape
        shape = (2, 2, num_features, 2 * num_features)
        kernel_HWIO = self.param('kernel', unit_gain, shape).astype(self.dtype)
        bias_O = self.param('bias', nn.initializers.zeros, (2 * num_features,)).astype(self.dtype)
        x_BHVWUC = x_BHWC.astype(self.dtype).reshape(b, h // 2, 2, w // 2, 2, num_features)
        blocks_BHWI = x_BHVWUC.swapaxes(2, 3).reshape(b, h // 2, w // 2, 4 * num_features)
        y_BHWO = blocks_BHWI @ kernel_HWIO.reshape(4 * num_features, -1)
        return y_BHWO + bias_O.reshape(1, 1, 1, -1)


class Upsample(nn.Module):
    """A 1x1 convolution to twice the channels, of which each fourth becomes one of 2x2 pixels.

    Attributes:
      dtype: type of the computation; parameters stay float32.
    """

    dtype: jax.typing.DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        """(B, H, W, C) -> (B, 2 H, 2 W, C / 2)."""
        b, h, w, num_features = x_BHWC.shape
        layer = nn.Dense(
            2 * num_features, use_bias=False, kernel_init=unit_gain, dtype=self.dtype,
            name='conv',
        )  # fmt: skip
        y_BHWVUC = layer(x_BHWC).reshape(b, h, w, 2, 2, num_features // 2)
        return y_BHWVUC.swapaxes(2, 3).reshape(b, 2 * h, 2 * w, num_features // 2)
