"""Where captures are clipped at an end of their range.

N captures of a scene, H height, W width, C channels.

Clipped noise has a mean other than 0, so estimates from captures leave such places out. To leave
out the clipped values themselves would be wrong as well: what stays is the noise that happened to
point inwards. So whole neighborhoods go, in all captures, by how often they are clipped.
"""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

_WINDOW = 9  # pixels a side of a neighborhood
# A value that lies two standard deviations inside is clipped in 2.3 % of captures, which moves its
# mean by 0.008 standard deviations.
_CLIPPED_SHARE = 0.03
_PILE_SHARE = 1e-3  # of the values that may be the very lowest or highest without being clipped


def saturated(captures_NHWC: np.ndarray, *, counting_C: Sequence[bool] | None = None) -> np.ndarray:
    """True where a value is at an end of what could be recorded, (N, H, W, C).

    That is an end of the type's range; or the lowest or highest value that a channel has, if values
    pile up there as those of 12 bits do in a file of 16.

    Args:
      captures_NHWC: as they were read, in the type of the files.
      counting_C: channels that count photons, whose lowest value is no end that cuts anything off,
        see `n2n_jax.captures.audit.counting_channels`; None: no channel does.
    """
    clipped = np.zeros(captures_NHWC.shape, bool)
    for channel in range(captures_NHWC.shape[-1]):
        ends = _ends(captures_NHWC[..., channel])
        if counting_C is not None and counting_C[channel]:
            ends = ends[1:]
        for end in ends:
            if end is not None:
                clipped[..., channel] |= captures_NHWC[..., channel] == end
    return clipped


def _ends(captures_NHW: np.ndarray) -> tuple[float | None, float | None]:
    """The lowest and the highest value of a channel; None if it cuts nothing off."""
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
    """True where the noise of all captures is free to go both ways, (H, W, C).

    Args:
      captures_NHWC: as they were read, in the type of the files.
      counting_C: see `saturated`.
    """
    share_HWC = saturated(captures_NHWC, counting_C=counting_C).mean(axis=0)
    around_HWC = ndimage.uniform_filter(share_HWC, (_WINDOW, _WINDOW, 1))
    # A pixel that is clipped more often than not, such as a hot one, goes by itself.
    return (around_HWC <= _CLIPPED_SHARE) & (share_HWC <= 0.5)
