"""Which values have no missing contribution, after corruptions that mix values.

H height, W width, C channels.
"""

import jax
import jax.numpy as jnp


def observed_around(mask_HWC: jax.Array) -> jax.Array:
    """Returns 1 where all channels of a pixel and of the eight pixels around it are observed."""
    window = (3, 3, mask_HWC.shape[2])
    least_HW1 = jax.lax.reduce_window(
        mask_HWC, jnp.inf, jax.lax.min, window, (1, 1, 1), ((1, 1), (1, 1), (0, 0))
    )
    return jnp.broadcast_to(least_HW1, mask_HWC.shape)


def observed_in_blocks(mask_HWC: jax.Array, side: int) -> jax.Array:
    """Returns 1 where all of a block of side x side pixels, in all channels, is observed."""
    h, w, _ = mask_HWC.shape
    padded_HWC = jnp.pad(mask_HWC, ((0, -h % side), (0, -w % side), (0, 0)), mode='edge')
    rows, columns = padded_HWC.shape[0] // side, padded_HWC.shape[1] // side
    least = padded_HWC.reshape(rows, side, columns, side, -1).min(axis=(1, 3, 4), keepdims=True)
    spread = jnp.broadcast_to(least, (rows, side, columns, side, mask_HWC.shape[2]))
    return spread.reshape(padded_HWC.shape)[:h, :w]
