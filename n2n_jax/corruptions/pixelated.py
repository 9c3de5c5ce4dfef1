"""Pixelation: square blocks that all show one of their pixels.

H height, W width, C channels.
"""

import jax
import jax.numpy as jnp

from n2n_jax.corruptions import draws
from n2n_jax.corruptions.base import Corruption

_MOST = 32  # pixels along the side of a block


def sample_image(
    key: jax.Array, image_HWC: jax.Array, side: jax.Array
) -> tuple[jax.Array, jax.Array | None]:
    """Samples one random pixel of each block, as in a reduction without filter, and enlarges it.

    The grid of blocks starts at a random pixel. The mean of many captures is blurred. The images of
    the course EE-559 at EPFL are known as "downsampled, pixelated"; how they were made is not.
    """
    side = jnp.round(side)
    key_grid, key_pixel = jax.random.split(key)
    h, w, _ = image_HWC.shape
    start_2 = (side * draws.uniform(key_grid, 2)).astype(jnp.int32)
    shift_HW2 = side * draws.uniform(key_pixel, h * w * 2).reshape(h, w, 2)
    side = side.astype(jnp.int32)
    block_H, block_W = (
        (jnp.arange(n) + start) // side for n, start in zip((h, w), start_2, strict=True)
    )
    shift_HW2 = shift_HW2.astype(jnp.int32)[block_H[:, None], block_W[None]]
    # Blocks at the border are cut, and repeat the pixels there.
    y_HW = block_H[:, None] * side - start_2[0] + shift_HW2[..., 0]
    x_HW = block_W[None] * side - start_2[1] + shift_HW2[..., 1]
    return image_HWC[jnp.clip(y_HW, 0, h - 1), jnp.clip(x_HW, 0, w - 1)], None


PIXELATED = Corruption(
    name='pixelated',
    level='side of a block in pixels',
    bounds=(1.0, float(_MOST)),
    sample_image=sample_image,
    statistics=(),  # no statistic of pixelated captures is the clean image
    untouched=lambda side: float(round(side) == 1),
    nonnegative=True,
    mixes=True,
)
