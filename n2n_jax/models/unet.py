"""The U-Net of Lehtinen et al. 2018 (table 2): 991,203 parameters for RGB.

B batch, H height, W width, C channels.
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from n2n_jax.models.convolutions import Conv, UpConv
from n2n_jax.models.initializers import unit_gain
from n2n_jax.models.layers import leaky_relu, max_pool_2x2, run_stage


class UNet(nn.Module):
    """Five poolings, skips from the input and after each pooling but the last, linear output.

    Attributes:
      out_channels: channels of the output.
      dtype: type of the computation; parameters and the last layer stay float32.
      plain: use plain convolutions, see `Conv`.
      remat: recompute activations inside the stages for the gradients, see `run_stage`.
    """

    out_channels: int
    dtype: jax.typing.DTypeLike = jnp.float32
    plain: bool = False
    remat: bool = False

    stride = 32  # sides of the input must be multiples of this
    halo = 128  # pixels around an area, cut at multiples of the stride, that its output depends on
    last_layer = 'dec_conv1c'

    @nn.compact
    def __call__(self, x_BHWC: jax.Array, *, train: bool = False) -> jax.Array:
        """Maps (B, H, W, C), centered on 0, to (B, H, W, out_channels) float32."""
        del train  # no layer of this network behaves differently in training

        def conv(y_BHWC: jax.Array, num_features: int, name: str) -> jax.Array:
            layer = Conv(num_features, dtype=self.dtype, plain=self.plain, name=name)
            return leaky_relu(layer(y_BHWC))

        def up_conv(
            y_BHWC: jax.Array, skip_BHWC: jax.Array, num_features: int, name: str
        ) -> jax.Array:
            layer = UpConv(num_features, dtype=self.dtype, plain=self.plain, name=name)
            return leaky_relu(layer(y_BHWC, skip_BHWC))

        def encode(y_BHWC: jax.Array, *, i: int) -> jax.Array:
            return max_pool_2x2(conv(y_BHWC, 48, f'enc_conv{i}'))

        def decode(y_BHWC: jax.Array, skip_BHWC: jax.Array, *, i: int) -> jax.Array:
            y_BHWC = up_conv(y_BHWC, skip_BHWC, 96, f'dec_conv{i}a')
            return conv(y_BHWC, 96, f'dec_conv{i}b')

        def first_stage(y_BHWC: jax.Array) -> jax.Array:
            return encode(conv(y_BHWC, 48, 'enc_conv0'), i=1)

        def last_stage(y_BHWC: jax.Array, skip_BHWC: jax.Array) -> jax.Array:
            y_BHWC = up_conv(y_BHWC, skip_BHWC, 64, 'dec_conv1a')
            y_BHWC = conv(y_BHWC, 32, 'dec_conv1b')
            return Conv(
                self.out_channels, kernel_init=unit_gain, plain=self.plain, name='dec_conv1c'
            )(y_BHWC)

        stage = functools.partial(run_stage, self, remat=self.remat)
        skips = [x_BHWC.astype(self.dtype)]
        y_BHWC = stage(first_stage, x_BHWC)
        for i in range(2, 6):
            skips.append(y_BHWC)
            y_BHWC = stage(functools.partial(encode, i=i), y_BHWC)
        y_BHWC = conv(y_BHWC, 48, 'enc_conv6')
        for i in (5, 4, 3, 2):
            y_BHWC = stage(functools.partial(decode, i=i), y_BHWC, skips.pop())
        return stage(last_stage, y_BHWC, skips.pop())
