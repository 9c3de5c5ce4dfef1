"""Spatially correlated ("brown") Gaussian noise.

H height, W width, C channels.
"""

import dataclasses
import math
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np

from n2n_jax.corruptions import draws
from n2n_jax.corruptions.base import Corruption
from n2n_jax.runtime.config_field import Bounds


@dataclasses.dataclass(frozen=True)
class Options:
    """Attributes: bandwidth, the standard deviation of the kernel in pixels; 0: white noise."""

    bandwidth: Annotated[float, Bounds(0, 10)] = 2.0


def sample_image(
    key: jax.Array, image_HWC: jax.Array, sigma: jax.Array, options: Options
) -> tuple[jax.Array, jax.Array | None]:
    """Draws x + sigma / 255 (g * n) / norm2(g), n ~ N(0, 1) per value, g a Gaussian kernel.

    Lehtinen et al. 2018, section 3.1. The norm makes sigma the standard deviation of every value.
    White noise is drawn beyond the borders too, so that values there are no different. Two values
    d pixels apart have correlation exp(-(d / bandwidth)^2 / 4).
    """
    weights = kernel(options.bandwidth)
    margin = weights.size // 2
    h, w, c = image_HWC.shape
    shape = (h + 2 * margin, w + 2 * margin, c)
    noise_HWC = draws.rounded(draws.normal(key, math.prod(shape))).reshape(shape)
    for axis, size in ((0, h), (1, w)):
        shifted = (
            jax.lax.slice_in_dim(noise_HWC, i, i + size, axis=axis) for i in range(weights.size)
        )
        products = (weight * part for weight, part in zip(weights, shifted, strict=True))
        noise_HWC = draws.rounded(sum(products, start=jnp.zeros((), noise_HWC.dtype)))
    return image_HWC + draws.rounded(sigma / 255.0 * noise_HWC), None


def kernel(bandwidth: float) -> np.ndarray:
    """Returns a Gaussian kernel in one dimension, float32, whose squares add up to 1."""
    if bandwidth == 0:
        return np.ones(1, np.float32)
    offsets = np.arange(-math.ceil(4 * bandwidth), math.ceil(4 * bandwidth) + 1)
    weights = np.exp(-0.5 * (offsets / bandwidth) ** 2)
    return (weights / np.linalg.norm(weights)).astype(np.float32)


BROWN = Corruption(
    name='brown',
    level='standard deviation in 8-bit units',
    bounds=(0.0, math.inf),
    sample_image=sample_image,
    statistics=('mean', 'median', 'mode'),
    options=Options(),
)
