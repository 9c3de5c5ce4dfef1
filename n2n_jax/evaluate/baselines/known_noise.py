"""What a baseline is told about synthetic noise.

H height, W width, C channels; h, w: half of them.
"""

import dataclasses
from typing import Any, Self

import numpy as np

from n2n_jax.corruptions import Corruptor
from n2n_jax.evaluate.anscombe import Anscombe

# Noise of which the variance is known: gain * signal + square, independent between values.
_WHITE = ('gaussian', 'poisson', 'poisson_gaussian')
# May stand after the noise without changing what is known.
_HARMLESS = ('clip', 'quantize', 'quantise', 'stored')
# May stand before it: they change the image and add no noise. (A camera mixes and adds noise.)
_HARMLESS_BEFORE = ('blur', 'motion_blur', 'kernel_blur', 'pixelated')

_HALF_NORMAL = 0.6745  # median of the absolute value of a standard normal variable


@dataclasses.dataclass(frozen=True)
class KnownNoise:
    """What is known about the noise of an image with values in [0, 1].

    Attributes:
      gain: slope of the noise variance over the signal.
      square: variance at signal 0; None if the level is not known: it is then estimated from each
        image.
      independent: whether the noise of neighboring values is known to be independent.
      missing_is_black: whether missing pixels are 0 in all channels.
    """

    gain: float = 0.0
    square: float | None = None
    independent: bool = True
    missing_is_black: bool = False

    @classmethod
    def of_sigma(cls, sigma: float) -> Self:
        """Returns uniform noise of a known standard deviation."""
        return cls(0.0, sigma**2)

    @classmethod
    def of(cls, corruptor: Corruptor) -> Self:
        """Returns what a spec says. A range of levels leaves the level of an image unknown."""
        gain = square = 0.0
        known = independent = True
        for stage in corruptor.stages:
            corruption, noisy = stage.corruption, gain + square > 0
            if corruption.name in (_HARMLESS if noisy else _HARMLESS + _HARMLESS_BEFORE):
                continue
            if corruption.name in _WHITE:
                more_gain, more_square = _line(corruption.name, stage.low, corruption.options)
                gain, square = gain + more_gain, square + more_square
                known = known and stage.low == stage.high
            elif corruption.name == 'brown':  # its level is the standard deviation, as for gaussian
                square += (stage.low / 255) ** 2
                known, independent = known and stage.low == stage.high, False
            else:
                known = False
        missing = corruptor.stages[-1].corruption.name == 'bernoulli'
        if not known:
            return cls(independent=independent, missing_is_black=missing)
        return cls(gain, square, independent, missing)

    def sigma(self, noisy_HWC: np.ndarray) -> float:
        """Returns the standard deviation of the noise of an image, averaged over its values."""
        if self.square is None:
            return estimated_sigma(noisy_HWC)
        return float(np.sqrt(max(self.square + self.gain * max(float(noisy_HWC.mean()), 0), 1e-12)))

    def stabilizer(self, noisy_HWC: np.ndarray) -> Anscombe:
        """Returns the transform that gives the noise of an image a standard deviation of 1."""
        if self.square is None:
            return Anscombe(0.0, max(self.sigma(noisy_HWC) ** 2, 1e-12))
        return Anscombe(self.gain, max(self.square, 0.0 if self.gain else 1e-12))

    def in_words(self) -> str:
        """Describes where the noise level comes from."""
        if self.square is None:
            return 'noise level estimated from each noisy image (median of Haar details)'
        return 'noise level known from the spec'


def _line(name: str, level: float, options: Any) -> tuple[float, float]:
    """Returns the gain and the square of noise of a level."""
    if name == 'gaussian':
        return 0.0, (level / 255) ** 2
    read = options.read if name == 'poisson_gaussian' else 0.0
    return 1 / level, (read / 255) ** 2


def estimated_sigma(noisy_HWC: np.ndarray) -> float:
    """Estimates the standard deviation of white noise from one image.

    The median of the absolute diagonal details of the finest Haar wavelet (Donoho and Johnstone
    1994), averaged over the channels: smooth areas and straight edges have none.
    """
    h, w = (side // 2 * 2 for side in noisy_HWC.shape[:2])
    x = noisy_HWC[:h, :w].astype(np.float64)
    details_hwC = (x[::2, ::2] - x[1::2, ::2] - x[::2, 1::2] + x[1::2, 1::2]) / 2
    sigmas_C = np.median(np.abs(details_hwC), axis=(0, 1)) / _HALF_NORMAL
    return float(max(sigmas_C.mean(), 1e-6))
