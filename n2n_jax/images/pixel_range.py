"""Maps pixel values to the range of the network, and back."""

import dataclasses
from collections.abc import Iterable
from typing import Self

import numpy as np

from n2n_jax.images.constant_areas import large_areas
from n2n_jax.runtime.channel_numbers import numbers
from n2n_jax.runtime.config import ModelConfig
from n2n_jax.runtime.errors import UserError

_FULL_RANGE = ('uint8', 'uint16', 'int8', 'int16')  # types whose limits are black and white
_MARGIN = 1.0  # how far floating-point values may lie outside [0, 1] if the range is unknown


@dataclasses.dataclass(frozen=True)
class PixelRange:
    """An affine map from pixel values to network values, and its inverse.

    Attributes:
      black: the pixel value that maps to 0.
      white: the pixel value that maps to 1.
      dtype: type of the pixels, to which the inverse rounds.
      is_known: whether the model stores the range of its training data.
      low: roughly the smallest value the network was trained on.
      high: roughly the largest.
      constants: values that replaced measurements in the training captures ("no data"); they map to
        NaN and are copied unchanged.
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
        """Returns the map of a model for pixels of a type.

        Args:
          dtype: type of the pixels.
          model: the model's config. If it stores no range, 8- and 16-bit integers use the full
            range of their type, floats [0, 1].
          name: the image, for errors.

        Raises:
          UserError: the type cannot be mapped.
        """
        dtype = np.dtype(dtype)
        if dtype.kind not in 'iuf' or dtype.itemsize > (8 if dtype.kind == 'f' else 4):
            raise UserError(
                f'{name} holds {dtype.name} values, which cannot be denoised: convert it to '
                'integers of up to 32 bits or floats of up to 64 bits first.'
            )
        black, white = model.black, model.white
        if black != white:
            low, high = _trained_range(model)
            constants = tuple(float(text) for text in model.constants.split(',') if text)
            return cls(black, white, dtype, True, low, high, constants)
        if dtype.kind == 'f':
            return cls(0.0, 1.0, dtype, False, 0.0, 1.0)
        if dtype.name not in _FULL_RANGE:
            raise UserError(
                f'{name} holds {dtype.name} values, for which this model stores no range: '
                'convert it to 16 bits or to floating point in [0, 1], or train a model on such '
                'captures (n2n train).'
            )
        ends = np.iinfo(dtype)
        low, high = float(ends.min), float(ends.max)
        return cls(low, high, dtype, False, low, high)

    def is_constant(self, pixels_HWC: np.ndarray) -> np.ndarray:
        """Returns True where an image holds a constant instead of a measurement, (H, W, C).

        A value inside the normal range, such as 0, counts only where it fills an area, as in the
        training captures (`n2n_jax.images.constant_areas.large_areas`).
        """
        mask_HWC = np.zeros(pixels_HWC.shape, bool)
        extent = abs(self.high - self.low)
        for value in self.constants:
            holds_HWC = _equals(pixels_HWC, value)
            if self.low - extent <= value <= self.high + extent and holds_HWC.any():
                for channel in range(holds_HWC.shape[-1]):
                    holds_HWC[..., channel] = large_areas(holds_HWC[..., channel])
            mask_HWC |= holds_HWC
        return mask_HWC

    def may_be_constant(self, pixels: np.ndarray) -> np.ndarray:
        """Returns True where a pixel equals any of the constants, in an area or not."""
        mask = np.zeros(pixels.shape, bool)
        for value in self.constants:
            mask |= _equals(pixels, value)
        return mask

    def check(self, pixels: np.ndarray, *, name: str) -> None:
        """Checks that the network can process these values.

        Raises:
          UserError: NaN or infinite values; or, if the range is unknown, floating-point values far
            outside [0, 1].
        """
        if pixels.dtype.kind != 'f':
            return
        num_bad = int((~np.isfinite(pixels) & ~self.may_be_constant(pixels)).sum())
        if num_bad:
            raise UserError(f'{name} holds NaN or infinite values ({num_bad}): replace them first.')
        if self.is_known:
            return
        low, high = float(pixels.min()), float(pixels.max())
        if low < -_MARGIN or high > 1 + _MARGIN:
            raise UserError(
                f'{name} holds floating-point values from {low:g} to {high:g}, but this model '
                'expects [0, 1] (a little noise outside is fine): scale it first.'
            )

    def to_network(self, pixels: np.ndarray) -> np.ndarray:
        """Maps pixels to float32, `black` to 0 and `white` to 1, without clipping.

        Returns NaN where the image holds a constant.
        """
        values = pixels.astype(np.float64)
        if self.constants:  # first, because the largest of them would overflow
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
        """Maps network values back to pixels; integers are rounded half to even, all types clipped.

        Args:
          values: in the range of the network.
          name: the image, for errors.
          original: pixels of the image, required with `constant`.
          constant: True where the original pixels are kept, whatever the values are; None: nowhere.

        Raises:
          UserError: values are NaN or infinite outside of `constant`.
        """
        if constant is not None:
            if original is None:
                raise ValueError('`constant` requires `original`')
            pixels = self.to_pixels(np.where(constant, 0.5, values), name=name)
            return np.where(constant, original, pixels)
        num_bad = values.size - np.count_nonzero(np.isfinite(values))
        if num_bad:
            raise UserError(
                f'{name}: {num_bad} of {values.size} denoised values are NaN or infinite.'
            )
        pixels = values.astype(np.float64) * (self.white - self.black) + self.black
        if self.dtype.kind == 'f':
            ends = np.finfo(self.dtype)
            return np.clip(pixels, ends.min, ends.max).astype(self.dtype)
        limits = np.iinfo(self.dtype)
        return np.clip(np.rint(pixels), limits.min, limits.max).astype(self.dtype)

    def share_beyond(self, pixels: np.ndarray) -> float:
        """Returns the fraction of values outside the range by more than half of its width."""
        margin = abs(self.white - self.black) / 2
        low, high = sorted((self.black, self.white))
        beyond = (pixels < low - margin) | (pixels > high + margin)
        return float(np.mean(beyond & ~self.may_be_constant(pixels)))


def constants_text(values: Iterable[float]) -> str:
    """Formats values for `model.constants`, each with enough digits to be read back exactly."""
    return ','.join(sorted({_shortest_exact(value) for value in values}))


def _shortest_exact(value: float) -> str:
    short = f'{value:.9g}'
    return short if float(short) == value else repr(float(value))


def _equals(pixels: np.ndarray, value: float) -> np.ndarray:
    """Returns True where pixels equal a constant, after rounding it to their type."""
    if np.isnan(value):
        return np.isnan(pixels)
    if pixels.dtype.kind == 'f':
        with np.errstate(over='ignore'):
            of_type = pixels.dtype.type(value)
        if np.isinf(of_type) and np.isfinite(value):  # the type cannot hold it
            return np.zeros(pixels.shape, bool)
    return pixels == value


def _trained_range(model: ModelConfig) -> tuple[float, float]:
    """Returns roughly the smallest and largest value in training, constants excluded."""
    if not model.center:
        return model.black, model.white
    center_C, contrast_C = (
        np.array(numbers(getattr(model, key), f'model.{key}', model.channels))
        for key in ('center', 'contrast')
    )
    extent = model.white - model.black
    ends = [model.black + extent * (center_C + part * contrast_C) for part in (-0.5, 0.5)]
    return float(np.min(ends)), float(np.max(ends))
