"""Fixed-pattern noise: offsets of a sensor's pixels, which are the same in every capture.

It is what Noise2Noise cannot remove. Input and target share the pattern, so their noise is not
independent, and the mean of a scene's captures still shows it.

H height, W width, C channels.
"""

import dataclasses
import math
from typing import Annotated

import jax
import jax.numpy as jnp

from n2n_jax.corruptions import draws
from n2n_jax.corruptions.base import Corruption
from n2n_jax.runtime.config_field import Bounds


@dataclasses.dataclass(frozen=True)
class Options:
    """Attributes: sensor, a number from which its pattern is drawn."""

    sensor: Annotated[int, Bounds(0, 2**31 - 1)] = 0


def sample_image(
    key: jax.Array, image_HWC: jax.Array, sigma: jax.Array, options: Options
) -> tuple[jax.Array, jax.Array | None]:
    """Adds n ~ N(0, (sigma / 255)^2) per value, the same n for every key.

    Images of different sizes show the same sensor from its first pixel on. What is drawn is taken
    for all that the sensor sees: in training on fresh noise that is the crop.
    """
    del key  # the pattern depends on the sensor alone
    h, w, c = image_HWC.shape
    keys_H = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(options.sensor), jnp.arange(h))
    # A generator's first numbers are the same however many are drawn.
    pattern = draws.rounded(jax.vmap(lambda key_row: draws.normal(key_row, w * c))(keys_H))
    return image_HWC + draws.rounded(sigma / 255.0 * pattern.reshape(image_HWC.shape)), None


FIXED_PATTERN = Corruption(
    name='fixed_pattern',
    level='standard deviation of the pattern in 8-bit units',
    bounds=(0.0, math.inf),
    sample_image=sample_image,
    statistics=(),  # over many captures of a value, all statistics are off by the pattern
    options=Options(),
    untouched=lambda sigma, options: float(sigma == 0),
)
