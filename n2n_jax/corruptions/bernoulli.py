"""Multiplicative Bernoulli noise: missing pixels.

H height, W width, C channels.
"""

import jax
import jax.numpy as jnp

from n2n_jax.corruptions import draws
from n2n_jax.corruptions.base import Corruption, all_of_them


def sample_image(
    key: jax.Array, image_HWC: jax.Array, p: jax.Array
) -> tuple[jax.Array, jax.Array | None]:
    """Draws m x, where m = 1 with probability 1 - p, else 0; one m per pixel for all channels.

    The mean of captures is (1 - p) x, but observed values are clean. Noisy targets therefore need a
    loss masked with the *target's* mask (Lehtinen et al. 2018, equation 7).
    """
    h, w, _ = image_HWC.shape
    keep_HW1 = draws.uniform(key, h * w).reshape(h, w, 1) >= p
    mask_HWC = jnp.broadcast_to(keep_HW1, image_HWC.shape).astype(image_HWC.dtype)
    return image_HWC * mask_HWC, mask_HWC


BERNOULLI = Corruption(
    name='bernoulli',
    level='probability that a pixel is missing',
    bounds=(0.0, 0.999),
    sample_image=sample_image,
    statistics=('mean', 'median', 'mode'),
    untouched=all_of_them,
    observed=lambda p: 1.0 - p,
    nonnegative=True,
)
