"""A bounded part of a scene to measure on, and how certain a measurement over blocks is.

N captures of a scene, R regions, H height, W width, C channels; h and w of a region; B blocks.
"""

from collections.abc import Sequence

import numpy as np

REGION = 512  # pixels a side of a region of a scene too large to be looked at as a whole
_GRID = 3  # regions across and down


def is_sampled(captures_NHWC: np.ndarray) -> bool:
    """Whether the scene is so large that only regions of it are looked at."""
    _, h, w, _ = captures_NHWC.shape
    return h * w > 2 * (_GRID * REGION) ** 2


def regions(captures_NHWC: np.ndarray) -> list[np.ndarray]:
    """The scene, or a grid of 3x3 regions of 512x512 pixels or so of a large one; views."""
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
    """Where regions start along a side: evenly, away from the ends; one for a narrow strip."""
    count = min(_GRID, max(1, length // REGION))
    centres = (np.arange(count) + 0.5) * length / count
    return [max(0, round(float(centre) - REGION / 2)) for centre in centres]


def sample(captures_NHWC: np.ndarray) -> np.ndarray:
    """The regions side by side, as captures; for statistics that a seam does not disturb."""
    parts = regions(captures_NHWC)
    return captures_NHWC if len(parts) == 1 else np.concatenate(parts, axis=2)


def block_side(height: int, width: int) -> int:
    """Pixels a side of blocks: many, but each larger than noise is correlated."""
    return int(np.clip(min(height, width) // 6, 6, 40))


def block_sums(map_HW: np.ndarray, side: int) -> np.ndarray:
    """Sums over blocks of a map (..., H, W) -> (..., B); a last narrow row joins the one before."""
    h, w = map_HW.shape[-2:]
    rows = np.arange(max(1, h // side)) * side
    columns = np.arange(max(1, w // side)) * side
    sums = np.add.reduceat(map_HW, rows, axis=-2, dtype=np.float64)
    sums = np.add.reduceat(sums, columns, axis=-1)
    return sums.reshape(*map_HW.shape[:-2], -1)


def ratio(above_B: np.ndarray, below_B: np.ndarray) -> tuple[float, float]:
    """A ratio of sums over blocks, and its standard error from how the blocks scatter.

    The linearised standard error (Cochran, Sampling Techniques, section 6.4); it holds whatever
    the noise is, as long as blocks are independent.

    Returns:
      The ratio and its standard error; nan and infinity if the denominator is 0.
    """
    total = float(below_B.sum())
    if total == 0:
        return float('nan'), float('inf')
    value = float(above_B.sum()) / total
    left_B = above_B - value * below_B
    count = effective_count(below_B)
    if count <= 1:
        return value, float('inf')
    scatter = float(np.sqrt((left_B**2).sum() * count / (count - 1)))
    return value, scatter / abs(total)


def effective_count(weights_B: np.ndarray) -> float:
    """How many blocks as good as equal ones there are: (sum)^2 / sum of squares."""
    squares = float((weights_B**2).sum())
    return float(weights_B.sum()) ** 2 / squares if squares > 0 else 0.0
