"""A loss of spatial frequencies.

B batch, H height, W width, C channels.
"""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from n2n_jax.corruptions.base import Statistic


@dataclasses.dataclass(frozen=True)
class Fourier:
    """The mean modulus of the error of every Fourier coefficient (Cho et al. 2021, MIMO-UNet).

    The transform is orthonormal, so white noise has the same size in it. Of noisy targets it learns
    the spatial median of each coefficient, which is their mean where the noise is white.
    """

    statistic: ClassVar[Statistic | None] = None
    has_minimum: ClassVar[bool] = True
    uses_mask: ClassVar[bool] = False

    def arrays(self, weights: str) -> dict[str, Any]:
        """Needs none; see `n2n_jax.train.losses.Loss`."""
        del weights
        return {}

    def __call__(
        self,
        denoised_BHWC: jax.Array,
        target_BHWC: jax.Array,
        mask_BHWC: jax.Array | None,
        progress: jax.Array,
        arrays: Any = None,
    ) -> tuple[jax.Array, jax.Array]:
        """See `n2n_jax.train.losses.Loss`; the mask is ignored."""
        del mask_BHWC, progress, arrays
        spectrum = jnp.fft.rfft2(denoised_BHWC - target_BHWC, axes=(1, 2), norm='ortho')
        # The gradient of a modulus is not finite at 0.
        modulus = jnp.sqrt(jnp.square(spectrum.real) + jnp.square(spectrum.imag) + 1e-12)
        return jnp.mean(modulus), jnp.float32(denoised_BHWC.size)
