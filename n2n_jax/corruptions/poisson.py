"""Photon shot noise.

H height, W width, C channels.
"""

import math

import jax
import jax.numpy as jnp

from n2n_jax.corruptions.base import Corruption


def sample_image(
    key: jax.Array, image_HWC: jax.Array, peak: jax.Array
) -> tuple[jax.Array, jax.Array | None]:
    """Poisson(peak x) / peak: mean x, variance x / peak (Lehtinen et al. 2018, section 3.1).

    A rate cannot be negative: an input below 0 counts as 0.
    """
    rate_HWC = peak * jnp.maximum(image_HWC, 0.0)
    return jax.random.poisson(key, rate_HWC).astype(image_HWC.dtype) / peak, None


POISSON = Corruption(
    name='poisson',
    level='expected count of a white pixel (lambda)',
    bounds=(1e-6, math.inf),
    zero_mean=True,
    sample_image=sample_image,
    rectifies=True,
)
