"""The U-Net of Lehtinen et al. 2018 (table 2): 991,203 parameters for RGB.

B batch, H height, W width, C channels.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from n2n_jax.models.convolutions import Conv, UpConv
from n2n_jax.models.layers import leaky_relu, max_pool_2x2, unit_gain_normal


class UNet(nn.Module):
    """Five poolings, skips taken after each pooling plus the raw input, linear output.

    Attributes:
      out_channels: channels of the output.
      dtype: type of the computation; parameters and the last layer stay float32.
      plain: convolutions as they are written down, see `Conv`.
    """

    out_channels: int
    dtype: jnp.dtype = jnp.float32
    plain: bool = False

    stride = 32  # sides of the input must be multiples of this

    @nn.compact
    def __call__(self, x_BHWC: jax.Array, *, train: bool = False) -> jax.Array:
        """Maps (B, H, W, C), centred on 0, to (B, H, W, out_channels) float32."""
        del train  # no layer of this network behaves differently in training

        def conv(y_BHWC: jax.Array, num_features: int, name: str) -> jax.Array:
            layer = Conv(num_features, dtype=self.dtype, plain=self.plain, name=name)
            return leaky_relu(layer(y_BHWC))

        def up_conv(y_BHWC: jax.Array, num_features: int, name: str) -> jax.Array:
            layer = UpConv(num_features, dtype=self.dtype, plain=self.plain, name=name)
            return leaky_relu(layer(y_BHWC, skips.pop()))

        y_BHWC = conv(x_BHWC, 48, 'enc_conv0')
        skips = [x_BHWC.astype(self.dtype)]
        for i in range(1, 6):
            y_BHWC = max_pool_2x2(conv(y_BHWC, 48, f'enc_conv{i}'))
            skips.append(y_BHWC)
        skips.pop()  # the fifth pooling feeds enc_conv6 and is no skip
        y_BHWC = conv(y_BHWC, 48, 'enc_conv6')

        for i in (5, 4, 3, 2):
            y_BHWC = up_conv(y_BHWC, 96, f'dec_conv{i}a')
            y_BHWC = conv(y_BHWC, 96, f'dec_conv{i}b')
        y_BHWC = up_conv(y_BHWC, 64, 'dec_conv1a')
        y_BHWC = conv(y_BHWC, 32, 'dec_conv1b')
        return Conv(
            self.out_channels, kernel_init=unit_gain_normal, plain=self.plain, name='dec_conv1c'
        )(y_BHWC)
