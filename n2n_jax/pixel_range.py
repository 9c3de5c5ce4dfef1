"""Which pixel values are 0 and 1 to a network, and the way back to a type of pixels."""

import dataclasses
from typing import Self

import numpy as np

from n2n_jax.errors import UserError

_FULL_RANGE = ('uint8', 'uint16', 'int8', 'int16')  # types whose ends are black and white
_MARGIN = 1.0  # how far floating-point values may lie beyond [0, 1] where no range is known


@dataclasses.dataclass(frozen=True)
class PixelRange:
    """A map of pixel values, and its inverse.

    Attributes:
      black: what is 0 to the network.
      white: what is 1.
      dtype: of the pixels.
      is_known: whether the network was trained on values of such a range.
    """

    black: float
    white: float
    dtype: np.dtype
    is_known: bool

    @classmethod
    def of(cls, dtype: np.dtype, black: float, white: float, *, name: str) -> Self:
        """The range of a network for pixels of a type.

        Args:
          dtype: of the pixels.
          black: pixel value that is 0 to the network, `config.model.black`.
          white: that is 1. Equal to black where the network knows no range: integers of 8 and 16
            bits then use all of theirs, floats [0, 1].
          name: of the image, for messages.

        Raises:
          UserError: a type that cannot be mapped.
        """
        dtype = np.dtype(dtype)
        if dtype.kind not in 'iuf' or dtype.itemsize > (8 if dtype.kind == 'f' else 4):
            raise UserError(
                f'{name} holds {dtype.name} values: integers of up to 32 bits and floats of up to '
                '64 are denoised. Convert it to one of these first.'
            )
        if black != white:
            return cls(black, white, dtype, True)
        if dtype.kind == 'f':
            return cls(0.0, 1.0, dtype, False)
        if dtype.name not in _FULL_RANGE:
            raise UserError(
                f'{name} holds {dtype.name} values, and this model knows no range for them: '
                'convert it to 16 bits or to floating point in [0, 1], or train a model on such '
                'captures (n2n train).'
            )
        ends = np.iinfo(dtype)
        return cls(float(ends.min), float(ends.max), dtype, False)

    def check(self, pixels: np.ndarray, *, name: str) -> None:
        """Looks whether values mean anything to the network.

        Raises:
          UserError: values that are not numbers; or, where no range is known, floating-point values
            far beyond [0, 1].
        """
        if pixels.dtype.kind != 'f':
            return
        num_bad = int(pixels.size - np.isfinite(pixels).sum())
        if num_bad:
            raise UserError(
                f'{name} holds {num_bad} values that are not numbers (NaN or infinite): mend them '
                'first.'
            )
        low, high = float(pixels.min()), float(pixels.max())
        if not self.is_known and (low < -_MARGIN or high > 1 + _MARGIN):
            raise UserError(
                f'{name} holds floating-point values from {low:g} to {high:g}, and this model '
                'works on [0, 1] (a little noise beyond is fine): scale it first.'
            )

    def to_network(self, pixels: np.ndarray) -> np.ndarray:
        """Pixel values as float32, `black` as 0 and `white` as 1; nothing is clipped."""
        scaled = (pixels.astype(np.float64) - self.black) / (self.white - self.black)
        return scaled.astype(np.float32)

    def to_pixels(self, values: np.ndarray, *, name: str) -> np.ndarray:
        """The inverse. Integers are rounded to the nearest (halves to even); all types saturate.

        Raises:
          UserError: values that are not finite.
        """
        num_bad = values.size - np.count_nonzero(np.isfinite(values))
        if num_bad:
            raise UserError(
                f'{name}: {num_bad} of {values.size} denoised values are infinite or not a number.'
            )
        pixels = values.astype(np.float64) * (self.white - self.black) + self.black
        if self.dtype.kind == 'f':
            ends = np.finfo(self.dtype)
            return np.clip(pixels, ends.min, ends.max).astype(self.dtype)
        limits = np.iinfo(self.dtype)
        return np.clip(np.rint(pixels), limits.min, limits.max).astype(self.dtype)

    def share_beyond(self, pixels: np.ndarray) -> float:
        """Share of the values that lie further beyond the range than half of its width."""
        margin = (self.white - self.black) / 2
        low, high = sorted((self.black - margin, self.white + margin))
        return float(np.mean((pixels < low) | (pixels > high)))
