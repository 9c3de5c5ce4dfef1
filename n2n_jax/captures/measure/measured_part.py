"""Crops captures to their measured part and fills in remaining constants.

N captures of a scene, H height, W width, C channels; R rows and K columns of a coarse grid.
"""

import dataclasses

import numpy as np
from scipy import ndimage

from n2n_jax.images import constant_areas
from n2n_jax.images.constant_areas import Area

_GRID = 128  # cells along the longer side, at most
_MOST_FILLED = 0.02  # share of a cell, or of the whole, that is filled in rather than cropped


@dataclasses.dataclass(frozen=True)
class MeasuredPart:
    """Captures without constants, as the checks expect them.

    Attributes:
      captures_NHWC: a rectangle of the captures; a view if nothing was filled in.
      filled_HWC: True where constants inside it were replaced by neighboring values; None: nowhere.
      areas: the constants that were found.
    """

    captures_NHWC: np.ndarray
    filled_HWC: np.ndarray | None = None
    areas: tuple[Area, ...] = ()


def measured_part(
    captures_NHWC: np.ndarray, measured_HWC: np.ndarray | None = None
) -> MeasuredPart:
    """Crops constant borders, and fills in the remaining constants.

    They are filled with the nearest value of the same capture, which has realistic noise and
    moves with the capture.

    Args:
      captures_NHWC: one or more captures.
      measured_HWC: False where they held a constant, if known; may be filled in already.
    """
    areas: list[Area] = []
    if measured_HWC is None:
        mask_HWC, areas = constant_areas.find(captures_NHWC)
    else:
        mask_HWC = ~measured_HWC
    if not mask_HWC.any():
        return MeasuredPart(captures_NHWC)
    mask_HW = np.asarray(mask_HWC.any(axis=-1))
    if mask_HW.all():  # no pixel was measured in all channels: only crop those without any
        mask_HW = np.asarray(mask_HWC.all(axis=-1))
    rows, columns = _rectangle(mask_HW)
    part_NHWC, left_HWC = captures_NHWC[:, rows, columns], mask_HWC[rows, columns]
    if not left_HWC.any():
        return MeasuredPart(part_NHWC, None, tuple(areas))
    return MeasuredPart(fill(part_NHWC, left_HWC), left_HWC, tuple(areas))


def fill(captures_NHWC: np.ndarray, mask_HWC: np.ndarray) -> np.ndarray:
    """Returns a copy with masked values replaced by the nearest of their capture and channel."""
    filled_NHWC = captures_NHWC.copy()
    for channel in range(mask_HWC.shape[-1]):
        mask_HW = mask_HWC[..., channel]
        if mask_HW.any() and not mask_HW.all():
            nearest = ndimage.distance_transform_edt(
                mask_HW, return_distances=False, return_indices=True
            )
            at = tuple(index[mask_HW] for index in nearest)
            filled_NHWC[:, mask_HW, channel] = captures_NHWC[:, at[0], at[1], channel]
    return filled_NHWC


def far(mask_HWC: np.ndarray, distance: float) -> np.ndarray:
    """Returns True where all pixels nearer than `distance` are masked, (H, W, C)."""
    far_HWC = np.zeros(mask_HWC.shape, bool)
    for channel in range(mask_HWC.shape[-1]):
        mask_HW = mask_HWC[..., channel]
        far_HWC[..., channel] = mask_HW.all() or ndimage.distance_transform_edt(mask_HW) >= distance
    return far_HWC


def _rectangle(mask_HW: np.ndarray) -> tuple[slice, slice]:
    """Returns the rows and columns to keep: the bounding box of what was measured, or less.

    If the box contains too many constants, the largest rectangle of cells with hardly any, provided
    that it holds at least half of what was measured.
    """
    measured_HW = ~mask_HW
    bounds = (
        _from_first_to_last(np.asarray(measured_HW.any(axis=1))),
        _from_first_to_last(np.asarray(measured_HW.any(axis=0))),
    )
    inside_HW = mask_HW[bounds]
    if not measured_HW.any() or inside_HW.mean() <= _MOST_FILLED:
        return bounds
    side = -(-max(inside_HW.shape) // _GRID)
    rows, columns = (np.arange(0, length, side) for length in inside_HW.shape)
    masked_RK = np.add.reduceat(np.add.reduceat(inside_HW, rows, 0, dtype=int), columns, 1)
    free_RK = masked_RK <= _MOST_FILLED * side**2
    top, bottom, left, right = (side * k for k in _largest_rectangle(free_RK))
    chosen = _part(bounds[0], top, bottom), _part(bounds[1], left, right)
    return chosen if measured_HW[chosen].sum() >= measured_HW.sum() / 2 else bounds


def _from_first_to_last(line: np.ndarray) -> slice:
    """Returns the slice from the first True to the last."""
    return slice(int(np.argmax(line)), len(line) - int(np.argmax(line[::-1])))


def _part(whole: slice, start: int, stop: int) -> slice:
    """Returns a slice that is counted from the start of another one, and ends where that does."""
    return slice(whole.start + start, min(whole.start + stop, whole.stop))


def _largest_rectangle(free_RK: np.ndarray) -> tuple[int, int, int, int]:
    """Returns top, bottom, left and right of the largest rectangle of True."""
    best, found = 0, (0, 0, 0, 0)
    heights_K = np.zeros(free_RK.shape[1], int)
    for row, free_K in enumerate(free_RK):
        heights_K = (heights_K + 1) * free_K
        open_from: list[tuple[int, int]] = []  # left end and height of open rectangles
        for column, height in enumerate([*heights_K.tolist(), 0]):
            left = column
            while open_from and open_from[-1][1] >= height:
                left, tall = open_from.pop()
                if tall * (column - left) > best:
                    best = tall * (column - left)
                    found = (row + 1 - tall, row + 1, left, column)
            open_from.append((left, height))
    return found
