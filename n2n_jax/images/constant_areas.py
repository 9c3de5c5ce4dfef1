"""Finds areas without measurements: borders, "no data" such as -9999, dead sensor columns.

N captures of a scene, H height, W width, C channels.

All captures hold the same value there. That alone does not make an area constant: zero photon
counts, clipped highlights and a dark background are also the same in all captures, and they were
measured. Two differences separate them:

* Next to a measured value that is the same in all captures by chance, there are pixels where only
  some captures hold it. A constant area has a clean edge.
* A clipped value, or a count of zero photons, lies at the end of the value range, with other values
  close to it. "No data" lies far outside the range, or inside it.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
from scipy import ndimage

_FEWEST = 32  # connected pixels in an area; non-finite pixels count in any number
_MOST_VALUES = 8  # candidate values tested per channel, the most frequent first
_MOST_MIXED = 0.05  # share of the pixels around an area where any capture may hold its value
_APART = 3.0  # noise standard deviations between a constant at the end and the other values
_FAR = 10.0  # standard deviations; nothing measured lies this far outside the range of the others
_MOST_CLOSE = 1e-3  # share of other values that may lie closer
_MOST_SAME = 0.2  # share of other pixels that may be the same in all captures
_MOST_SAMPLED = 1_000_000  # values used to estimate the noise
_SQUARE = 7  # an area contains a square of so many pixels a side, or
_LINE = 64  # a line of so many pixels (or the whole side) parallel to a side of the image,
_SHORTEST_LINE = 32  # and no shorter than this
_EIGHT_NEIGHBORS = np.ones((3, 3), bool)


@dataclasses.dataclass(frozen=True)
class Area:
    """A constant value in one channel.

    Attributes:
      value: the constant; may be NaN or infinite.
      channel: index of the channel.
      share: fraction of the channel's pixels that hold it.
    """

    value: float
    channel: int
    share: float


def constant_mask(captures_NHWC: np.ndarray) -> np.ndarray:
    """Returns True where captures hold a constant instead of a measurement, (H, W, C).

    That is where all captures hold the same value (or all NaN) over an area too large to be chance
    (see the module docstring and `large_areas`), and where any capture holds a value as far from
    all others as -9999 is from counts. A channel with a single value counts as measured: there is
    nothing to compare it with.

    Args:
      captures_NHWC: as read, of any type. In a single capture, or in copies, only values outside
        the range of all others are detected.
    """
    return find(captures_NHWC)[0]


def find(captures_NHWC: np.ndarray) -> tuple[np.ndarray, list[Area]]:
    """Returns the mask of `constant_mask` and the constants, the largest area first."""
    mask_HWC = np.zeros(captures_NHWC.shape[1:], bool)
    areas = []
    for channel in range(captures_NHWC.shape[-1]):
        x_NHW = captures_NHWC[..., channel]
        for value, area_HW in _find_in_channel(x_NHW):
            mask_HWC[..., channel] |= area_HW
            areas.append(Area(value, channel, float(area_HW.mean())))
    return mask_HWC, sorted(areas, key=lambda area: -area.share)


def _find_in_channel(x_NHW: np.ndarray) -> list[tuple[float, np.ndarray]]:
    """Returns the constants of a channel, each with its mask."""
    if not x_NHW.size:
        return []
    same_HW = _same_in_all(x_NHW)
    if not same_HW.any():
        return []
    found = []
    if x_NHW.dtype.kind == 'f':
        for special, special_HW in _non_finite_areas(x_NHW, same_HW):
            found.append((special, special_HW))
            same_HW = same_HW & ~special_HW
    values, counts = np.unique(x_NHW[0][same_HW], return_counts=True)
    order = [k for k in np.argsort(-counts, kind='stable') if counts[k] >= _FEWEST]
    left = list(values[order[:_MOST_VALUES]])
    others = _sample(x_NHW)
    sigma = _noise(x_NHW, same_HW)
    # Restart after each one found: next to 1e20, -9999 seems close to the other values.
    while True:
        for value in left:
            rest = others[others != float(value) / 4]
            area_HW = _constant_area(x_NHW, same_HW, value, rest, sigma)
            if area_HW is not None:
                break
        else:
            return found
        found.append((float(value), area_HW))
        left.remove(value)
        others = rest
        same_HW = same_HW & ~area_HW


def _same_in_all(x_NHW: np.ndarray) -> np.ndarray:
    """Returns True where all captures hold the same value, or all hold NaN."""
    first_HW = x_NHW[0]
    same_HW = np.ones(first_HW.shape, bool)
    for other_HW in x_NHW[1:]:
        equal_HW = first_HW == other_HW
        if x_NHW.dtype.kind == 'f':
            equal_HW |= np.isnan(first_HW) & np.isnan(other_HW)
        same_HW &= equal_HW
    return same_HW


def _non_finite_areas(x_NHW: np.ndarray, same_HW: np.ndarray) -> Iterator[tuple[float, np.ndarray]]:
    first_HW = x_NHW[0]
    for value, is_it_HW in (
        (float('nan'), np.isnan(first_HW)),
        (float('inf'), np.isposinf(first_HW)),
        (float('-inf'), np.isneginf(first_HW)),
    ):
        area_HW = same_HW & is_it_HW
        if area_HW.any():
            yield value, area_HW


def _sample(x_NHW: np.ndarray) -> np.ndarray:
    """Returns a sample of the finite values, divided by 4 so that differences cannot overflow."""
    flat = x_NHW.reshape(-1)
    flat = flat[:: max(1, -(-flat.size // (4 * _MOST_SAMPLED)))].astype(np.float64)
    return flat[np.isfinite(flat)] / 4


def _constant_area(
    x_NHW: np.ndarray, same_HW: np.ndarray, value: np.generic, rest: np.ndarray, sigma: float
) -> np.ndarray | None:
    """Returns where `value` is a constant; None if it was measured.

    `rest` (the other values) and `sigma` are divided by 4, as in `_sample`.
    """
    if not rest.size:
        return None
    number, low, high = float(value) / 4, float(rest.min()), float(rest.max())
    gap = max(low - number, number - high)
    holds_NHW = x_NHW == value
    if gap > max(high - low, _FAR * sigma) and high > low:
        return holds_NHW.any(axis=0)
    margin = _APART * sigma
    apart = gap > margin and np.mean(np.abs(rest - number) <= margin) <= _MOST_CLOSE
    # Integers that barely resolve the noise coincide in all captures at many values.
    by_chance = np.mean(same_HW & ~holds_NHW[0])
    between = low + margin < number < high - margin and by_chance < _MOST_SAME
    if not (apart or between):
        return None
    area_HW = large_areas(same_HW & holds_NHW[0])
    around_HW = ndimage.binary_dilation(area_HW, _EIGHT_NEIGHBORS) & ~area_HW
    if not (area_HW.any() and around_HW.any()):
        return None
    mixed = holds_NHW[:, around_HW].any(axis=0).mean()
    return area_HW if mixed <= _MOST_MIXED else None


def _noise(x_NHW: np.ndarray, same_HW: np.ndarray) -> float:
    """Returns a rough standard deviation of the noise, divided by 4 as in `_sample`.

    From the pixels that differ between captures; for a single capture, from neighboring pixels.
    """
    if len(x_NHW) > 1 and not same_HW.all():
        a, b = x_NHW[0][~same_HW], x_NHW[-1][~same_HW]
    else:
        a, b = x_NHW[0][:, 1:].ravel(), x_NHW[0][:, :-1].ravel()
    step = max(1, -(-a.size // _MOST_SAMPLED))
    a, b = a[::step].astype(np.float64) / 4, b[::step].astype(np.float64) / 4
    both = np.isfinite(a) & np.isfinite(b)
    if not both.any():
        return 0.0
    return float(np.median(np.abs(a[both] - b[both]))) / (0.6745 * np.sqrt(2))


def large_areas(holds_HW: np.ndarray) -> np.ndarray:
    """Returns the areas of one value that are too large and too regular to be chance, (H, W).

    Needs one image only, so areas left out of training are recognized again in the images to
    denoise. They are squares, and lines parallel to the sides such as a dead sensor column, each
    with the connected pixels close to it, such as corners.

    Args:
      holds_HW: True where pixels hold the value.
    """
    if not holds_HW.any():
        return np.zeros(holds_HW.shape, bool)
    # A square may extend beyond the image; a line must have its full length inside.
    seeds_HW = _opening(holds_HW, (_SQUARE, _SQUARE), beyond=1)
    rows, columns = (max(_SHORTEST_LINE, min(_LINE, side)) // 2 * 2 - 1 for side in holds_HW.shape)
    seeds_HW |= _opening(holds_HW, (rows, 1), beyond=0) | _opening(holds_HW, (1, columns), beyond=0)
    area_HW = ndimage.binary_dilation(
        seeds_HW, _EIGHT_NEIGHBORS, iterations=_SQUARE - 1, mask=holds_HW
    )
    labels_HW, count = ndimage.label(area_HW, _EIGHT_NEIGHBORS)
    sizes = np.bincount(labels_HW.ravel(), minlength=count + 1)
    sizes[0] = 0
    return (sizes >= _FEWEST)[labels_HW]


def _opening(holds_HW: np.ndarray, size: tuple[int, int], *, beyond: int) -> np.ndarray:
    """Returns the morphological opening: the union of all rectangles of `size` that fit.

    `beyond` is what the pixels outside the image are taken to hold, 0 or 1.
    """
    inner_HW = ndimage.minimum_filter(holds_HW.astype(np.uint8), size, mode='constant', cval=beyond)
    return holds_HW & (ndimage.maximum_filter(inner_HW, size, mode='constant', cval=0) == 1)
