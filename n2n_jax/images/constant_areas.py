"""Areas that hold no measurement: a border, "no data" such as -9999, dead columns of a sensor.

N captures of a scene, H height, W width, C channels.

All captures hold the same value there. That alone does not make an area constant: zeros of photon
counts, highlights that are cut off and a dark background are alike in all captures as well, and
they were measured. What tells them apart:

* Where a measured value is the same in all captures by chance, there are places beside it where
  only some captures hold it. A constant area has a clean edge.
* A value that was cut off, or a count of no photons, lies at the end of the others, with values
  close by. "No data" lies apart from all of them, or between them.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
from scipy import ndimage

_FEWEST = 32  # connected pixels of an area; any number of pixels that are not finite
_MOST_VALUES = 8  # per channel that are looked at, the most frequent first
_MOST_MIXED = 0.05  # of the pixels around an area: that only some captures hold the value
_APART = 3.0  # standard deviations of the noise between a constant at the end and other values
_FAR = 10.0  # standard deviations, and the range of all others: nothing measured is there
_MOST_CLOSE = 1e-3  # share of other values that may lie closer
_MOST_SAME = 0.2  # share of other pixels that are the same in all captures
_MOST_SAMPLED = 1_000_000  # values that the noise is estimated from
_SQUARE = 7  # pixels a side of a square that an area has, or
_LINE = 64  # pixels of a line along a side of the image, or that whole side, if it has
_SHORTEST_LINE = 32  # pixels at least
_EIGHT = np.ones((3, 3), bool)  # neighbors


@dataclasses.dataclass(frozen=True)
class Area:
    """A constant of one channel.

    Attributes:
      value: of its pixels; may be NaN or infinite.
      channel: from 0.
      share: of the pixels of that channel.
    """

    value: float
    channel: int
    share: float


def constant_mask(captures_NHWC: np.ndarray) -> np.ndarray:
    """True where captures hold a constant in place of a measurement, (H, W, C).

    That is where all captures hold the same value (or all NaN) and it fills an area that is
    constant for other reasons than chance, see the head of this file and `large_areas`; and where
    any capture holds a value that lies so far from all others as -9999 does from counts. A channel
    that is the same everywhere counts as measured: there is nothing else to tell it by.

    Args:
      captures_NHWC: as they were read, of any type. Of a single capture, or of copies, only values
        that lie apart from all others can be told.
    """
    return find(captures_NHWC)[0]


def find(captures_NHWC: np.ndarray) -> tuple[np.ndarray, list[Area]]:
    """The mask of `constant_mask`, and the constants, the largest area first."""
    mask_HWC = np.zeros(captures_NHWC.shape[1:], bool)
    areas = []
    for channel in range(mask_HWC.shape[-1]):
        x_NHW = captures_NHWC[..., channel]
        for value, area_HW in _of_channel(x_NHW):
            mask_HWC[..., channel] |= area_HW
            areas.append(Area(value, channel, float(area_HW.mean())))
    return mask_HWC, sorted(areas, key=lambda area: -area.share)


def _of_channel(x_NHW: np.ndarray) -> list[tuple[float, np.ndarray]]:
    """Constants of a channel and where they are."""
    if not x_NHW.size:
        return []
    same_HW = _same(x_NHW)
    if not same_HW.any():
        return []
    found = []
    if x_NHW.dtype.kind == 'f':
        for value, area_HW in _not_finite(x_NHW, same_HW):
            found.append((value, area_HW))
            same_HW = same_HW & ~area_HW
    values, counts = np.unique(x_NHW[0][same_HW], return_counts=True)
    order = [k for k in np.argsort(-counts, kind='stable') if counts[k] >= _FEWEST]
    left = list(values[order[:_MOST_VALUES]])
    others = _sample(x_NHW)
    sigma = _noise(x_NHW, same_HW)
    # Again after each that is found: beside 1e20, -9999 seems to be close to the other values.
    while True:
        for value in left:
            rest = others[others != float(value) / 4]
            area_HW = _area(x_NHW, same_HW, value, rest, sigma)
            if area_HW is not None:
                break
        else:
            return found
        found.append((float(value), area_HW))
        left.remove(value)
        others = rest
        same_HW = same_HW & ~area_HW


def _same(x_NHW: np.ndarray) -> np.ndarray:
    """Where all captures hold the same value, or none of them a number."""
    first_HW = x_NHW[0]
    same_HW = np.ones(first_HW.shape, bool)
    for other_HW in x_NHW[1:]:
        equal_HW = first_HW == other_HW
        if x_NHW.dtype.kind == 'f':
            equal_HW |= np.isnan(first_HW) & np.isnan(other_HW)
        same_HW &= equal_HW
    return same_HW


def _not_finite(x_NHW: np.ndarray, same_HW: np.ndarray) -> Iterator[tuple[float, np.ndarray]]:
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
    """Values, in quarters so that they can be subtracted without overflow, whatever they are."""
    flat = x_NHW.reshape(-1)
    flat = flat[:: max(1, -(-flat.size // (4 * _MOST_SAMPLED)))].astype(np.float64)
    return flat[np.isfinite(flat)] / 4


def _area(
    x_NHW: np.ndarray, same_HW: np.ndarray, value: np.generic, rest: np.ndarray, sigma: float
) -> np.ndarray | None:
    """Where the value is a constant; None if it is a measured one. `rest`, `sigma` in quarters."""
    if not rest.size:
        return None
    number, low, high = float(value) / 4, float(rest.min()), float(rest.max())
    gap = max(low - number, number - high)
    holds_NHW = x_NHW == value
    if gap > max(high - low, _FAR * sigma) and high > low:
        return holds_NHW.any(axis=0)
    margin = _APART * sigma
    apart = gap > margin and np.mean(np.abs(rest - number) <= margin) <= _MOST_CLOSE
    # Integers that hardly resolve the noise are the same in all captures at many values.
    by_chance = np.mean(same_HW & ~holds_NHW[0])
    between = low + margin < number < high - margin and by_chance < _MOST_SAME
    if not (apart or between):
        return None
    area_HW = large_areas(same_HW & holds_NHW[0])
    around_HW = ndimage.binary_dilation(area_HW, _EIGHT) & ~area_HW
    if not (area_HW.any() and around_HW.any()):
        return None
    mixed = holds_NHW[:, around_HW].any(axis=0).mean()
    return area_HW if mixed <= _MOST_MIXED else None


def _noise(x_NHW: np.ndarray, same_HW: np.ndarray) -> float:
    """Rough standard deviation of the noise where captures differ; of one, by its neighbors.

    In quarters, as the sample.
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
    """Areas of pixels that hold one value, too large and too plain in shape to be chance.

    Told from one image alone, so that what is left out of a training is known again in the images
    that are denoised: squares, and lines along the sides such as a dead column of a sensor, with
    what is connected to them nearby, as corners are.

    Args:
      holds_HW: where pixels hold the value.
    """
    if not holds_HW.any():
        return np.zeros(holds_HW.shape, bool)
    # Beyond the sides of the image a square goes on; a line has to have its length inside.
    seeds_HW = _opened(holds_HW, (_SQUARE, _SQUARE), beyond=1)
    rows, columns = (max(_SHORTEST_LINE, min(_LINE, side)) // 2 * 2 - 1 for side in holds_HW.shape)
    seeds_HW |= _opened(holds_HW, (rows, 1), beyond=0) | _opened(holds_HW, (1, columns), beyond=0)
    area_HW = ndimage.binary_dilation(seeds_HW, _EIGHT, iterations=_SQUARE - 1, mask=holds_HW)
    labels_HW, count = ndimage.label(area_HW, _EIGHT)
    sizes = np.bincount(labels_HW.ravel(), minlength=count + 1)
    sizes[0] = 0
    return (sizes >= _FEWEST)[labels_HW]


def _opened(holds_HW: np.ndarray, size: tuple[int, int], *, beyond: int) -> np.ndarray:
    """The pixels of rectangles of this size that hold the value throughout."""
    inner_HW = ndimage.minimum_filter(holds_HW.astype(np.uint8), size, mode='constant', cval=beyond)
    return holds_HW & (ndimage.maximum_filter(inner_HW, size, mode='constant', cval=0) == 1)
