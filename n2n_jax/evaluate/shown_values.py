"""How values in the range of a network are shown to people: what captures hold, black to white.

H height, W width, C channels.

The range of a network may be far wider than what captures hold of it: photon counts of 0 to 12 in 8
bits would be a black page.
"""

import dataclasses
from typing import Self

import numpy as np

from n2n_jax.models.noise_units import NoiseUnits, numbers
from n2n_jax.runtime.config import ModelConfig

_MARGIN = 0.1  # of the contrast, beyond what all but a percent of the values lie between
_MOST_NOISE = 3.0  # standard deviations of a difference from gray to black or white


@dataclasses.dataclass(frozen=True)
class ShownValues:
    """What is black and what is white; one stretch for all channels, which keeps the colors.

    Attributes:
      low: what is shown as black.
      high: what is shown as white.
      noise_C: standard deviation of the noise of each channel; empty: it is not known.
    """

    low: float
    high: float
    noise_C: tuple[float, ...] = ()

    @classmethod
    def of(cls, model: ModelConfig) -> Self:
        """As the config of a network says; [0, 1] if it says nothing."""
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
        """An image as it is shown, 0 black and 1 white."""
        return (image_HWC.astype(np.float64) - self.low) / (self.high - self.low)

    def difference(self, first_HWC: np.ndarray, second_HWC: np.ndarray) -> np.ndarray:
        """The first less the second in units of the noise, gray where they are equal."""
        d_HWC = first_HWC.astype(np.float64) - second_HWC
        noise_C = np.array(self.noise_C or d_HWC.std() or 1.0)
        return 0.5 + d_HWC / (2 * _MOST_NOISE * noise_C)


DIFFERENCE = f'taken away (\N{PLUS-MINUS SIGN}{_MOST_NOISE:g} noise)'  # its caption
