"""Image quality metrics against a clean image, and bootstrap intervals of their mean.

B batch, H height, W width, C channels. Images are float32; the peak is 1. All metrics are per
image: average them over images (mean of dB, not dB of the mean error).
"""

import jax
import jax.numpy as jnp
import numpy as np

_SSIM_RADIUS = 5
SSIM_WINDOW = 2 * _SSIM_RADIUS + 1  # side in pixels
_SSIM_SIGMA = 1.5


def round_to_uint8(image: jax.Array) -> jax.Array:
    """Clamps to [0, 1] and rounds half up to 256 levels, as most published tables do."""
    return jnp.floor(jnp.clip(255.0 * image + 0.5, 0.0, 255.0)) / 255.0


def mse(image_BHWC: jax.Array, clean_BHWC: jax.Array) -> jax.Array:
    """Computes the mean squared error of each image over all its values, (B,)."""
    return jnp.mean(jnp.square(image_BHWC - clean_BHWC), axis=(1, 2, 3))


def psnr(image_BHWC: jax.Array, clean_BHWC: jax.Array) -> jax.Array:
    """Computes the peak signal-to-noise ratio of each image in dB, (B,); inf for equal images."""
    return -10.0 * jnp.log10(mse(image_BHWC, clean_BHWC))


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
    mean_x, mean_y = _window_means(image_BHWC), _window_means(clean_BHWC)
    var_x = _window_means(image_BHWC**2) - mean_x**2
    var_y = _window_means(clean_BHWC**2) - mean_y**2
    covariance = _window_means(image_BHWC * clean_BHWC) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    return ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    )


def bootstrap_interval(
    values: np.ndarray, *, share: float = 0.95, num_draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Computes the percentile bootstrap interval of the mean of `values` (one per image).

    An end is infinite if that quantile of the resampled means is: the PSNR of an exact image is
    infinite.
    """
    values = np.asarray(values, np.float64)
    rows = np.random.default_rng(seed).integers(len(values), size=(num_draws, len(values)))
    means = values[rows].mean(axis=1)
    ends = (1 - share) / 2, (1 + share) / 2
    if np.isfinite(means).all():
        low, high = np.quantile(means, ends)
    else:  # interpolating with an infinite mean would give NaN
        low, high = np.quantile(means, ends, method='nearest')
    return float(low), float(high)
