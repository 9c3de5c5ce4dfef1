"""Poisson-Gaussian noise model: noise variance as a linear function of the signal.

N captures of a scene, H height, W width, C channels, B signal bins, V values of a block of rows.
"""

import dataclasses
import itertools

import numpy as np
from scipy import ndimage

_WINDOW = 5  # pixels a side of the mean by which pixels are sorted into bins
_MOST_CLIPPED = 0.01  # share of values at an end of the range above which a bin is excluded
_FEWEST_BINS = 3
_VALUES_AT_ONCE = 8192  # per capture


@dataclasses.dataclass(frozen=True)
class NoiseModel:
    """Noise variance as a line over the signal: var = gain * signal + read^2.

    Attributes:
      gain: slope of the photon noise, in pixel units.
      read: standard deviation at signal 0; negative if the line is below 0 there.
      r2: share of the variance between bins that the line explains; also small if the variance is
        the same in all bins.
      misfit: RMS distance of the bins from the line, relative to their variance.
      signal_B: mean signal of bins with about equally many pixels.
      variance_B: noise variance of one capture.
      error_B: its standard error, for noise that is independent between pixels.
      used_B: False where the bin was excluded from the fit because too many values are clipped.
    """

    gain: float
    read: float
    r2: float
    misfit: float
    signal_B: np.ndarray
    variance_B: np.ndarray
    error_B: np.ndarray
    used_B: np.ndarray

    @property
    def square(self) -> float:
        """Value of the line at signal 0."""
        return self.read * abs(self.read)

    def sigmas(self) -> tuple[float, float]:
        """Returns the standard deviation of the noise in the darkest and the brightest bin."""
        dark, bright = np.sqrt(self.variance_B[[0, -1]])
        return float(dark), float(bright)


def noise_model(
    captures_NHWC: np.ndarray, *, num_bins: int = 20, pair: tuple[int, int] | None = None
) -> NoiseModel:
    """Fits Poisson-Gaussian noise (Foi et al. 2008) to the difference of two captures.

    Args:
      captures_NHWC: two or more captures.
      num_bins: largest number of signal bins.
      pair: which two captures; None: the `typical_pair`.
    """
    i, j = typical_pair(mean_squares(captures_NHWC)) if pair is None else pair
    a, b = captures_NHWC[i].astype(np.float64), captures_NHWC[j].astype(np.float64)
    mean = (a + b) / 2
    around = ndimage.uniform_filter(mean, (_WINDOW, _WINDOW, 1)).ravel()
    half_square = (((a - b) - (a - b).mean()) ** 2 / 2).ravel()
    low, high = captures_NHWC.min(), captures_NHWC.max()
    at_end = ((a == low) | (a == high) | (b == low) | (b == high)).ravel()
    num_bins = max(2, min(num_bins, len(around) // 50))
    bins = np.array_split(np.argsort(around, kind='stable'), num_bins)
    # Pixels are sorted by their local mean, but averaged by their own signal: otherwise fine
    # texture would bend the line.
    signals = np.array([mean.ravel()[part].mean() for part in bins])
    variances = np.array([half_square[part].mean() for part in bins])
    errors = np.array([half_square[part].std() / np.sqrt(len(part)) for part in bins])
    used = np.array([at_end[part].mean() <= _MOST_CLIPPED for part in bins])
    if used.sum() < _FEWEST_BINS:
        used = np.ones(num_bins, bool)
    x, y = signals[used], variances[used]
    # The standard error of a variance is proportional to the variance.
    weights = 1 / np.maximum(y, 1e-3 * y.max() or 1.0)
    if np.ptp(x) > 1e-9 * np.abs(x).max():
        center = np.average(x, weights=weights**2)
        gain, at_center = np.polyfit(x - center, y, 1, w=weights)
        square = at_center - gain * center
    else:
        gain, square = 0.0, np.average(y, weights=weights**2)
    left = np.average((y - gain * x - square) ** 2, weights=weights**2)
    total = np.average((y - np.average(y, weights=weights**2)) ** 2, weights=weights**2)
    return NoiseModel(
        gain=float(gain),
        read=float(np.sign(square) * np.sqrt(abs(square))),
        r2=float(1 - left / total) if total > 0 else 0.0,
        misfit=float(np.sqrt(np.mean((weights * (y - gain * x - square)) ** 2))),
        signal_B=signals,
        variance_B=variances,
        error_B=errors,
        used_B=used,
    )


def typical_pair(differences_NN: np.ndarray) -> tuple[int, int]:
    """Returns the pair with the median difference, copies excluded if possible.

    Args:
      differences_NN: see `mean_squares`.
    """
    pairs = list(itertools.combinations(range(len(differences_NN)), 2))
    differences = [differences_NN[pair] for pair in pairs]
    order = [k for k in np.argsort(differences, kind='stable') if differences[k] > 0]
    return pairs[order[(len(order) - 1) // 2]] if order else pairs[0]


def mean_squares(captures_NHWC: np.ndarray) -> np.ndarray:
    """Returns mean squared differences between captures of any type, (N, N); 0 only for copies.

    Processes a few rows at a time, so that the float64 copy is small and stays in the CPU cache for
    all pairs.
    """
    num, height = captures_NHWC.shape[:2]
    sums_NN = np.zeros((num, num))
    rows = max(1, _VALUES_AT_ONCE // max(captures_NHWC[0, :1].size, 1))
    for top in range(0, height, rows):
        part_NV = captures_NHWC[:, top : top + rows].reshape(num, -1).astype(np.float64)
        for i in range(num - 1):
            difference_NV = part_NV[i + 1 :] - part_NV[i]
            sums_NN[i, i + 1 :] += np.einsum('nv,nv->n', difference_NV, difference_NV)
    return (sums_NN + sums_NN.T) / max(captures_NHWC[0].size, 1)
