"""The level of the noise of an image, which `model.noise_map` shows to the network.

B batch, H height, W width, C channels.

Zhang et al. 2018 (FFDNet) and 2021 (DRUNet): a network that is told the level denoises well over
all levels, and the level is a knob. Noise that depends on the signal has no single level; the root
of its mean square over the image stands for it.
"""

import jax
import jax.numpy as jnp

# Difference of two second derivatives: 0 on planes and on straight edges along either axis.
_STENCIL = ((1, -2, 1), (-2, 4, -2), (1, -2, 1))
_GAIN = 6.0  # root of the sum of its squares
_MEDIAN_OF_NORMAL = 0.6744898  # of |x| for a standard normal x


def rms(noise_BHWC: jax.Array) -> jax.Array:
    """Returns the level of known noise, (B,), in the range of images."""
    return jnp.sqrt(jnp.mean(jnp.square(noise_BHWC), axis=(1, 2, 3)))


def estimate(noisy_BHWC: jax.Array) -> jax.Array:
    """Estimates the level of noise that is independent from pixel to pixel, (B,).

    The stencil of Immerkaer 1996 with the median of Donoho and Johnstone 1994, which edges and
    texture hardly move; both make it larger, by about one gray level of 255 on photographs.

    Args:
      noisy_BHWC: at least 3x3 pixels; smaller images get a level of 0.
    """
    batch, h, w, _ = noisy_BHWC.shape
    if min(h, w) < 3:
        return jnp.zeros(batch, jnp.float32)
    zero = jnp.zeros((), jnp.float32)
    response_BhwC = sum(
        (
            tap * noisy_BHWC[:, i : h - 2 + i, j : w - 2 + j]
            for i, row in enumerate(_STENCIL)
            for j, tap in enumerate(row)
        ),
        start=zero,
    )
    median_BC = jnp.median(jnp.abs(response_BhwC), axis=(1, 2))
    level_BC = median_BC / (_GAIN * _MEDIAN_OF_NORMAL)
    return jnp.sqrt(jnp.mean(jnp.square(level_BC), axis=-1))


def with_plane(noisy_BHWI: jax.Array, level_B: jax.Array) -> jax.Array:
    """Returns the images with a further channel, (B, H, W, I + 1), that holds the level."""
    plane_BHW1 = jnp.broadcast_to(level_B[:, None, None, None], (*noisy_BHWI.shape[:3], 1))
    return jnp.concatenate([noisy_BHWI, plane_BHW1], axis=-1)
