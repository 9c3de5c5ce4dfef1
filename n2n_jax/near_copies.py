"""Captures that are the same image saved again: their noise is the same.

N captures of a scene, H height, W width, C channels.
"""

import itertools

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
      differences_NN: see `n2n_jax.noise_model.mean_squares`.
    """
    num = len(captures_NHWC)
    pairs = list(itertools.combinations(range(num), 2))
    differences = np.array([differences_NN[pair] for pair in pairs])
    noise = [noise_by_itself(capture) for capture in captures_NHWC] if num > 2 else []
    alike = []
    for k, (i, j) in enumerate(pairs):
        if differences[k] == 0:
            alike.append((i, j))
        elif num > 2:
            usual = np.median(np.delete(differences, k))
            # Two captures with little noise among noisier ones differ little as well; but then
            # they look it.
            if differences[k] < _COPY * min(usual, 2 * noise[i], 2 * noise[j]):
                alike.append((i, j))
        elif _differ_by_rounding(captures_NHWC[i], captures_NHWC[j]):
            alike.append((i, j))
    return alike


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
