"""Gaussian blur, the deterministic part of a deblurring task.

H height, W width, C channels.
"""

import jax
import jax.numpy as jnp

from n2n_jax.corruptions.base import Corruption

RADIUS = 16  # pixels to each side: three standard deviations of the widest blur


def sample_image(
    key: jax.Array, image_HWC: jax.Array, sigma: jax.Array
) -> tuple[jax.Array, jax.Array | None]:
    """Convolution with a Gaussian of standard deviation sigma in pixels, edges repeated."""
    del key  # a blur draws nothing
    offsets = jnp.arange(-RADIUS, RADIUS + 1, dtype=image_HWC.dtype)
    # At sigma 0 every weight but the center's underflows to 0: the image comes back unchanged.
    weights = jnp.exp(-0.5 * jnp.square(offsets / jnp.maximum(sigma, 1e-3)))
    weights = weights / weights.sum()
    for axis in (0, 1):
        pad = [(RADIUS, RADIUS) if i == axis else (0, 0) for i in range(3)]
        padded = jnp.pad(image_HWC, pad, mode='edge')
        n = image_HWC.shape[axis]
        image_HWC = sum(
            weights[i] * jax.lax.slice_in_dim(padded, i, i + n, axis=axis)
            for i in range(2 * RADIUS + 1)
        )
    return image_HWC, None


BLUR = Corruption(
    name='blur',
    level='standard deviation of the blur in pixels',
    bounds=(0.0, 5.0),
    sample_image=sample_image,
    statistics=(),  # the clean image itself is another
    untouched=lambda sigma: float(sigma == 0),
    nonnegative=True,
    mixes=True,
)
