"""The generalized Anscombe transform (variance stabilization) and its exact unbiased inverse.

Noise whose variance is linear in the signal, var = gain * signal + square, has variance of about 1
after the transform, so that methods for uniform Gaussian noise apply:

    t = 2 / gain * sqrt(gain * x + 3/8 gain^2 + square)

(Starck, Murtagh and Bijaoui 1998). For x = gain * Poisson + offset + N(0, read^2),
square = read^2 - gain * offset, which may be negative; read and offset are not needed separately.
"""

import dataclasses

import numpy as np

_LEAST = 2 * np.sqrt(3 / 8)  # the transform of zero photons without read noise
# Noise counts as uniform if its variance grows by less than this share from signal 0 to 1.
_UNIFORM = 1e-3


@dataclasses.dataclass(frozen=True)
class Anscombe:
    """The transform for one noise model.

    Attributes:
      gain: slope of the variance over the signal, in pixel units.
      square: variance extrapolated to signal 0; may be negative.
    """

    gain: float
    square: float

    @property
    def uniform(self) -> bool:
        """Whether the variance hardly depends on the signal: pixels are then divided by sigma."""
        return self.gain <= _UNIFORM * max(self.square, 0.0) or self.gain <= 0

    def forward(self, noisy: np.ndarray) -> np.ndarray:
        """Transforms pixels to float64 values whose noise has a standard deviation of about 1."""
        x = noisy.astype(np.float64)
        if self.uniform:
            return x / np.sqrt(max(self.square, 1e-12))
        g = self.gain
        return 2 / g * np.sqrt(np.maximum(g * x + 3 / 8 * g**2 + self.square, 0))

    def inverse(self, denoised: np.ndarray) -> np.ndarray:
        """Returns the signal, float64, whose transformed noisy values have this mean.

        The algebraic inverse would be too dark, since the root of a mean is not the mean of roots.
        This is the closed form of the exact unbiased inverse (Makitalo and Foi, IEEE Transactions
        on Image Processing 22, 2013; for pure Poisson noise, 2011).
        """
        if self.uniform:
            return denoised.astype(np.float64) * np.sqrt(max(self.square, 1e-12))
        d = np.maximum(denoised.astype(np.float64), _LEAST)
        root = np.sqrt(3 / 2)
        photons = d**2 / 4 + root / (4 * d) - 11 / (8 * d**2) + 5 * root / (8 * d**3) - 1 / 8
        return self.gain * photons - self.square / self.gain
