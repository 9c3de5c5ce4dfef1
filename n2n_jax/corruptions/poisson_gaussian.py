"""Photon shot noise and the read noise of a sensor.

H height, W width, C channels.
"""

import dataclasses
from typing import Annotated

import jax
import jax.numpy as jnp

from n2n_jax.corruptions import gaussian, poisson
from n2n_jax.corruptions.base import Corruption
from n2n_jax.runtime.config_field import Bounds


@dataclasses.dataclass(frozen=True)
class Options:
    """Attributes: read, the standard deviation of the read noise in 8-bit units."""

    read: Annotated[float, Bounds(0)] = 5.0


def sample_image(
    key: jax.Array, image_HWC: jax.Array, peak: jax.Array, options: Options
) -> tuple[jax.Array, jax.Array | None]:
    """Draws Poisson(peak x) / peak + n, n ~ N(0, (read / 255)^2) (Foi et al. 2008, section II).

    The mean is x, the variance x / peak + (read / 255)^2; 1 / peak is the gain. Negative inputs are
    treated as 0.
    """
    key_shot, key_read = jax.random.split(key)
    image_HWC, _ = poisson.sample_image(key_shot, image_HWC, peak)
    return gaussian.sample_image(key_read, image_HWC, jnp.float32(options.read))


POISSON_GAUSSIAN = Corruption(
    name='poisson_gaussian',
    level='expected count of a white pixel',
    bounds=poisson.POISSON.bounds,
    sample_image=sample_image,
    statistics=('mean',),
    options=Options(),
    rectifies=True,
)
