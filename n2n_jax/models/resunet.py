"""A U-Net of residual blocks with added skips: the ResUNet of Zhou, Liu and Zhang.

'Leveraging Residual Neural Network for UNet Image Denoising with Perceptual Loss', section 3.3.

B batch, H height, W width, C channels.
"""

import functools
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from n2n_jax.models.convolutions import Conv
from n2n_jax.models.geometry import padded
from n2n_jax.models.initializers import unit_gain
from n2n_jax.models.layers import run_stage
from n2n_jax.models.resampling import DownConv, upsample_bilinear_2x
from n2n_jax.models.residual_block import ResidualBlock
from n2n_jax.runtime.config_field import Bounds

_BLOCKS = 2  # residual blocks per stage


class ResUNet(nn.Module):
    """Four down and four up blocks of two residual blocks each: 2,503,939 parameters for RGB.

    A convolution to `width` channels; at each level a down block that halves the map; then as many
    up blocks, each of which doubles the map, adds the features that had this size on the way down,
    and applies its residual blocks (section 3.3, figure 4); a linear convolution.

    The document gives the residual block, two of them per down block, four down and four up blocks,
    and the added skips. It is silent on the rest, also on what an up block consists of. From the
    authors' code come 16 channels that double per level, the last excepted (16, 32, 64, 128, 128),
    skips that start at the first convolution, the halving at the start of a down block, and
    bilinear upsampling followed by a 3x3 convolution. Other than in the code,

    * a 2x2 convolution with stride 2 halves the map, as usual in denoisers (DRUNet, Zhang et al.
      2021), not a residual block with a stride;
    * the inner convolutions of a block keep its channels (He et al. 2016), not a quarter of them;
    * up blocks have residual blocks like down blocks. `up=plain` takes the code's two convolutions
      with leaky ReLU (0.2) instead;
    * bilinear upsampling does not align the corners, see `upsample_bilinear_2x`.

    The code adds its output to the noisy image, as `model.residual` does.

    Attributes:
      out_channels: channels of the output.
      width: channels of the first level.
      levels: down blocks, and up blocks.
      up: whether up blocks have residual blocks or two convolutions.
      dtype: type of the computation; parameters and the last layer stay float32.
      plain: use plain convolutions, see `Conv`.
      remat: recompute activations inside the blocks for the gradients, see `run_stage`.
    """

    out_channels: int
    width: Annotated[int, Bounds(1, 256)] = 16
    levels: Annotated[int, Bounds(1, 6)] = 4
    up: Literal['residual', 'plain'] = 'residual'
    dtype: jax.typing.DTypeLike = jnp.float32
    plain: bool = False
    remat: bool = False

    last_layer = 'out_conv'

    @property
    def stride(self) -> int:
        """Sides of the input must be multiples of this."""
        return 2**self.levels

    @property
    def halo(self) -> int:
        """Pixels around an area, cut at multiples of the stride, that its output depends on."""
        block = 2 * _BLOCKS  # convolutions, each of which reaches one pixel farther
        reach = 1
        for _ in range(self.levels):
            reach += 1 + (block if self.up == 'residual' else 1)
            reach = reach // 2 + 1  # interpolation takes the next pixel of the smaller map
        for _ in range(self.levels):
            reach = 2 * (reach + block)
        return padded(reach + 1, self.stride)

    @nn.compact
    def __call__(self, x_BHWC: jax.Array, *, train: bool = False) -> jax.Array:
        """Maps (B, H, W, C), centered on 0, to (B, H, W, out_channels) float32."""
        del train  # no layer of this network behaves differently in training
        conv = functools.partial(Conv, dtype=self.dtype, plain=self.plain)

        def blocks(y_BHWC: jax.Array, name: str) -> jax.Array:
            for i in range(_BLOCKS):
                y_BHWC = ResidualBlock(dtype=self.dtype, plain=self.plain, name=f'{name}_block{i}')(
                    y_BHWC
                )
            return y_BHWC

        def down(y_BHWC: jax.Array, *, level: int) -> jax.Array:
            halve = DownConv(
                self._width(level), dtype=self.dtype, plain=self.plain, name=f'down{level}_conv'
            )
            return blocks(halve(y_BHWC), f'down{level}')

        def up(y_BHWC: jax.Array, skip_BHWC: jax.Array, *, level: int) -> jax.Array:
            width = self._width(level - 1)
            y_BHWC = upsample_bilinear_2x(y_BHWC)
            if self.up == 'residual':
                layer = conv(width, kernel_init=unit_gain, name=f'up{level}_conv')
                return blocks(layer(y_BHWC) + skip_BHWC, f'up{level}')
            for i in range(2):
                y_BHWC = nn.leaky_relu(conv(width, name=f'up{level}_conv{i}')(y_BHWC), 0.2)
            return nn.leaky_relu(y_BHWC + skip_BHWC, 0.2)

        y_BHWC = conv(self.width, kernel_init=unit_gain, name='in_conv')(x_BHWC)
        skips = []
        for level in range(1, self.levels + 1):
            skips.append(y_BHWC)
            function = functools.partial(down, level=level)
            y_BHWC = run_stage(self, function, y_BHWC, remat=self.remat)
        for level in range(self.levels, 0, -1):
            function = functools.partial(up, level=level)
            y_BHWC = run_stage(self, function, y_BHWC, skips.pop(), remat=self.remat)
        return Conv(self.out_channels, kernel_init=unit_gain, plain=self.plain, name='out_conv')(
            y_BHWC
        )

    def _width(self, level: int) -> int:
        return self.width * 2 ** min(level, self.levels - 1)
