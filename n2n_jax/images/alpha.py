"""Warns of captures that a file marks as alpha.

Four captures that `tifffile.imwrite` saves without `photometric` become red, green, blue and
alpha, and alpha is neither trained on nor denoised. Masks and transparency are flat almost
everywhere; a fourth capture is not, as it has noise.

h some rows, W width, C samples.
"""

import logging
from pathlib import Path

import numpy as np

_log = logging.getLogger(__name__)

# Of 8-bit noise of standard deviation 1, 28 % of the neighbors are equal.
_LEAST_EQUAL = 0.5
_LEAST_PIXELS = 64


class Watch:
    """Warns of a file whose extra samples vary like a picture, once each time it is opened.

    Args:
      path: of the file.
      advice: how to save it with channels only.
    """

    def __init__(self, path: Path, advice: str = 'as a TIFF or NumPy file without alpha'):
        self._path, self._advice = path, advice
        self._told = False

    def look(self, pixels_hWC: np.ndarray, channels: int) -> None:
        """Looks at some rows, of which the samples behind `channels` are extra."""
        extra_hWC = pixels_hWC[..., channels:]
        if self._told or extra_hWC.shape[1] < 2 or extra_hWC[..., :1].size < _LEAST_PIXELS:
            return
        equal = (extra_hWC[:, 1:] == extra_hWC[:, :-1]).mean(axis=(0, 1))
        if not equal.size or equal.min() >= _LEAST_EQUAL:
            return
        self._told = True
        _log.warning(
            '%s: sample %d of each pixel is marked as alpha, but varies like a picture. It stays '
            'as it is, neither trained on nor denoised. If it is a channel or a capture, save the '
            'file again %s.',
            self._path,
            channels + int(np.argmin(equal)) + 1,
            self._advice,
        )
