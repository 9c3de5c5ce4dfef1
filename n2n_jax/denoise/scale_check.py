"""Whether an image is on the scale of the captures that a model was trained on.

A network knows noise in units of its range of values. A copy of a capture on another scale, such as
[0, 1] or 8 bits, is read without an error and comes out wrong.

H height, W width, C channels. An h in place of H: some rows.
"""

import numpy as np

from n2n_jax.images.pixel_range import PixelRange

_MOST_BEYOND = 0.01  # share of the values of an image that may lie far outside the range
_LEAST_FILLED = 0.1  # share of the range between the ends of the values; 12 bits of 16 fill 0.06
_MOST_LACKING = 0.05  # share of the range that the type may be too small for
_LEAST_NOISE = 0.25  # of that of the training


class ScaleCheck:
    """Gathers what an image holds, part by part, and compares it with the range of a model.

    Args:
      scale: of the model, for the type of the image.
      noise: standard deviation that it was trained on, in units of the pixels; 0: not known.
    """

    def __init__(self, scale: PixelRange, *, noise: float = 0.0) -> None:
        self._scale, self._noise = scale, noise
        self._low, self._high = np.inf, -np.inf
        self._beyond, self._count = 0.0, 0
        self._squares, self._num_steps = 0.0, 0  # of the steps between neighbors

    def add(self, pixels_hWC: np.ndarray) -> None:
        """Takes some rows of the image, as they are stored."""
        if not self._scale.is_known:
            return
        used_hWC = ~self._scale.may_be_constant(pixels_hWC)
        pixels = pixels_hWC[used_hWC]
        if not pixels.size:
            return
        self._low = min(self._low, float(pixels.min()))
        self._high = max(self._high, float(pixels.max()))
        self._beyond += self._scale.share_beyond(pixels) * pixels.size
        self._count += pixels.size
        if self._noise:
            steps = np.diff(pixels_hWC.astype(np.float64), axis=1)
            steps = steps[used_hWC[:, 1:] & used_hWC[:, :-1]]
            self._squares += float(np.sum(np.square(steps)))
            self._num_steps += steps.size

    def warning(self, name: str) -> str:
        """What is suspicious about the image, in words; '' if nothing is, or no range is known."""
        if not self._count:
            return ''
        low, high = self._scale.low, self._scale.high
        trained = f'{low:g} to {high:g}, the range of the captures that the model was trained on'
        beyond = self._beyond / self._count
        if beyond > _MOST_BEYOND:
            return (
                f'{name}: {100 * beyond:.0f} % of the values lie far outside of {trained}: it may '
                'do badly.'
            )
        values = f'{self._scale.dtype.name} values from {self._low:g} to {self._high:g}'
        if self._lacking() > _MOST_LACKING:
            return (
                f'{name} holds {values}, and this type cannot hold {trained}. If this is a copy of '
                'a capture on another scale, the result is wrong: denoise the capture itself.'
            )
        filled = (self._high - self._low) / abs(high - low)
        if 0 < filled < _LEAST_FILLED:
            return (
                f'{name} holds {values}: {100 * filled:.2g} % of {trained}. If they were rescaled, '
                'such as to [0, 1] or 8 bits, the result is wrong: denoise the capture itself.'
            )
        # The steps are those of the noise and of the scene, so there is no more noise than this.
        most = np.sqrt(self._squares / (2 * self._num_steps)) if self._num_steps else np.inf
        if 0 < most < _LEAST_NOISE * self._noise:
            return (
                f'{name} has noise of {most:.2g} at most, and the model was trained on '
                f'{self._noise:.2g}: it will smooth too much. If the image was rescaled, averaged '
                'or denoised before, denoise the capture itself.'
            )
        return ''

    def _lacking(self) -> float:
        """Share of the range of the model that the type of the image has no numbers for."""
        if self._scale.dtype.kind == 'f':
            return 0.0
        low, high = self._scale.low, self._scale.high
        ends = np.iinfo(self._scale.dtype)
        return (max(0.0, ends.min - low) + max(0.0, high - ends.max)) / (high - low)
