"""Detects clipped values and masks their neighborhoods.

N captures of a scene, H height, W width, C channels.

Clipped noise does not have mean 0, so estimates from captures must exclude it. Excluding only the
clipped values would be biased too: the noise that remains is the part that happened to point
inwards. So whole neighborhoods are excluded, in all captures, by how often they are clipped.
"""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

_WINDOW = 9  # pixels a side of a neighborhood
# A value two standard deviations inside the range is clipped in 2.3 % of captures, which shifts its
# mean by 0.008 standard deviations.
_CLIPPED_SHARE = 0.03
_PILE_SHARE = 1e-3  # of the values; the lowest or highest value may be as frequent without clipping


def saturated(captures_NHWC: np.ndarray, *, counting_C: Sequence[bool] | None = None) -> np.ndarray:
    """Returns True where a value is clipped, (N, H, W, C).

    Clipped values are those at a limit of the type, or the lowest or highest of a channel if values
    pile up there, as with 12-bit data in 16-bit files.

    Args:
      captures_NHWC: as read, in the type of the files.
      counting_C: True for channels that count photons, whose lowest value is not clipped (see
        `n2n_jax.captures.audit.counting_channels`); None: no channel does.
    """
    clipped = np.zeros(captures_NHWC.shape, bool)
    for channel in range(captures_NHWC.shape[-1]):
        ends: tuple[float | None, ...] = _clipping_values(captures_NHWC[..., channel])
        if counting_C is not None and counting_C[channel]:
            ends = ends[1:]
        for end in ends:
            if end is not None:
                clipped[..., channel] |= captures_NHWC[..., channel] == end
    return clipped


def _clipping_values(captures_NHW: np.ndarray) -> tuple[float | None, float | None]:
    """Returns the lowest and highest value of a channel; None if nothing is clipped at that end."""
    x = captures_NHW
    values, counts = np.unique(x, return_counts=True)
    found = []
    for value, count, inner in (
        (values[0], counts[0], counts[1:2]),
        (values[-1], counts[-1], counts[-2:-1]),
    ):
        of_type = x.dtype.kind in 'iu' and value in (np.iinfo(x.dtype).min, np.iinfo(x.dtype).max)
        piled = count > _PILE_SHARE * x.size and count > 2 * inner.max(initial=0)
        found.append(value if of_type or (piled and len(values) > 1) else None)
    return found[0], found[1]


def unsaturated_mask(
    captures_NHWC: np.ndarray, *, counting_C: Sequence[bool] | None = None
) -> np.ndarray:
    """Returns True where no capture's noise is clipped, (H, W, C).

    Args:
      captures_NHWC: as read, in the type of the files.
      counting_C: see `saturated`.
    """
    share_HWC = saturated(captures_NHWC, counting_C=counting_C).mean(axis=0)
    around_HWC = ndimage.uniform_filter(share_HWC, (_WINDOW, _WINDOW, 1))
    # A pixel that is clipped in most captures, such as a hot pixel, is masked on its own.
    return (around_HWC <= _CLIPPED_SHARE) & (share_HWC <= 0.5)
