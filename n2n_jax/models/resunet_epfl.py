"""The U-Net with residual connections of Weber, Gürtler and Zakariya.

'Deep Learning Mini-project 1: Noise2Noise model' (EE-559, EPFL), table I.

B batch, H height, W width, C channels.
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from n2n_jax.models.convolutions import Conv
from n2n_jax.models.initializers import branch_gain, relu_gain, unit_gain
from n2n_jax.models.layers import max_pool_2x2, run_stage
from n2n_jax.models.resampling import TransposedConv


class EPFLResUNet(nn.Module):
    """Table I of the report: 1,147,539 parameters for RGB.

    The U-Net of Lehtinen et al. with ReLU, 2x2 transposed convolutions and a 1x1 last layer. The
    table names pool4 for every concatenation; its channels fit pool4 to pool1 and the input, as in
    the paper.

    The report describes residual connections but not where they are. Here, every 3x3 convolution of
    the table that keeps the number of channels adds its input before its ReLU (He et al. 2016):
    enc1 to enc6, dec5a and all of dec5b to dec2b. The table stays as it is, without projections.

    The published code differs from the report: no residual connections (`residual_blocks=False`),
    the same weights in several levels, and 3x3 kernels in the transposed and the last convolutions.
    The last two are not reproduced here.

    Attributes:
      out_channels: channels of the output.
      residual_blocks: whether to add the residual connections.
      relu_output: whether a ReLU cuts off the denoised image at 0, as in the table, so that values
        that end up below get no gradient. The input is that image minus 0.5 (write
        `model.residual=False`), so it cuts off the output at -0.5.
      dtype: type of the computation; parameters and the last layer stay float32.
      plain: use plain convolutions, see `Conv`.
      remat: recompute activations inside the stages for the gradients, see `run_stage`.
    """

    out_channels: int
    residual_blocks: bool = True
    relu_output: bool = False
    dtype: jax.typing.DTypeLike = jnp.float32
    plain: bool = False
    remat: bool = False

    stride = 32  # sides of the input must be multiples of this
    halo = 128  # pixels around an area, cut at multiples of the stride, that its output depends on
    last_layer = 'final_conv'

    @nn.compact
    def __call__(self, x_BHWC: jax.Array, *, train: bool = False) -> jax.Array:
        """Maps (B, H, W, C), centered on 0, to (B, H, W, out_channels) float32."""
        del train  # no layer of this network behaves differently in training

        def conv(y_BHWC: jax.Array, num_features: int, name: str) -> jax.Array:
            adds_input = self.residual_blocks and y_BHWC.shape[-1] == num_features
            layer = Conv(
                num_features,
                kernel_init=branch_gain if adds_input else relu_gain,
                dtype=self.dtype,
                plain=self.plain,
                name=name,
            )
            return nn.relu(y_BHWC + layer(y_BHWC) if adds_input else layer(y_BHWC))

        def encode(y_BHWC: jax.Array, *, i: int) -> jax.Array:
            return max_pool_2x2(conv(y_BHWC, 48, f'enc{i}'))

        def first_stage(y_BHWC: jax.Array) -> jax.Array:
            return encode(conv(y_BHWC, 48, 'enc0'), i=1)

        def decode(y_BHWC: jax.Array, skip_BHWC: jax.Array, *, i: int) -> jax.Array:
            double = TransposedConv(
                y_BHWC.shape[-1], dtype=self.dtype, plain=self.plain, name=f'upsample{i}'
            )
            y_BHWC = jnp.concatenate([nn.relu(double(y_BHWC)), skip_BHWC], axis=-1)
            widths = (64, 32) if i == 1 else (96, 96)
            return conv(conv(y_BHWC, widths[0], f'dec{i}a'), widths[1], f'dec{i}b')

        stage = functools.partial(run_stage, self, remat=self.remat)
        skips = [x_BHWC.astype(self.dtype)]
        y_BHWC = stage(first_stage, x_BHWC)
        for i in range(2, 6):
            skips.append(y_BHWC)
            y_BHWC = stage(functools.partial(encode, i=i), y_BHWC)
        y_BHWC = conv(y_BHWC, 48, 'enc6')
        for i in range(5, 0, -1):
            y_BHWC = stage(functools.partial(decode, i=i), y_BHWC, skips.pop())
        # A 1x1 convolution; XLA:CPU differentiates the matrix product faster.
        y_BHWC = nn.Dense(
            self.out_channels, kernel_init=unit_gain, dtype=jnp.float32, name='final_conv'
        )(y_BHWC)
        return jnp.maximum(y_BHWC, -0.5) if self.relu_output else y_BHWC
