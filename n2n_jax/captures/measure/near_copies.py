"""Detects captures that are the same image saved again, with the same noise.

N captures of a scene, H height, W width, C channels.
"""

import numpy as np

_COPY = 0.1  # share of the noise variance below which two captures are copies
_FEWEST_LEVELS = 16  # integer levels, for a difference of one to count as rounding
_ROUNDING = 1e-4  # share of the range of floats that saving again may change


def near_copies(captures_NHWC: np.ndarray, differences_NN: np.ndarray) -> list[tuple[int, int]]:
    """Returns pairs of captures that are the same image, such as a TIFF and a JPEG made from it.

    A re-saved copy differs by far less than the noise of the capture itself and of the others. If
    there are only two captures, they are copies if nearly all values differ by rounding at most.

    Args:
      captures_NHWC: two or more captures.
      differences_NN: see `n2n_jax.captures.measure.noise_model.mean_squares`.
    """
    num = len(captures_NHWC)
    firsts, seconds = np.triu_indices(num, 1)
    differences = differences_NN[firsts, seconds]
    alike = differences == 0
    if num > 2:
        noise_N = np.array([single_capture_noise(capture) for capture in captures_NHWC])
        # Two captures with little noise among noisier ones differ little too, hence the comparison
        # with their own noise.
        usual = np.minimum(noise_N[firsts], noise_N[seconds]) * 2
        alike |= differences < _COPY * np.minimum(usual, _medians_of_others(differences))
    elif not alike.all():
        alike[0] = _differ_by_rounding(captures_NHWC[0], captures_NHWC[1])
    return [(int(i), int(j)) for i, j in zip(firsts[alike], seconds[alike], strict=True)]


def _medians_of_others(values: np.ndarray) -> np.ndarray:
    """Returns for each of two or more values the median of all others."""
    order = np.argsort(values)
    ranked, rank = values[order], np.empty(len(values), int)
    rank[order] = np.arange(len(values))
    # Without a value, all values ranked after it move down by one.
    low, high = (len(values) - 2) // 2, (len(values) - 1) // 2
    return (ranked[low + (rank <= low)] + ranked[high + (rank <= high)]) / 2


def single_capture_noise(capture_HWC: np.ndarray) -> float:
    """Estimates the noise variance of one capture from neighboring pixels.

    From the median (Donoho 1995) of 2x2 differences that vanish on slopes. Fine texture biases it
    upwards.
    """
    if min(capture_HWC.shape[:2]) < 2:
        return 0.0
    x = capture_HWC.astype(np.float64)
    corners = (x[1:, 1:] - x[1:, :-1] - x[:-1, 1:] + x[:-1, :-1]) / 2
    return float((np.median(np.abs(corners)) / 0.6745) ** 2)


def _differ_by_rounding(a_HWC: np.ndarray, b_HWC: np.ndarray) -> bool:
    difference = np.abs(a_HWC.astype(np.float64) - b_HWC)
    step = 1.0
    spread = float(a_HWC.max()) - float(a_HWC.min())  # np.ptp of integers may overflow
    if a_HWC.dtype.kind == 'f':
        step = _ROUNDING * spread
    elif spread < _FEWEST_LEVELS:  # counts of single photons, where a step of one is noise
        return False
    return bool(np.mean(difference <= step) > 0.999)
