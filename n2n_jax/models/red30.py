"""The RED30 of Mao et al. 2016, as Noise2Noise used it: 4,139,395 parameters for RGB.

B batch, H height, W width, C channels, F features.
"""

import functools
from typing import Annotated

import jax
import jax.numpy as jnp
from flax import linen as nn

from n2n_jax.models.convolutions import Conv
from n2n_jax.models.initializers import unit_gain
from n2n_jax.models.layers import run_stage
from n2n_jax.runtime.config_field import Bounds
from n2n_jax.runtime.errors import UserError


class RED30(nn.Module):
    """3x3 convolutions, as many transposed ones, and skips between them at full resolution.

    Every second convolution is added to the transposed one that mirrors it, before its ReLU. The
    outermost skip, from the input to the output, is the wrapper's (`model.residual`).

    With stride 1, a transposed convolution is a convolution with the kernel turned by 180 degrees
    and its channels exchanged. As a kernel is learned either way, these are convolutions too.

    Attributes:
      out_channels: channels of the output.
      depth: convolutions, the transposed ones included; even. RED10, RED20 and RED30 are named
        after it.
      width: channels between them.
      dtype: type of the computation; parameters and the last layer stay float32.
      plain: use plain convolutions, see `Conv`.
      remat: recompute activations inside pairs of layers for the gradients, see `run_stage`.
    """

    out_channels: int
    depth: Annotated[int, Bounds(4, 100)] = 30
    width: Annotated[int, Bounds(1, 1024)] = 128
    dtype: jax.typing.DTypeLike = jnp.float32
    plain: bool = False
    remat: bool = False

    stride = 1  # sides of the input can be any number

    def __post_init__(self) -> None:
        """Checks whether the layers can mirror each other."""
        super().__post_init__()
        if self.depth % 2:
            raise UserError(
                f"'depth={self.depth}' of red30 is invalid: write an even number, half of them are "
                'transposed convolutions.'
            )

    @property
    def halo(self) -> int:
        """Pixels around an area that its output depends on: one for each convolution."""
        return self.depth

    @property
    def last_layer(self) -> str:
        """The layer whose weights may start at zero."""
        return f'deconv{self.depth // 2}'

    @nn.compact
    def __call__(self, x_BHWC: jax.Array, *, train: bool = False) -> jax.Array:
        """Maps (B, H, W, C), centered on 0, to (B, H, W, out_channels) float32."""
        del train  # no layer of this network behaves differently in training
        half = self.depth // 2

        def conv(y_BHWF: jax.Array, name: str) -> jax.Array:
            return Conv(self.width, dtype=self.dtype, plain=self.plain, name=name)(y_BHWF)

        def encode(y_BHWF: jax.Array, *, first: int) -> jax.Array:
            for i in range(first, min(first + 2, half + 1)):
                y_BHWF = nn.relu(conv(y_BHWF, f'conv{i}'))
            return y_BHWF

        def decode(y_BHWF: jax.Array, skip_BHWF: jax.Array, *, first: int) -> jax.Array:
            y_BHWF = nn.relu(conv(y_BHWF, f'deconv{first}') + skip_BHWF)
            return nn.relu(conv(y_BHWF, f'deconv{first + 1}'))

        stage = functools.partial(run_stage, self, remat=self.remat)
        skips, y_BHWF = [], x_BHWC
        for first in range(1, half + 1, 2):
            y_BHWF = stage(functools.partial(encode, first=first), y_BHWF)
            if first + 1 < half:
                skips.append(y_BHWF)
        if half % 2 == 0:  # what it mirrors has an odd number, hence no skip
            y_BHWF = nn.relu(conv(y_BHWF, 'deconv1'))
        # The output of deconv{j} mirrors that of conv{half - j}.
        for first in range(2 - half % 2, half - 1, 2):
            y_BHWF = stage(functools.partial(decode, first=first), y_BHWF, skips.pop())
        return Conv(
            self.out_channels, kernel_init=unit_gain, plain=self.plain, name=self.last_layer
        )(y_BHWF)
