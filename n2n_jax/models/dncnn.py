"""The DnCNN of Zhang et al. 2017: 556,097 parameters for gray, or 555,137 without batch norm.

B batch, H height, W width, C channels, F features.
"""

import functools
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from n2n_jax.models.convolutions import Conv
from n2n_jax.models.initializers import relu_gain, unit_gain
from n2n_jax.models.layers import run_stage
from n2n_jax.runtime.config_field import Bounds

_LAYERS_PER_STAGE = 4  # layers whose activations are recomputed together
_SMALLEST_SCALE = 0.025  # of a batch norm, at first


class DnCNN(nn.Module):
    """3x3 convolutions at full resolution, with batch norm and ReLU between them; linear output.

    The source predicts the noise and subtracts it; here the wrapper adds the output to the noisy
    image (`model.residual`), which differs by a sign of the last layer.

    As in the source, the first and the last convolution have a bias, and the others only without
    batch norm, whose shift does the same. (The code of the source gives them a bias too, but with a
    learning rate of 0.) The source has 17 layers for gray images of a known noise level, and 20 for
    color or unknown levels.

    Attributes:
      out_channels: channels of the output.
      depth: convolutions.
      width: channels between them.
      norm: 'batch', or 'none' as in the published weights, where it is folded into convolutions.
      dtype: type of the computation; parameters and the last layer stay float32.
      plain: use plain convolutions, see `Conv`.
      remat: recompute activations inside groups of layers for the gradients, see `run_stage`.
    """

    out_channels: int
    depth: Annotated[int, Bounds(2, 100)] = 17
    width: Annotated[int, Bounds(1, 1024)] = 64
    norm: Literal['batch', 'none'] = 'batch'
    dtype: jax.typing.DTypeLike = jnp.float32
    plain: bool = False
    remat: bool = False

    stride = 1  # sides of the input can be any number

    @property
    def halo(self) -> int:
        """Pixels around an area that its output depends on: one for each convolution."""
        return self.depth

    @property
    def last_layer(self) -> str:
        """The layer whose weights may start at zero."""
        return f'conv{self.depth}'

    @nn.compact
    def __call__(self, x_BHWC: jax.Array, *, train: bool = False) -> jax.Array:
        """Maps (B, H, W, C), centered on 0, to (B, H, W, out_channels) float32.

        With norm='batch' and train=True, the collection 'batch_stats' must be mutable.
        """

        def layer(y_BHWF: jax.Array, i: int) -> jax.Array:
            normalized = self.norm == 'batch' and i > 1
            y_BHWF = Conv(
                self.width,
                use_bias=not normalized,
                dtype=self.dtype,
                plain=self.plain,
                name=f'conv{i}',
            )(y_BHWF)
            if normalized:
                y_BHWF = nn.BatchNorm(
                    use_running_average=not train,
                    momentum=0.9,
                    epsilon=1e-4,
                    scale_init=_first_scales,
                    dtype=self.dtype,
                    name=f'norm{i}',
                )(y_BHWF)
            return nn.relu(y_BHWF)

        def layers(y_BHWF: jax.Array, *, first: int) -> jax.Array:
            for i in range(first, min(first + _LAYERS_PER_STAGE, self.depth)):
                y_BHWF = layer(y_BHWF, i)
            return y_BHWF

        y_BHWF = x_BHWC
        for first in range(1, self.depth, _LAYERS_PER_STAGE):
            y_BHWF = run_stage(
                self, functools.partial(layers, first=first), y_BHWF, remat=self.remat
            )
        return Conv(
            self.out_channels, kernel_init=unit_gain, plain=self.plain, name=self.last_layer
        )(y_BHWF)


def _first_scales(
    key: jax.Array, shape: tuple[int, ...], dtype: jax.typing.DTypeLike = jnp.float32
) -> jax.Array:
    """Draws the first scales of a batch norm, as the code of the source does.

    They are drawn like the weights of a layer, hence small and of either sign, but kept off 0.
    """
    scales_F = relu_gain(key, (3, 3, *shape, 1), dtype)[0, 0, :, 0]
    sizes_F = jnp.maximum(jnp.abs(scales_F), _SMALLEST_SCALE)
    return jnp.where(scales_F < 0, -sizes_F, sizes_F)
