"""Multiplicative Gaussian noise (speckle).

H height, W width, C channels.
"""

import math

import jax

from n2n_jax.corruptions import draws
from n2n_jax.corruptions.base import Corruption


def sample_image(
    key: jax.Array, image_HWC: jax.Array, sigma: jax.Array
) -> tuple[jax.Array, jax.Array | None]:
    """Draws x (1 + sigma n), n ~ N(0, 1) per value: mean x, standard deviation sigma x."""
    factors = sigma * draws.normal(key, image_HWC.size)
    return image_HWC + draws.rounded(image_HWC * factors.reshape(image_HWC.shape)), None


SPECKLE = Corruption(
    name='speckle',
    level='standard deviation as a share of the value (0.2 means 20%)',
    bounds=(0.0, math.inf),
    sample_image=sample_image,
    statistics=('mean', 'median', 'mode'),
    scales=True,
)
