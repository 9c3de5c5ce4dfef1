"""Samples regions of large scenes, to bound the cost of measurements.

N captures of a scene, H height, W width, C channels.
"""

from collections.abc import Sequence

import numpy as np

REGION = 512  # pixels a side
_GRID = 3  # regions across and down


def is_sampled(captures_NHWC: np.ndarray) -> bool:
    """Returns whether a scene is so large that only regions of it are measured."""
    _, h, w, _ = captures_NHWC.shape
    return h * w > 2 * (_GRID * REGION) ** 2


def regions(captures_NHWC: np.ndarray) -> list[np.ndarray]:
    """Returns views: the scene, or if it is large, up to 3x3 regions of up to 512x512 pixels."""
    if not is_sampled(captures_NHWC):
        return [captures_NHWC]
    _, h, w, _ = captures_NHWC.shape
    rows, columns = _spread(h), _spread(w)
    return [
        captures_NHWC[:, top : top + REGION, left : left + REGION]
        for top in rows
        for left in columns
    ]


def _spread(length: int) -> Sequence[int]:
    """Returns where regions start along a side: evenly spaced; only one for a narrow strip."""
    count = min(_GRID, max(1, length // REGION))
    centers = (np.arange(count) + 0.5) * length / count
    return [max(0, round(float(center) - REGION / 2)) for center in centers]


def sample(captures_NHWC: np.ndarray) -> np.ndarray:
    """Returns the regions side by side as captures, for statistics that seams do not disturb."""
    parts = regions(captures_NHWC)
    return captures_NHWC if len(parts) == 1 else np.concatenate(parts, axis=2)
