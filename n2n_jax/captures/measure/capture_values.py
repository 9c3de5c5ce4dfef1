"""Value range and noise level of a set of captures.

N captures of a scene, H height, W width, C channels, P values.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

_TAIL_PERCENT = 0.1  # of the values beyond each end of the range
_MIDDLE_PERCENT = 1.0  # of the values beyond each end of the middle, which few stars must not set
_MOST_VALUES = 1 << 22  # per channel, for percentiles
_BLOCK = 16  # pixels a side, for standard deviations
_FEWEST = 4  # measured pixels in a block
_MOST_PAIRS = 4  # per scene
_FLAT_PERCENT = 25  # of the blocks of a single capture assumed to hold little but noise


@dataclasses.dataclass(frozen=True)
class Values:
    """Value statistics per channel, in the units of the files.

    Attributes:
      low: 0.1th percentile.
      high: 99.9th percentile.
      middle: 1st and 99th percentile.
      noise: standard deviation of the noise; 0 if captures do not differ.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    middle: tuple[tuple[float, float], ...]
    noise: tuple[float, ...]


def measure(scenes: Sequence[np.ndarray], measured: Sequence[np.ndarray | None]) -> Values:
    """Measures value range and noise over all scenes, which must share one type.

    Args:
      scenes: (N, H, W, C) each.
      measured: per scene, True where its values were measured, (H, W, C); None: everywhere.
    """
    low, high, middle, noise = [], [], [], []
    for channel in range(scenes[0].shape[-1]):
        parts = [
            (x[..., channel], None if mask is None else mask[..., channel])
            for x, mask in zip(scenes, measured, strict=True)
        ]
        values_P = _sample(parts)
        least, most = np.percentile(values_P, [_TAIL_PERCENT, 100 - _TAIL_PERCENT])
        if least == most:  # almost only background
            least, most = values_P.min(), values_P.max()
        low.append(float(least))
        high.append(float(most))
        ends = np.percentile(values_P, [_MIDDLE_PERCENT, 100 - _MIDDLE_PERCENT])
        middle.append(
            (float(ends[0]), float(ends[1])) if ends[0] < ends[1] else (low[-1], high[-1])
        )
        noise.append(_noise(parts))
    return Values(tuple(low), tuple(high), tuple(middle), tuple(noise))


_Part = tuple[np.ndarray, np.ndarray | None]  # captures of one channel (N, H, W), mask (H, W)


def _sample(parts: Sequence[_Part]) -> np.ndarray:
    """Returns values of all scenes, subsampled for large sets."""
    total = sum(x_NHW.size for x_NHW, _ in parts)
    step = -(-total // _MOST_VALUES)
    step += step % 2 == 0  # odd, so as not to pick the same columns in images of even width
    found = []
    for x_NHW, mask_HW in parts:
        values_P = x_NHW.reshape(-1)[::step]
        if mask_HW is not None:
            mask_NHW = np.broadcast_to(mask_HW, x_NHW.shape)
            values_P = values_P[mask_NHW.reshape(-1)[::step]]
        found.append(values_P.astype(np.float64))
    values_P = np.concatenate(found)
    return values_P if values_P.size else np.zeros(1)


def _noise(parts: Sequence[_Part]) -> float:
    """Returns the standard deviation of differences within blocks, over sqrt(2), averaged.

    Standard deviations are averaged rather than variances, so that the strong photon noise of a few
    stars does not dominate; within blocks, so that slow changes of the light do not count.
    """
    noise_per_scene = [
        _noise_of_single(*part) if len(part[0]) == 1 else _noise_of_captures(*part)
        for part in parts
    ]
    return float(np.mean(noise_per_scene))


def _noise_of_captures(x_NHW: np.ndarray, mask_HW: np.ndarray | None) -> float:
    pairs = range(min(len(x_NHW) - 1, _MOST_PAIRS))
    found = [_block_deviations(x_NHW[k], x_NHW[k + 1], mask_HW) for k in pairs]
    blocks_P = np.concatenate(found)
    return float(blocks_P.mean()) / np.sqrt(2) if blocks_P.size else 0.0


def _noise_of_single(x_1HW: np.ndarray, mask_HW: np.ndarray | None) -> float:
    """Returns the noise of a single capture: in flat areas neighbors differ by noise only."""
    h, w = (side // 2 * 2 for side in x_1HW.shape[1:])
    left_HW, right_HW = x_1HW[0, :h, 0:w:2], x_1HW[0, :h, 1:w:2]
    if mask_HW is not None:
        mask_HW = mask_HW[:h, 0:w:2] & mask_HW[:h, 1:w:2]
    blocks_P = _block_deviations(left_HW, right_HW, mask_HW)
    if not blocks_P.size:
        return 0.0
    flat = float(np.percentile(blocks_P, _FLAT_PERCENT)) or float(blocks_P.mean())
    return flat / np.sqrt(2)


def _block_deviations(
    first_HW: np.ndarray, second_HW: np.ndarray, mask_HW: np.ndarray | None
) -> np.ndarray:
    """Returns the standard deviation of the difference in each block with measured values, (P,)."""
    found = []
    height, width = first_HW.shape
    columns = np.arange(0, width, _BLOCK)
    # One row of blocks at a time, to bound memory.
    for top in range(0, height, _BLOCK):
        rows = slice(top, min(top + _BLOCK, height))
        d = first_HW[rows].astype(np.float64) - second_HW[rows]
        counted = np.ones(d.shape) if mask_HW is None else mask_HW[rows].astype(np.float64)
        d = np.where(counted > 0, d, 0)
        count, total, squares = (
            np.add.reduceat(part.sum(axis=0), columns) for part in (counted, d, d**2)
        )
        used = count >= _FEWEST
        count, total, squares = count[used], total[used], squares[used]
        found.append(np.sqrt(np.maximum(squares - total**2 / count, 0) / (count - 1)))
    return np.concatenate(found)
