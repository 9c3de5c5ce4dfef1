"""The extent of the values of captures and the noise in them, told from all captures.

N captures of a scene, H height, W width, C channels, P values.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

_TAIL_PERCENT = 0.1  # of the values that may lie outside the extent
_MIDDLE_PERCENT = 1.0  # outside the middle, which a few stars or beads must not set
_MOST_VALUES = 1 << 22  # of a channel that percentiles are taken of
_BLOCK = 16  # pixels a side, over which the standard deviation is taken
_FEWEST = 4  # measured pixels of a block
_MOST_PAIRS = 4  # of a scene
_FLAT_PERCENT = 25  # of the blocks of a single capture that hold little but noise


@dataclasses.dataclass(frozen=True)
class Values:
    """Of each channel, in the units of the files.

    Attributes:
      low: that a tenth of a percent of the values lie below.
      high: that as many lie above.
      middle: ends of what all but a percent at either side lie between.
      noise: standard deviation; 0 where captures do not differ.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    middle: tuple[tuple[float, float], ...]
    noise: tuple[float, ...]


def measure(scenes: Sequence[np.ndarray], measured: Sequence[np.ndarray | None]) -> Values:
    """Looks at captures of one type.

    Args:
      scenes: (N, H, W, C) each.
      measured: of each scene, True where its values were measured, (H, W, C); None: everywhere.
    """
    low, high, middle, noise = [], [], [], []
    for channel in range(scenes[0].shape[-1]):
        parts = [
            (x[..., channel], None if mask is None else mask[..., channel])
            for x, mask in zip(scenes, measured, strict=True)
        ]
        values_P = _sample(parts)
        least, most = np.percentile(values_P, [_TAIL_PERCENT, 100 - _TAIL_PERCENT])
        if least == most:  # hardly anything but background
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
    """Values of all scenes, every so many of large sets."""
    total = sum(x_NHW.size for x_NHW, _ in parts)
    step = -(-total // _MOST_VALUES)
    step += step % 2 == 0  # odd, so that it does not follow the columns of an even width
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
    """The mean, over scenes and blocks, of the standard deviation of differences, over sqrt(2).

    Of standard deviations, so that the blocks around a star, whose photons are many, do not tell
    the noise of all; within blocks, so that a slow change of the light is no noise.
    """
    of_scenes = [_noise_of_one(*part) if len(part[0]) == 1 else _noise_of(*part) for part in parts]
    return float(np.mean(of_scenes))


def _noise_of(x_NHW: np.ndarray, mask_HW: np.ndarray | None) -> float:
    pairs = range(min(len(x_NHW) - 1, _MOST_PAIRS))
    found = [_block_deviations(x_NHW[k], x_NHW[k + 1], mask_HW) for k in pairs]
    blocks_P = np.concatenate(found)
    return float(blocks_P.mean()) / np.sqrt(2) if blocks_P.size else 0.0


def _noise_of_one(x_1HW: np.ndarray, mask_HW: np.ndarray | None) -> float:
    """Of a single capture: pixels beside each other differ by noise alone where it is flat."""
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
    """The standard deviation of the difference in each block that holds measured values, (P,)."""
    found = []
    height, width = first_HW.shape
    columns = np.arange(0, width, _BLOCK)
    # A row of blocks at a time: images may be large.
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
