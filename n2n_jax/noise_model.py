"""The noise of captures as a line: its variance over the signal.

N captures of a scene, H height, W width, C channels, B bins of the signal.
"""

import dataclasses
import itertools

import numpy as np
from scipy import ndimage

_WINDOW = 5  # pixels a side over which the signal is averaged to sort pixels by it
_MOST_CLIPPED = 0.01  # share of values at an end of the range above which a bin is left out
_FEWEST_BINS = 3


@dataclasses.dataclass(frozen=True)
class NoiseModel:
    """Variance of the noise as a line over the signal: var = gain * signal + read^2.

    Attributes:
      gain: of the photon noise, in units of the pixels.
      read: standard deviation at signal 0; negative where the line is below 0 there.
      r2: share of the variance between bins that the line explains; small also where the variance
        is the same everywhere, and there is nothing to explain.
      misfit: root mean square distance of the bins from the line, as a share of their variance.
      signal_B: mean signal of the bins, of about equally many pixels each.
      variance_B: of the noise of one capture.
      error_B: standard error of that, for noise that is independent between pixels.
      used_B: False where so many values are clipped that the line was fitted without the bin.
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
        """The line at signal 0."""
        return self.read * abs(self.read)

    def sigmas(self) -> tuple[float, float]:
        """Standard deviation of the noise in the darkest and in the brightest bin."""
        dark, bright = np.sqrt(self.variance_B[[0, -1]])
        return float(dark), float(bright)


def noise_model(captures_NHWC: np.ndarray, *, num_bins: int = 20) -> NoiseModel:
    """Fits Poisson-Gaussian noise (Foi et al. 2008) to the difference of two captures."""
    first, second = captures_NHWC[list(typical_pair(captures_NHWC))]
    a, b = first.astype(np.float64), second.astype(np.float64)
    mean = (a + b) / 2
    around = ndimage.uniform_filter(mean, (_WINDOW, _WINDOW, 1)).ravel()
    half_square = (((a - b) - (a - b).mean()) ** 2 / 2).ravel()
    low, high = captures_NHWC.min(), captures_NHWC.max()
    at_end = ((a == low) | (a == high) | (b == low) | (b == high)).ravel()
    num_bins = max(2, min(num_bins, len(around) // 50))
    bins = np.array_split(np.argsort(around, kind='stable'), num_bins)
    # Pixels are sorted by what is around them, but count with their own signal, or fine texture
    # would bend the line.
    signals = np.array([mean.ravel()[part].mean() for part in bins])
    variances = np.array([half_square[part].mean() for part in bins])
    errors = np.array([half_square[part].std() / np.sqrt(len(part)) for part in bins])
    used = np.array([at_end[part].mean() <= _MOST_CLIPPED for part in bins])
    if used.sum() < _FEWEST_BINS:
        used = np.ones(num_bins, bool)
    x, y = signals[used], variances[used]
    # The scatter of a mean of squares grows with the variance itself.
    weights = 1 / np.maximum(y, 1e-3 * y.max() or 1.0)
    if np.ptp(x) > 1e-9 * np.abs(x).max():
        centre = np.average(x, weights=weights**2)
        gain, at_centre = np.polyfit(x - centre, y, 1, w=weights)
        square = at_centre - gain * centre
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


def typical_pair(captures_NHWC: np.ndarray) -> tuple[int, int]:
    """Two captures that differ as much as two of the scene do; no copies, if any two are not."""
    pairs = list(itertools.combinations(range(len(captures_NHWC)), 2))
    differences = [mean_square(captures_NHWC[i], captures_NHWC[j]) for i, j in pairs]
    order = [k for k in np.argsort(differences, kind='stable') if differences[k] > 0]
    return pairs[order[(len(order) - 1) // 2]] if order else pairs[0]


def mean_square(a_HWC: np.ndarray, b_HWC: np.ndarray) -> float:
    """Of the difference of two captures, of any type."""
    return float(np.mean(np.square(a_HWC.astype(np.float64) - b_HWC)))
