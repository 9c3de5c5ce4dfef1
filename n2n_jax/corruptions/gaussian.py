"""Additive white Gaussian noise.

H height, W width, C channels.
"""

import math

import jax

from n2n_jax.corruptions import draws
from n2n_jax.corruptions.base import Corruption


def sample_image(
    key: jax.Array, image_HWC: jax.Array, sigma: jax.Array
) -> tuple[jax.Array, jax.Array | None]:
    """Draws x + n, n ~ N(0, (sigma / 255)^2) per value (Lehtinen et al. 2018, section 3.1)."""
    noise = draws.rounded(sigma / 255.0 * draws.normal(key, image_HWC.size))
    return image_HWC + noise.reshape(image_HWC.shape), None


GAUSSIAN = Corruption(
    name='gaussian',
    level='standard deviation in 8-bit units (25 means 25/255)',
    bounds=(0.0, math.inf),
    sample_image=sample_image,
    statistics=('mean', 'median', 'mode'),
)
