"""Sums of neighbors, weighted by a kernel that is drawn for each image.

H height, W width, C channels; K, L height and width of a kernel.
"""

import jax
import jax.numpy as jnp


def weighted_sums(image_HWC: jax.Array, kernel_KL: jax.Array) -> jax.Array:
    """Adds up the neighbors of each pixel, weighted by a kernel; repeats edge pixels.

    The weight at ((K - 1) // 2, (L - 1) // 2) is that of the pixel itself.
    """
    h, w, _ = image_HWC.shape
    rows, columns = kernel_KL.shape
    padding = [((side - 1) // 2, side // 2) for side in (rows, columns)]
    padded = jnp.pad(image_HWC, (*padding, (0, 0)), mode='edge')

    def add_row(i: jax.Array, sum_HWC: jax.Array) -> jax.Array:
        strip = jax.lax.dynamic_slice_in_dim(padded, i, h, axis=0)
        return sum_HWC + sum(
            (
                kernel_KL[i, j] * jax.lax.slice_in_dim(strip, j, j + w, axis=1)
                for j in range(columns)
            ),
            start=jnp.zeros((), image_HWC.dtype),
        )

    return jax.lax.fori_loop(0, rows, add_row, jnp.zeros_like(image_HWC))
