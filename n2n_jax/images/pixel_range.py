"""Which pixel values are 0 and 1 to a network, and the way back to a type of pixels."""

import dataclasses
from collections.abc import Iterable
from typing import Self

import numpy as np

from n2n_jax.images.constant_areas import large_areas
from n2n_jax.models.noise_units import numbers
from n2n_jax.runtime.config import ModelConfig
from n2n_jax.runtime.errors import UserError

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
      low: about the smallest value that it was trained on.
      high: about the largest.
      constants: values that stood in place of measurements in the captures that it was trained on;
        they are NaN to the network, and stay as they are.
    """

    black: float
    white: float
    dtype: np.dtype
    is_known: bool
    low: float
    high: float
    constants: tuple[float, ...] = ()

    @classmethod
    def of(cls, dtype: np.dtype, model: ModelConfig, *, name: str) -> Self:
        """The range of a network for pixels of a type.

        Args:
          dtype: of the pixels.
          model: its config. If it knows no range, integers of 8 and 16 bits use all of theirs,
            floats [0, 1].
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
        black, white = model.black, model.white
        if black != white:
            low, high = _trained_on(model)
            constants = tuple(float(text) for text in model.constants.split(',') if text)
            return cls(black, white, dtype, True, low, high, constants)
        if dtype.kind == 'f':
            return cls(0.0, 1.0, dtype, False, 0.0, 1.0)
        if dtype.name not in _FULL_RANGE:
            raise UserError(
                f'{name} holds {dtype.name} values, and this model knows no range for them: '
                'convert it to 16 bits or to floating point in [0, 1], or train a model on such '
                'captures (n2n train).'
            )
        ends = np.iinfo(dtype)
        low, high = float(ends.min), float(ends.max)
        return cls(low, high, dtype, False, low, high)

    def is_constant(self, pixels_HWC: np.ndarray) -> np.ndarray:
        """True where an image holds a constant in place of a measurement, (H, W, C).

        A value within the range of the others, such as 0, is one only where it fills an area, as in
        the captures that were trained on (`n2n_jax.images.constant_areas.large_areas`).
        """
        mask_HWC = np.zeros(pixels_HWC.shape, bool)
        extent = abs(self.high - self.low)
        for value in self.constants:
            holds_HWC = _holds(pixels_HWC, value)
            if self.low - extent <= value <= self.high + extent and holds_HWC.any():
                for channel in range(holds_HWC.shape[-1]):
                    holds_HWC[..., channel] = large_areas(holds_HWC[..., channel])
            mask_HWC |= holds_HWC
        return mask_HWC

    def may_be_constant(self, pixels: np.ndarray) -> np.ndarray:
        """True where a pixel has the value of a constant, in an area or not."""
        mask = np.zeros(pixels.shape, bool)
        for value in self.constants:
            mask |= _holds(pixels, value)
        return mask

    def check(self, pixels: np.ndarray, *, name: str) -> None:
        """Checks that values mean anything to the network.

        Raises:
          UserError: values that are not numbers; or, where no range is known, floating-point values
            far beyond [0, 1].
        """
        if pixels.dtype.kind != 'f':
            return
        num_bad = int((~np.isfinite(pixels) & ~self.may_be_constant(pixels)).sum())
        if num_bad:
            raise UserError(
                f'{name} holds {num_bad} values that are not numbers (NaN or infinite): '
                'replace them first.'
            )
        if self.is_known:
            return
        low, high = float(pixels.min()), float(pixels.max())
        if low < -_MARGIN or high > 1 + _MARGIN:
            raise UserError(
                f'{name} holds floating-point values from {low:g} to {high:g}, and this model '
                'works on [0, 1] (a little noise beyond is fine): scale it first.'
            )

    def to_network(self, pixels: np.ndarray) -> np.ndarray:
        """Pixel values as float32, `black` as 0 and `white` as 1; nothing is clipped.

        NaN where the image holds a constant.
        """
        values = pixels.astype(np.float64)
        if self.constants:  # before the arithmetic, which the largest of them would overflow
            values[self.is_constant(pixels)] = np.nan
        return ((values - self.black) / (self.white - self.black)).astype(np.float32)

    def to_pixels(
        self,
        values: np.ndarray,
        *,
        name: str,
        original: np.ndarray | None = None,
        constant: np.ndarray | None = None,
    ) -> np.ndarray:
        """The inverse. Integers are rounded to the nearest (halves to even); all types saturate.

        Args:
          values: in the range of the network.
          name: of the image, for messages.
          original: pixels of the image.
          constant: True where those are kept, whatever the values are there; None: nowhere.

        Raises:
          UserError: values that are not finite where they count.
        """
        if constant is not None:
            if original is None:
                raise ValueError('constants need the pixels to keep')
            pixels = self.to_pixels(np.where(constant, 0.5, values), name=name)
            return np.where(constant, original, pixels)
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
        margin = abs(self.white - self.black) / 2
        low, high = sorted((self.black, self.white))
        beyond = (pixels < low - margin) | (pixels > high + margin)
        return float(np.mean(beyond & ~self.may_be_constant(pixels)))


def constants_text(values: Iterable[float]) -> str:
    """Values as `model.constants` has them: each with as many digits as tell it from all others."""
    return ','.join(sorted({_exact(value) for value in values}))


def _exact(value: float) -> str:
    short = f'{value:.9g}'
    return short if float(short) == value else repr(float(value))


def _holds(pixels: np.ndarray, value: float) -> np.ndarray:
    """Where pixels are a constant, as their type writes it."""
    if np.isnan(value):
        return np.isnan(pixels)
    if pixels.dtype.kind == 'f':
        with np.errstate(over='ignore'):
            of_type = pixels.dtype.type(value)
        if np.isinf(of_type) and np.isfinite(value):  # the type cannot hold it
            return np.zeros(pixels.shape, bool)
    return pixels == value


def _trained_on(model: ModelConfig) -> tuple[float, float]:
    """About the smallest and the largest value of the captures, without constants."""
    if not model.center:
        return model.black, model.white
    center_C, contrast_C = (
        np.array(numbers(getattr(model, key), f'model.{key}', model.channels))
        for key in ('center', 'contrast')
    )
    extent = model.white - model.black
    ends = [model.black + extent * (center_C + part * contrast_C) for part in (-0.5, 0.5)]
    return float(np.min(ends)), float(np.max(ends))
