"""Additive white Gaussian noise.

H height, W width, C channels.
"""

import math

import jax

from n2n_jax.corruptions.base import Corruption


def sample_image(
    key: jax.Array, image_HWC: jax.Array, sigma: jax.Array
) -> tuple[jax.Array, jax.Array | None]:
    """x + n, n ~ N(0, (sigma / 255)^2) per value (Lehtinen et al. 2018, section 3.1)."""
    # Drawn flat: the same values, and XLA:CPU compiles and runs it several times faster under vmap.
    noise_HWC = jax.random.normal(key, (image_HWC.size,)).reshape(image_HWC.shape)
    return image_HWC + sigma / 255.0 * noise_HWC, None


GAUSSIAN = Corruption(
    name='gaussian',
    level='standard deviation in 8-bit units (25 means 25/255)',
    bounds=(0.0, math.inf),
    zero_mean=True,
    sample_image=sample_image,
)
