"""Detects captures that a file has marked as alpha by mistake.

`tifffile.imwrite` without `photometric` saves four captures as red, green, blue and alpha, and
alpha is neither trained on nor denoised. Masks and transparency are flat almost everywhere; a
fourth capture is noisy.

h block of rows, W width, C samples.
"""

import logging
from pathlib import Path

import numpy as np

_log = logging.getLogger(__name__)

# With 8-bit noise of standard deviation 1, 28 % of neighboring pixels are equal.
_LEAST_EQUAL = 0.5
_LEAST_PIXELS = 64


class AlphaWatch:
    """Warns, once per opened file, if its extra samples vary like an image.

    Args:
      path: the file, named in the warning.
      advice: how to save it with channels only; completes 'save the file again ...'.
    """

    def __init__(self, path: Path, advice: str = 'as a TIFF or NumPy file without alpha'):
        self._path, self._advice = path, advice
        self._warned = False

    def check(self, pixels_hWC: np.ndarray, channels: int) -> None:
        """Checks a block of rows, in which all samples after the first `channels` are extra."""
        extra_hWC = pixels_hWC[..., channels:]
        if self._warned or extra_hWC.shape[1] < 2 or extra_hWC[..., :1].size < _LEAST_PIXELS:
            return
        equal = (extra_hWC[:, 1:] == extra_hWC[:, :-1]).mean(axis=(0, 1))
        if not equal.size or equal.min() >= _LEAST_EQUAL:
            return
        self._warned = True
        _log.warning(
            '%s: sample %d of each pixel is marked as alpha, but varies like an image. It is '
            'copied unchanged, neither trained on nor denoised. If it is a channel or a capture, '
            'save the file again %s.',
            self._path,
            channels + int(np.argmin(equal)) + 1,
            self._advice,
        )
