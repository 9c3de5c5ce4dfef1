"""The part of captures that was measured, without borders and other constants.

N captures of a scene, H height, W width, C channels; R rows and K columns of a coarse grid.
"""

import dataclasses

import numpy as np
from scipy import ndimage

from n2n_jax.images import constant_areas
from n2n_jax.images.constant_areas import Area

_GRID = 128  # cells along the longer side, at most, that a part is made of
_MOST_FILLED = 0.02  # share of a cell, or of all, that is filled in rather than cut off


@dataclasses.dataclass(frozen=True)
class MeasuredPart:
    """Captures as checks look at them.

    Attributes:
      captures_NHWC: a rectangle of the captures; a view of them if nothing had to be filled in.
      filled_HWC: where constants inside of it were replaced by what is beside them; None: nowhere.
      areas: the constants.
    """

    captures_NHWC: np.ndarray
    filled_HWC: np.ndarray | None = None
    areas: tuple[Area, ...] = ()


def measured_part(
    captures_NHWC: np.ndarray, measured_HWC: np.ndarray | None = None
) -> MeasuredPart:
    """Cuts off borders that hold a constant, and fills in what is left of constants.

    What is filled in is the nearest value of the same capture: it has the noise that it should
    have, and moves as the capture does.

    Args:
      captures_NHWC: one or more.
      measured_HWC: False where they held a constant, if that is known; it may be filled in already.
    """
    areas: list[Area] = []
    if measured_HWC is None:
        mask_HWC, areas = constant_areas.find(captures_NHWC)
    else:
        mask_HWC = ~measured_HWC
    if not mask_HWC.any():
        return MeasuredPart(captures_NHWC)
    mask_HW = mask_HWC.any(axis=-1)
    if mask_HW.all():  # no pixel with all of its channels: nothing can be cut off
        mask_HW = mask_HWC.all(axis=-1)
    rows, columns = _rectangle(mask_HW)
    part_NHWC, left_HWC = captures_NHWC[:, rows, columns], mask_HWC[rows, columns]
    if not left_HWC.any():
        return MeasuredPart(part_NHWC, None, tuple(areas))
    return MeasuredPart(fill(part_NHWC, left_HWC), left_HWC, tuple(areas))


def fill(captures_NHWC: np.ndarray, mask_HWC: np.ndarray) -> np.ndarray:
    """A copy with the nearest value of the same capture and channel where the mask is True."""
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
    """Where the mask is True and nothing else nearer than so many pixels, (H, W, C)."""
    far_HWC = np.zeros(mask_HWC.shape, bool)
    for channel in range(mask_HWC.shape[-1]):
        mask_HW = mask_HWC[..., channel]
        far_HWC[..., channel] = mask_HW.all() or ndimage.distance_transform_edt(mask_HW) >= distance
    return far_HWC


def _rectangle(mask_HW: np.ndarray) -> tuple[slice, slice]:
    """The part to look at: what bounds all that was measured, or less if that is mostly constant.

    Less means the largest rectangle of cells that hold hardly a constant, if it has at least half
    of what was measured.
    """
    measured_HW = ~mask_HW
    bounds = tuple(
        slice(int(np.argmax(line)), len(line) - int(np.argmax(line[::-1])))
        for line in (measured_HW.any(axis=1), measured_HW.any(axis=0))
    )
    inside_HW = mask_HW[bounds]
    if not measured_HW.any() or inside_HW.mean() <= _MOST_FILLED:
        return bounds
    side = -(-max(inside_HW.shape) // _GRID)
    rows, columns = (np.arange(0, length, side) for length in inside_HW.shape)
    masked_RK = np.add.reduceat(np.add.reduceat(inside_HW, rows, 0, dtype=int), columns, 1)
    free_RK = masked_RK <= _MOST_FILLED * side**2
    top, bottom, left, right = (side * k for k in _largest_rectangle(free_RK))
    part = bounds[0].start, bounds[1].start
    chosen = slice(part[0] + top, part[0] + bottom), slice(part[1] + left, part[1] + right)
    chosen = tuple(
        slice(one.start, min(one.stop, bound.stop))
        for one, bound in zip(chosen, bounds, strict=True)
    )
    return chosen if measured_HW[chosen].sum() >= measured_HW.sum() / 2 else bounds


def _largest_rectangle(free_RK: np.ndarray) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of the largest rectangle of True."""
    best, found = 0, (0, 0, 0, 0)
    heights_K = np.zeros(free_RK.shape[1], int)
    for row, free_K in enumerate(free_RK):
        heights_K = (heights_K + 1) * free_K
        open_from: list[tuple[int, int]] = []  # left end and height of rectangles that go on
        for column, height in enumerate([*heights_K.tolist(), 0]):
            left = column
            while open_from and open_from[-1][1] >= height:
                left, tall = open_from.pop()
                if tall * (column - left) > best:
                    best = tall * (column - left)
                    found = (row + 1 - tall, row + 1, left, column)
            open_from.append((left, height))
    return found
