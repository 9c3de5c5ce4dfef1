"""Motion blur along a random curved stroke.

H height, W width, C channels; T points of a stroke, K side of a kernel.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from n2n_jax.corruptions import draws
from n2n_jax.corruptions.base import Corruption
from n2n_jax.corruptions.convolution import weighted_sums

_LONGEST = 30  # pixels
_RADIUS = _LONGEST // 2 + 1  # pixels on each side: no point is farther from the center of gravity
_POINTS = 128
_TURNING = 1.0  # radians: standard deviation of the change of direction from end to end


def sample_image(
    key: jax.Array, image_HWC: jax.Array, length: jax.Array
) -> tuple[jax.Array, jax.Array | None]:
    """Convolves with a random stroke of this length in pixels; repeats edge pixels."""
    return weighted_sums(image_HWC, stroke(key, length)), None


def stroke(key: jax.Array, length: jax.Array) -> jax.Array:
    """Draws the path of a camera that shakes while it exposes: a kernel, (K, K), with sum 1.

    It moves at constant speed. Its direction is random at first, then turns at a rate that changes
    smoothly. The center of gravity is the center of the kernel, so images do not move.
    """
    key_direction, key_turns = jax.random.split(key)
    direction = draws.rounded(2 * math.pi * jax.random.uniform(key_direction))
    time_T = (np.arange(_POINTS, dtype=np.float32) + 0.5) / _POINTS
    bend, swing = _TURNING * jax.random.normal(key_turns, (2,))
    swings_T = np.sin(2 * math.pi * time_T)
    turned_T = draws.rounded(bend * time_T) + draws.rounded(swing * swings_T)
    angle_T = draws.rounded(direction + turned_T)
    steps_T2 = jnp.stack([jnp.sin(angle_T), jnp.cos(angle_T)], axis=1)
    # Sums are of whole numbers: those of floats depend on their order, and that on the batch size.
    path_T2 = jnp.round(2**16 * steps_T2).astype(jnp.int32).cumsum(axis=0)
    path_T2 = (_POINTS * path_T2 - path_T2.sum(axis=0, keepdims=True)).astype(jnp.float32)
    path_T2 = draws.rounded(length / (2**16 * _POINTS**2) * path_T2)
    # Each point is shared by the four pixels around it, in proportion to their closeness.
    offsets_K = jnp.arange(-_RADIUS, _RADIUS + 1)
    share_TK2 = jnp.maximum(1 - jnp.abs(path_T2[:, None] - offsets_K[None, :, None]), 0)
    share_TK2 = jnp.round(2**11 * share_TK2).astype(jnp.int32)
    kernel_KK = (share_TK2[:, :, None, 0] * share_TK2[:, None, :, 1]).sum(axis=0)
    return draws.rounded(kernel_KK.astype(jnp.float32) / kernel_KK.sum())


MOTION_BLUR = Corruption(
    name='motion_blur',
    level='length of the stroke in pixels',
    bounds=(0.0, float(_LONGEST)),
    sample_image=sample_image,
    statistics=(),  # no statistic of blurred captures is the clean image
    untouched=lambda length: float(length == 0),
    nonnegative=True,
    mixes=True,
)
