"""Variance stabilization: signal-dependent noise made uniform, and back without bias.

Noise whose variance is a line over the signal, var = gain * signal + square, has variance 1 after
the generalized Anscombe transform, so that a method for uniform Gaussian noise may be used:

    t = 2 / gain * sqrt(gain * x + 3/8 gain^2 + square)

(Starck, Murtagh and Bijaoui 1998). With x = gain * Poisson + offset + N(0, read^2) the line has
square = read^2 - gain * offset, which may be below 0; neither is needed by itself.
"""

import dataclasses

import numpy as np

_LEAST = 2 * np.sqrt(3 / 8)  # the transform of no photons without read noise
# Where the line rises by less than this share over the signal, the noise is uniform.
_UNIFORM = 1e-3


@dataclasses.dataclass(frozen=True)
class Anscombe:
    """The transform for one kind of noise.

    Attributes:
      gain: slope of the variance over the signal, in units of the pixels.
      square: variance at signal 0, where the line may be below 0.
    """

    gain: float
    square: float

    @property
    def uniform(self) -> bool:
        """True where the signal hardly matters (for signals up to 1): noise is divided by sigma."""
        return self.gain <= _UNIFORM * max(self.square, 0.0) or self.gain <= 0

    def forward(self, noisy: np.ndarray) -> np.ndarray:
        """Pixels to values whose noise has a standard deviation of about 1; float64."""
        x = noisy.astype(np.float64)
        if self.uniform:
            return x / np.sqrt(max(self.square, 1e-12))
        g = self.gain
        return 2 / g * np.sqrt(np.maximum(g * x + 3 / 8 * g**2 + self.square, 0))

    def inverse(self, denoised: np.ndarray) -> np.ndarray:
        """The signal whose transformed noisy values have this mean; float64.

        Not the algebraic inverse, which is too dark as the root of a mean is not the mean of
        roots, but the exact unbiased one in its closed form (Makitalo and Foi, IEEE Transactions on
        Image Processing 22, 2013, after their equation for pure Poisson noise of 2011).
        """
        if self.uniform:
            return denoised.astype(np.float64) * np.sqrt(max(self.square, 1e-12))
        d = np.maximum(denoised.astype(np.float64), _LEAST)
        root = np.sqrt(3 / 2)
        photons = d**2 / 4 + root / (4 * d) - 11 / (8 * d**2) + 5 * root / (8 * d**3) - 1 / 8
        return self.gain * photons - self.square / self.gain
