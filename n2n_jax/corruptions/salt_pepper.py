"""Salt-and-pepper noise: pixels that are black or white.

H height, W width, C channels.
"""

import dataclasses
from typing import Annotated

import jax
import jax.numpy as jnp

from n2n_jax.corruptions import draws
from n2n_jax.corruptions.base import Corruption
from n2n_jax.runtime.config_field import Bounds


@dataclasses.dataclass(frozen=True)
class Options:
    """Attributes: white, the share of the replaced pixels that are white."""

    white: Annotated[float, Bounds(0, 1)] = 0.5


def sample_image(
    key: jax.Array, image_HWC: jax.Array, p: jax.Array, options: Options
) -> tuple[jax.Array, jax.Array | None]:
    """Makes each pixel white with probability p white, and black with probability p (1 - white)."""
    h, w, _ = image_HWC.shape
    uniform_HW1 = draws.uniform(key, h * w).reshape(h, w, 1)
    image_HWC = jnp.where(uniform_HW1 < p, 0.0, image_HWC)
    return jnp.where(uniform_HW1 < p * options.white, 1.0, image_HWC), None


SALT_PEPPER = Corruption(
    name='salt_pepper',
    level='probability that a pixel becomes black or white',
    bounds=(0.0, 1.0),
    sample_image=sample_image,
    statistics=('median', 'mode'),
    options=Options(),
    untouched=lambda p, options: 1.0 - p,
    at_one_end=lambda p, options: p * max(options.white, 1.0 - options.white),
    nonnegative=True,
)
