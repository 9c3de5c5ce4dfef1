"""Structural similarity.

B batch, H height, W width, C channels. Images are float32; the peak is 1.
"""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from n2n_jax.evaluate.metrics.base import Metric

_SSIM_RADIUS = 5
SSIM_WINDOW = 2 * _SSIM_RADIUS + 1  # side in pixels
_SSIM_SIGMA = 1.5


def _window_means(image_BHWC: jax.Array) -> jax.Array:
    """Averages under the Gaussian window, at every position where it fits."""
    offsets = np.arange(-_SSIM_RADIUS, _SSIM_RADIUS + 1)
    weights = np.exp(-0.5 * (offsets / _SSIM_SIGMA) ** 2)
    weights = (weights / weights.sum()).astype(np.float32)
    for axis in (1, 2):
        n = image_BHWC.shape[axis] - 2 * _SSIM_RADIUS
        image_BHWC = sum(
            weight * jax.lax.slice_in_dim(image_BHWC, i, i + n, axis=axis)
            for i, weight in enumerate(weights)
        )
    return image_BHWC


def ssim(image_BHWC: jax.Array, clean_BHWC: jax.Array) -> jax.Array:
    """Computes the structural similarity of each image (Wang et al. 2004), (B,).

    Gaussian window 11x11, sigma 1.5, data range 1, K1 = 0.01, K2 = 0.03, weighted (not sample)
    covariances, mean over the positions where the window fits and over channels: scikit-image's
    `structural_similarity(gaussian_weights=True, use_sample_covariance=False)`. NaN where a side is
    shorter than the window.
    """
    b, h, w, _ = image_BHWC.shape
    if min(h, w) < SSIM_WINDOW:
        return jnp.full(b, jnp.nan)
    return jnp.mean(ssim_map(image_BHWC, clean_BHWC), axis=(1, 2, 3))


def ssim_map(image_BHWC: jax.Array, clean_BHWC: jax.Array) -> jax.Array:
    """Computes SSIM at each position where the window fits, (B, H - 10, W - 10, C)."""
    x, y = image_BHWC, clean_BHWC
    # Together, which takes half the time of one after another.
    means = jnp.split(_window_means(jnp.concatenate([x, y, x**2, y**2, x * y])), 5)
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = means
    var_x, var_y = mean_xx - mean_x**2, mean_yy - mean_y**2
    covariance = mean_xy - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    return ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    )


@dataclasses.dataclass(frozen=True)
class Ssim(Metric):
    """The structural similarity of the output rounded to 8 bits."""

    name: ClassVar[str] = 'ssim'
    title: ClassVar[str] = 'SSIM'
    smallest_side: ClassVar[int] = SSIM_WINDOW

    def __call__(self, image_BHWC: jax.Array, clean_BHWC: jax.Array, arrays: Any) -> jax.Array:
        """See `Metric`."""
        del arrays
        return ssim(image_BHWC, clean_BHWC)
