"""Checks whether an image is on the scale of the captures that a model was trained on.

A network has learned noise in units of its value range. A copy of a capture on another scale, such
as [0, 1] or 8 bits, is denoised without an error but wrongly, so the user is warned.

H height, W width, C channels. A lower-case h: some rows.
"""

import numpy as np

from n2n_jax.images.pixel_range import PixelRange

_MAX_OUTSIDE = 0.01  # share of the values of an image that may lie far outside the model's range
_MIN_SPANNED = 0.1  # share of the range that the values must span; 12 bits in 16 span 0.06
_MAX_UNREPRESENTABLE = 0.05  # share of the range that the type may be too small for
_MIN_NOISE = 0.25  # noise relative to that of the training captures


class ScaleCheck:
    """Collects statistics of an image part by part, and compares them with a model's range.

    Args:
      scale: range of the model, for the type of the image.
      noise: standard deviation of the training noise in pixel units; 0: unknown.
    """

    def __init__(self, scale: PixelRange, *, noise: float = 0.0) -> None:
        self._scale, self._noise = scale, noise
        self._low, self._high = np.inf, -np.inf
        self._outside, self._count = 0.0, 0
        # Of the differences between horizontal neighbors.
        self._squares, self._num_differences = 0.0, 0

    def add(self, pixels_hWC: np.ndarray) -> None:
        """Adds some rows of the image, as stored."""
        if not self._scale.is_known:
            return
        used_hWC = ~self._scale.may_be_constant(pixels_hWC)
        pixels = pixels_hWC[used_hWC]
        if not pixels.size:
            return
        self._low = min(self._low, float(pixels.min()))
        self._high = max(self._high, float(pixels.max()))
        self._outside += self._scale.share_beyond(pixels) * pixels.size
        self._count += pixels.size
        if self._noise:
            differences = np.diff(pixels_hWC.astype(np.float64), axis=1)
            differences = differences[used_hWC[:, 1:] & used_hWC[:, :-1]]
            self._squares += float(np.sum(np.square(differences)))
            self._num_differences += differences.size

    def warning(self, name: str) -> str:
        """Returns a warning about the image; '' if it looks right or the range is unknown."""
        if not self._count:
            return ''
        low, high = self._scale.low, self._scale.high
        trained = f'{low:g} to {high:g}, the range of the captures that the model was trained on'
        outside = self._outside / self._count
        if outside > _MAX_OUTSIDE:
            return (
                f'{name}: {100 * outside:.0f} % of the values lie far outside {trained}: the '
                'result may be poor.'
            )
        values = f'{self._scale.dtype.name} values from {self._low:g} to {self._high:g}'
        if self._unrepresentable() > _MAX_UNREPRESENTABLE:
            return (
                f'{name} holds {values}, and this type cannot hold {trained}. If this is a copy of '
                'a capture on another scale, the result is wrong: denoise the capture itself.'
            )
        spanned = (self._high - self._low) / abs(high - low)
        if 0 < spanned < _MIN_SPANNED:
            return (
                f'{name} holds {values}: {100 * spanned:.2g} % of {trained}. If it was rescaled, '
                'for example to [0, 1] or 8 bits, the result is wrong: denoise the capture itself.'
            )
        # Neighbors differ by noise and scene, so this is an upper bound of the noise.
        bound = np.inf
        if self._num_differences:
            bound = np.sqrt(self._squares / (2 * self._num_differences))
        if 0 < bound < _MIN_NOISE * self._noise:
            return (
                f'{name} has noise of at most {bound:.2g}, but the model was trained on noise of '
                f'{self._noise:.2g}: it will smooth too much. If the image was rescaled, averaged '
                'or denoised before, denoise the capture itself.'
            )
        return ''

    def _unrepresentable(self) -> float:
        """Returns the share of the model's range that the type of the image cannot represent."""
        if self._scale.dtype.kind == 'f':
            return 0.0
        low, high = self._scale.low, self._scale.high
        limits = np.iinfo(self._scale.dtype)
        return (max(0.0, limits.min - low) + max(0.0, high - limits.max)) / (high - low)
