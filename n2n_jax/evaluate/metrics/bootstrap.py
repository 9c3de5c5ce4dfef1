"""Bootstrap intervals of a mean over images."""

import numpy as np


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
