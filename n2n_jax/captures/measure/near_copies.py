"""Captures that are the same image saved again: their noise is the same.

N captures of a scene, H height, W width, C channels.
"""

import numpy as np

_COPY = 0.1  # of the noise: two captures that differ by less in variance are one
_FEWEST_LEVELS = 16  # of integers, for a step of one to be no more than rounding
_ROUNDING = 1e-4  # of the range of floats: what saving again may change


def near_copies(captures_NHWC: np.ndarray, differences_NN: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of captures that are the same image, such as a TIFF file and a JPEG file made of it.

    A copy that was saved again differs by far less than the noise that the others, and the capture
    itself, are seen to have. Of two captures there are no others: they are copies if nearly all
    values differ by no more than rounding.

    Args:
      captures_NHWC: two or more.
      differences_NN: see `n2n_jax.captures.measure.noise_model.mean_squares`.
    """
    num = len(captures_NHWC)
    firsts, seconds = np.triu_indices(num, 1)
    differences = differences_NN[firsts, seconds]
    alike = differences == 0
    if num > 2:
        noise_N = np.array([noise_by_itself(capture) for capture in captures_NHWC])
        # Two captures with little noise among noisier ones differ little as well; but then they
        # look it.
        usual = np.minimum(noise_N[firsts], noise_N[seconds]) * 2
        alike |= differences < _COPY * np.minimum(usual, _medians_of_others(differences))
    elif not alike.all():
        alike[0] = _differ_by_rounding(captures_NHWC[0], captures_NHWC[1])
    return [(int(i), int(j)) for i, j in zip(firsts[alike], seconds[alike], strict=True)]


def _medians_of_others(values: np.ndarray) -> np.ndarray:
    """For each of two or more values the median of all others."""
    order = np.argsort(values)
    ranked, rank = values[order], np.empty(len(values), int)
    rank[order] = np.arange(len(values))
    # Of the others, those from the rank of what is left out on have moved down by one.
    low, high = (len(values) - 2) // 2, (len(values) - 1) // 2
    return (ranked[low + (rank <= low)] + ranked[high + (rank <= high)]) / 2


def noise_by_itself(capture_HWC: np.ndarray) -> float:
    """Variance of the noise by what neighbors disagree about; fine texture makes it larger.

    Of differences of 2x2 pixels that a slope leaves at 0, by their median (Donoho 1995).
    """
    if min(capture_HWC.shape[:2]) < 2:
        return 0.0
    x = capture_HWC.astype(np.float64)
    corners = (x[1:, 1:] - x[1:, :-1] - x[:-1, 1:] + x[:-1, :-1]) / 2
    return float((np.median(np.abs(corners)) / 0.6745) ** 2)


def _differ_by_rounding(a_HWC: np.ndarray, b_HWC: np.ndarray) -> bool:
    difference = np.abs(a_HWC.astype(np.float64) - b_HWC)
    step = 1.0
    spread = float(a_HWC.max()) - float(a_HWC.min())  # of integers np.ptp would overflow
    if a_HWC.dtype.kind == 'f':
        step = _ROUNDING * spread
    elif spread < _FEWEST_LEVELS:  # counts of single photons, which are noise
        return False
    return bool(np.mean(difference <= step) > 0.999)
