"""Gaussian blur, for deblurring tasks; deterministic.

H height, W width, C channels.
"""

import jax
import jax.numpy as jnp

from n2n_jax.corruptions.base import Corruption

RADIUS = 16  # pixels on each side: three standard deviations of the widest blur


def sample_image(
    key: jax.Array, image_HWC: jax.Array, sigma: jax.Array
) -> tuple[jax.Array, jax.Array | None]:
    """Convolves with a Gaussian of standard deviation sigma in pixels; repeats edge pixels."""
    del key  # a blur is deterministic
    offsets = jnp.arange(-RADIUS, RADIUS + 1, dtype=image_HWC.dtype)
    # At sigma 0 all weights but the center's underflow to 0, so the image stays unchanged.
    weights = jnp.exp(-0.5 * jnp.square(offsets / jnp.maximum(sigma, 1e-3)))
    weights = weights / weights.sum()
    for axis in (0, 1):
        pad = [(RADIUS, RADIUS) if i == axis else (0, 0) for i in range(3)]
        padded = jnp.pad(image_HWC, pad, mode='edge')
        n = image_HWC.shape[axis]
        image_HWC = sum(
            (
                weights[i] * jax.lax.slice_in_dim(padded, i, i + n, axis=axis)
                for i in range(2 * RADIUS + 1)
            ),
            start=jnp.zeros((), image_HWC.dtype),
        )
    return image_HWC, None


BLUR = Corruption(
    name='blur',
    level='standard deviation of the blur in pixels',
    bounds=(0.0, 5.0),
    sample_image=sample_image,
    statistics=(),  # no statistic of blurred captures is the clean image
    untouched=lambda sigma: float(sigma == 0),
    nonnegative=True,
    mixes=True,
)
