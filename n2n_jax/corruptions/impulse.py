"""Random-valued impulse noise: whole pixels replaced by random colors.

H height, W width, C channels.
"""

import jax
import jax.numpy as jnp

from n2n_jax.corruptions import draws
from n2n_jax.corruptions.base import Corruption


def sample_image(
    key: jax.Array, image_HWC: jax.Array, p: jax.Array
) -> tuple[jax.Array, jax.Array | None]:
    """Replaces each pixel, with probability p, by a color from U[0, 1]^C.

    Lehtinen et al. 2018, section 3.2. The clean value is the mode of captures, below p = 0.5 also
    their median, but not their mean.
    """
    key_where, key_color = jax.random.split(key)
    h, w, _ = image_HWC.shape
    replaced_HW1 = draws.uniform(key_where, h * w).reshape(h, w, 1) < p
    color_HWC = draws.uniform(key_color, image_HWC.size).reshape(image_HWC.shape)
    return jnp.where(replaced_HW1, color_HWC, image_HWC), None


IMPULSE = Corruption(
    name='impulse',
    level='probability that a pixel is replaced by a random color',
    bounds=(0.0, 1.0),
    sample_image=sample_image,
    statistics=('mode', 'median'),
    untouched=lambda p: 1.0 - p,
    nonnegative=True,
)
