"""Maps values in the range of a network to display values, black to white.

H height, W width, C channels.

The range of a network may be far wider than that of the captures: photon counts of 0 to 12 in 8
bits would be shown as black.
"""

import dataclasses
from typing import Self

import numpy as np

from n2n_jax.models.noise_units import NoiseUnits
from n2n_jax.runtime.channel_numbers import numbers
from n2n_jax.runtime.config import ModelConfig

_MARGIN = 0.1  # share of the contrast, added beyond the range of 99 % of the values
_MOST_NOISE = 3.0  # standard deviations between gray and black or white in a difference


@dataclasses.dataclass(frozen=True)
class ShownValues:
    """The display range; the same for all channels, which preserves the colors.

    Attributes:
      low: value shown as black.
      high: value shown as white.
      noise_C: standard deviation of the noise of each channel; empty if unknown.
    """

    low: float
    high: float
    noise_C: tuple[float, ...] = ()

    @classmethod
    def of(cls, model: ModelConfig) -> Self:
        """Takes the display range from the config of a network; [0, 1] if it has none."""
        if NoiseUnits.of(model) is None:
            return cls(0.0, 1.0)
        noise_C, center_C, contrast_C = (
            numbers(getattr(model, key), f'model.{key}', model.channels)
            for key in ('noise', 'center', 'contrast')
        )
        reach_C = [(0.5 + _MARGIN) * contrast or 1.0 for contrast in contrast_C]
        ends = list(zip(center_C, reach_C, strict=True))
        low, high = min(c - r for c, r in ends), max(c + r for c, r in ends)
        return cls(low, high, noise_C)

    def image(self, image_HWC: np.ndarray) -> np.ndarray:
        """Maps an image to display values, 0 black and 1 white."""
        return (image_HWC.astype(np.float64) - self.low) / (self.high - self.low)

    def difference(self, first_HWC: np.ndarray, second_HWC: np.ndarray) -> np.ndarray:
        """Maps first minus second to display values, scaled by the noise; 0 becomes gray."""
        d_HWC = first_HWC.astype(np.float64) - second_HWC
        noise_C = np.array(self.noise_C or d_HWC.std() or 1.0)
        return 0.5 + d_HWC / (2 * _MOST_NOISE * noise_C)


DIFFERENCE = (
    f'removed (\N{PLUS-MINUS SIGN}{_MOST_NOISE:g} noise)'  # caption of `ShownValues.difference`
)
