"""The noise of captures as a line: its variance over the signal.

N captures of a scene, H height, W width, C channels, B bins of the signal, V values of some rows.
"""

import dataclasses
import itertools

import numpy as np
from scipy import ndimage

_WINDOW = 5  # pixels a side over which the signal is averaged to sort pixels by it
_MOST_CLIPPED = 0.01  # share of values at an end of the range above which a bin is left out
_FEWEST_BINS = 3
_AT_ONCE = 8192  # values of each capture


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


def noise_model(
    captures_NHWC: np.ndarray, *, num_bins: int = 20, pair: tuple[int, int] | None = None
) -> NoiseModel:
    """Fits Poisson-Gaussian noise (Foi et al. 2008) to the difference of two captures.

    Args:
      captures_NHWC: two or more.
      num_bins: of the signal, at most.
      pair: which two captures; None: those that differ as two of the scene usually do.
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
    """Two captures that differ as much as two of the scene do; no copies, if any two are not.

    Args:
      differences_NN: see `mean_squares`.
    """
    pairs = list(itertools.combinations(range(len(differences_NN)), 2))
    differences = [differences_NN[pair] for pair in pairs]
    order = [k for k in np.argsort(differences, kind='stable') if differences[k] > 0]
    return pairs[order[(len(order) - 1) // 2]] if order else pairs[0]


def mean_squares(captures_NHWC: np.ndarray) -> np.ndarray:
    """Mean squares of the differences of captures of any type, (N, N); 0 for copies alone.

    Rows are taken a few at a time, so that no more of them is converted at once, and all pairs are
    formed of what is in the processor's cache.
    """
    num, height = captures_NHWC.shape[:2]
    sums_NN = np.zeros((num, num))
    rows = max(1, _AT_ONCE // max(captures_NHWC[0, :1].size, 1))
    for top in range(0, height, rows):
        part_NV = captures_NHWC[:, top : top + rows].reshape(num, -1).astype(np.float64)
        for i in range(num - 1):
            left_NV = part_NV[i + 1 :] - part_NV[i]
            sums_NN[i, i + 1 :] += np.einsum('nv,nv->n', left_NV, left_NV)
    return (sums_NN + sums_NN.T) / max(captures_NHWC[0].size, 1)
