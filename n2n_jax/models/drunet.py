"""DRUNet: a U-Net of residual blocks without biases.

Zhang et al. 2021, "Plug-and-Play Image Restoration with Deep Denoiser Prior" (arXiv 2008.13751),
section 3. There it is shown the level of the noise, as `model.noise_map=True` does here.

B batch, H height, W width, C channels.

Sizes, for RGB, of the registry entries:

  drunet      32.64 M   width 64 to 512, 4 levels of 4 blocks, the paper's (with the noise map)
  drunet_xs    0.94 M   width 48 to 80, 3 levels of 2 blocks, on patches of 2x2 pixels
"""

import functools
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from n2n_jax.models.convolutions import Conv
from n2n_jax.models.geometry import padded
from n2n_jax.models.initializers import unit_gain
from n2n_jax.models.layers import run_stage
from n2n_jax.models.resampling import DownConv, TransposedConv
from n2n_jax.models.residual_block import ResidualBlock
from n2n_jax.runtime.config_field import Bounds


class DRUNet(nn.Module):
    """Levels of residual blocks between 2x2 convolutions with stride 2, and added skips.

    On patches, the first convolution has stride 2 and the last one is transposed, so the first
    level works on a quarter of the pixels. FFDNet (Zhang et al. 2018) showed that little is lost by
    that; it makes a network of the same cost several times as wide.

    Attributes:
      out_channels: channels of the output.
      width: channels of the first level; they double from level to level.
      most: channels that no level exceeds.
      levels: resolutions.
      blocks: residual blocks of each level, on the way down and on the way up.
      patch: side of the patches that the first level sees as pixels: 1 or 2.
      skips: where they leave a level on the way down: after its convolution with stride 2, as in
        the paper, or before it, so that they keep the detail.
      use_bias: whether convolutions have biases, other than in the paper.
      dtype: type of the computation; parameters and the last layer stay float32.
      plain: use plain convolutions, see `Conv`.
      remat: recompute activations inside levels for the gradients, see `run_stage`.
    """

    out_channels: int
    width: Annotated[int, Bounds(1, 512)] = 64
    most: Annotated[int, Bounds(1, 1024)] = 512
    levels: Annotated[int, Bounds(1, 6)] = 4
    blocks: Annotated[int, Bounds(1, 16)] = 4
    patch: Annotated[int, Bounds(1, 2)] = 1
    skips: Literal['after', 'before'] = 'after'
    use_bias: bool = False
    dtype: jax.typing.DTypeLike = jnp.float32
    plain: bool = False
    remat: bool = False

    last_layer = 'tail'

    @property
    def stride(self) -> int:
        """Sides of the input must be multiples of this."""
        return self.patch * 2 ** (self.levels - 1)

    @property
    def halo(self) -> int:
        """Pixels around an area, cut at multiples of the stride, that its output depends on."""
        ends = 2 - self.patch  # a 3x3 convolution reaches one pixel farther, one of patches none
        blocks = 2 * self.blocks
        reach = ends
        for _ in range(self.levels - 1):
            reach = -(-(reach + blocks) // 2)
        reach += blocks
        for _ in range(self.levels - 1):
            reach = 2 * reach + blocks
        return padded(self.patch * (reach + ends), self.stride)

    @nn.compact
    def __call__(self, x_BHWC: jax.Array, *, train: bool = False) -> jax.Array:
        """Maps (B, H, W, C), centered on 0, to (B, H, W, out_channels) float32."""
        del train  # no layer of this network behaves differently in training
        options: dict[str, Any] = {'use_bias': self.use_bias, 'plain': self.plain}
        computed = {**options, 'dtype': self.dtype}

        def blocks(y_BHWC: jax.Array, name: str) -> jax.Array:
            for i in range(self.blocks):
                y_BHWC = ResidualBlock(**computed, name=f'{name}_block{i}')(y_BHWC)
            return y_BHWC

        def down(y_BHWC: jax.Array, *, level: int) -> tuple[jax.Array, jax.Array]:
            y_BHWC = blocks(y_BHWC, f'down{level}')
            halve = DownConv(self._width(level + 1), **computed, name=f'down{level}_halve')
            return y_BHWC, halve(y_BHWC)

        def up(y_BHWC: jax.Array, skip_BHWC: jax.Array, *, level: int) -> jax.Array:
            double = TransposedConv(
                self._width(level), **computed, kernel_init=unit_gain, name=f'up{level}_double'
            )
            if self.skips == 'after':
                return blocks(double(y_BHWC + skip_BHWC), f'up{level}')
            return blocks(double(y_BHWC) + skip_BHWC, f'up{level}')

        stage = functools.partial(run_stage, self, remat=self.remat)
        head, tail = (Conv, Conv) if self.patch == 1 else (DownConv, TransposedConv)
        first = head(self.width, **computed, kernel_init=unit_gain, name='head')
        y_BHWC = head_BHWC = first(x_BHWC)
        skips = []
        for level in range(self.levels - 1):
            before_BHWC, y_BHWC = stage(functools.partial(down, level=level), y_BHWC)
            skips.append(y_BHWC if self.skips == 'after' else before_BHWC)
        y_BHWC = stage(functools.partial(blocks, name='middle'), y_BHWC)
        for level in reversed(range(self.levels - 1)):
            y_BHWC = stage(functools.partial(up, level=level), y_BHWC, skips.pop())
        if self.skips == 'after':
            y_BHWC = y_BHWC + head_BHWC
        last = tail(self.out_channels, **options, kernel_init=unit_gain, name=self.last_layer)
        return last(y_BHWC)

    def _width(self, level: int) -> int:
        return min(self.width * 2**level, self.most)


DRUNET_XS = functools.partial(
    DRUNet, width=48, most=80, levels=3, blocks=2, patch=2, skips='before'
)
