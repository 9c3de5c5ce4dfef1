"""The residual block of restoration networks: no norm, and no activation after the addition.

B batch, H height, W width, C channels.
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from n2n_jax.models.convolutions import Conv
from n2n_jax.models.initializers import branch_gain


class ResidualBlock(nn.Module):
    """x + conv(ReLU(conv(x))), both 3x3; the identity if its weights are zero.

    The second convolution starts small, so that the variance does not grow with the number of
    blocks.

    Attributes:
      use_bias: whether the convolutions have a bias.
      dtype: type of the computation; parameters stay float32.
      plain: use plain convolutions, see `Conv`.
    """

    use_bias: bool = True
    dtype: jax.typing.DTypeLike = jnp.float32
    plain: bool = False

    @nn.compact
    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        """(B, H, W, C) -> (B, H, W, C)."""
        conv = functools.partial(
            Conv,
            x_BHWC.shape[-1],
            use_bias=self.use_bias,
            dtype=self.dtype,
            plain=self.plain,
        )
        y_BHWC = nn.relu(conv(name='conv0')(x_BHWC))
        return x_BHWC + conv(kernel_init=branch_gain, name='conv1')(y_BHWC)
