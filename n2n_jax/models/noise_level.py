"""The level of the noise of an image, which `model.noise_map` shows to the network.

B batch, H height, W width, C channels, N patches, S side and P pixels of a patch.

Zhang et al. 2018 (FFDNet) and 2021 (DRUNet): a network that is told the level denoises well over
all levels, and the level is a knob. Noise that depends on the signal has no single level; the root
of its mean square over the image stands for it.
"""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

# Difference of two second derivatives: 0 on planes and on straight edges along either axis.
_STENCIL = ((1, -2, 1), (-2, 4, -2), (1, -2, 1))
_GAIN = 6.0  # root of the sum of its squares
_MEDIAN_OF_NORMAL = 0.6744898  # of |x| for a standard normal x

_SIDE = 7  # of a patch, in pixels
_SMALLEST_SIDE = 24  # of an image with enough patches
_MOST_PATCHES = 60_000  # which are enough; larger images are looked at in places
_ROUNDS = 4  # of choosing patches of weak texture
_CONFIDENCE = 1 - 1e-6  # share of the patches of pure noise that count as weak


def rms(noise_BHWC: jax.Array) -> jax.Array:
    """Returns the level of known noise, (B,), in the range of images."""
    return jnp.sqrt(jnp.mean(jnp.square(noise_BHWC), axis=(1, 2, 3)))


def estimate(noisy_BHWC: jax.Array) -> jax.Array:
    """Estimates the level of noise that is independent from pixel to pixel, (B,).

    Liu, Tanaka and Okutomi 2013: of all directions in the space of patches of 7x7 pixels, the image
    has the least variance in one where there is hardly anything but noise, above all if only
    patches of weak texture are looked at. Found within 10 % on the built-in photographs, from 5 of
    255 on. Noise that neighbors share has directions without noise, so its level is found too low.

    Args:
      noisy_BHWC: images; of less than 24 pixels a side, the stencil of Immerkaer 1996 with the
        median of Donoho and Johnstone 1994 is used, which takes texture for noise; smaller than
        3x3 pixels, they get a level of 0.
    """
    batch, h, w, _ = noisy_BHWC.shape
    if min(h, w) < 3:
        return jnp.zeros(batch, jnp.float32)
    of_channel = _of_patches if min(h, w) >= _SMALLEST_SIDE else _of_stencil
    level_BC = jax.vmap(jax.vmap(of_channel, in_axes=-1, out_axes=-1))(noisy_BHWC)
    return jnp.sqrt(jnp.mean(jnp.square(level_BC), axis=-1))


def _of_stencil(noisy_HW: jax.Array) -> jax.Array:
    h, w = noisy_HW.shape
    response_hw = sum(
        (
            tap * noisy_HW[i : h - 2 + i, j : w - 2 + j]
            for i, row in enumerate(_STENCIL)
            for j, tap in enumerate(row)
        ),
        start=jnp.zeros((), jnp.float32),
    )
    return jnp.median(jnp.abs(response_hw)) / (_GAIN * _MEDIAN_OF_NORMAL)


def _of_patches(noisy_HW: jax.Array) -> jax.Array:
    rows, columns = (side - _SIDE + 1 for side in noisy_HW.shape)
    step = max(1, math.ceil(math.sqrt(rows * columns / _MOST_PATCHES)))
    centered_HW = noisy_HW - jnp.mean(noisy_HW)  # for the accuracy of the sums of products
    patches_SSN = jnp.stack(
        [
            jnp.stack(
                [
                    centered_HW[i : i + rows : step, j : j + columns : step].reshape(-1)
                    for j in range(_SIDE)
                ]
            )
            for i in range(_SIDE)
        ]
    )
    texture_N = _squares(patches_SSN[2:] - patches_SSN[:-2])
    texture_N += _squares(patches_SSN[:, 2:] - patches_SSN[:, :-2])
    patches_PN = patches_SSN.reshape(_SIDE**2, -1)
    variance, count = _least_variance(patches_PN, jnp.ones_like(texture_N))
    for _ in range(_ROUNDS):
        is_weak_N = (texture_N < variance * _weak_texture()).astype(jnp.float32)
        fewer = _least_variance(patches_PN, is_weak_N)
        enough = fewer[1] > 3 * _SIDE**2
        variance = jnp.where(enough, fewer[0], variance)
        count = jnp.where(enough, fewer[1], count)
    # Of that many patches of pure noise, the least variance is smaller (Marchenko and Pastur 1967).
    return jnp.sqrt(variance) / (1 - _SIDE / jnp.sqrt(count))


def _squares(difference: jax.Array) -> jax.Array:
    """Returns the sum of the squared slopes of each patch, (N,)."""
    return jnp.sum(jnp.square(difference / 2), axis=(0, 1))


def _least_variance(patches_PN: jax.Array, weight_N: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the variance of some patches in the direction where it is least, and their number."""
    count = jnp.maximum(jnp.sum(weight_N), 1)
    weighted_PN = patches_PN * weight_N[None]
    mean_P = jnp.sum(weighted_PN, axis=1) / count
    products_PP = jnp.matmul(weighted_PN, patches_PN.T, precision=jax.lax.Precision.HIGHEST)
    covariance_PP = products_PP / count - jnp.outer(mean_P, mean_P)
    return jnp.maximum(jnp.linalg.eigvalsh(covariance_PP)[0], 0), count


@functools.cache
def _weak_texture() -> float:
    """Returns how much texture hardly any patch of noise of variance 1 exceeds.

    The sum of squared slopes has about a gamma distribution (equation 12 of the paper).
    """
    slopes = []
    for i, j in itertools.product(range(_SIDE), range(_SIDE - 2)):
        for along in ((i, j), (j, i)):
            slope_SS = np.zeros((_SIDE, _SIDE))
            ahead = (i, j + 2) if along == (i, j) else (j + 2, i)
            slope_SS[along], slope_SS[ahead] = -0.5, 0.5
            slopes.append(slope_SS.ravel())
    form_PP = np.transpose(slopes) @ np.array(slopes)
    mean, variance = np.trace(form_PP), 2 * np.sum(np.square(form_PP))
    return float(special.gammaincinv(mean**2 / variance, _CONFIDENCE) * variance / mean)


def with_plane(noisy_BHWI: jax.Array, level_B: jax.Array) -> jax.Array:
    """Returns the images with a further channel, (B, H, W, I + 1), that holds the level."""
    plane_BHW1 = jnp.broadcast_to(level_B[:, None, None, None], (*noisy_BHWI.shape[:3], 1))
    return jnp.concatenate([noisy_BHWI, plane_BHW1], axis=-1)
