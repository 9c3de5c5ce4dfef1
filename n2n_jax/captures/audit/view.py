"""What checks look at: the captures of a scene, and what several checks need of them, once.

N captures of a scene, H height, W width, C channels.
"""

import functools
from typing import Self

import numpy as np

from n2n_jax.captures.audit.block_means import without_local_mean
from n2n_jax.captures.audit.constants import constants
from n2n_jax.captures.measure import noise_model, regions
from n2n_jax.captures.measure.measured_part import measured_part
from n2n_jax.captures.measure.near_copies import near_copies
from n2n_jax.captures.measure.noise_model import NoiseModel
from n2n_jax.images.channel_names import channel_names


class View:
    """A scene without its constants, and statistics of it that are computed when first asked for.

    Attributes:
      whole_NHWC: the captures; for what a seam between regions would disturb.
      captures_NHWC: the same, or regions of a large scene side by side.
      channels: their names; '' of one.
      constants: what is left out, such as a border.
    """

    def __init__(self, captures_NHWC: np.ndarray, measured_HWC: np.ndarray | None = None):
        part = measured_part(captures_NHWC, measured_HWC)
        self.whole_NHWC = part.captures_NHWC
        self.captures_NHWC = regions.sample(part.captures_NHWC)
        self._filled_HWC = None
        if part.filled_HWC is not None:
            self._filled_HWC = regions.sample(part.filled_HWC[None])[0]
        self.channels = channel_names(self.num_channels)
        self.constants = tuple(constants(part.areas, self.channels))

    @classmethod
    def of(cls, scene: 'np.ndarray | View') -> 'Self | View':
        """The view of captures, or what is one already."""
        return scene if isinstance(scene, View) else cls(scene)

    @property
    def num_channels(self) -> int:
        """How many channels captures have."""
        return self.captures_NHWC.shape[-1]

    @functools.cached_property
    def differences_NN(self) -> np.ndarray:
        """Mean squares of the differences of captures."""
        return noise_model.mean_squares(self.captures_NHWC)

    @functools.cached_property
    def copies(self) -> list[tuple[int, int]]:
        """Captures that are the same image."""
        return near_copies(self.captures_NHWC, self.differences_NN)

    @functools.cached_property
    def pair(self) -> tuple[int, int]:
        """Two captures that differ as much as two of the scene do."""
        return noise_model.typical_pair(self.differences_NN)

    @functools.cached_property
    def model(self) -> NoiseModel:
        """The line of the noise's variance."""
        return noise_model.noise_model(self.captures_NHWC, pair=self.pair)

    def model_of(self, channel: int) -> NoiseModel:
        """The same of one channel."""
        if self.num_channels == 1:
            return self.model
        part_NHWC = self.captures_NHWC[..., channel : channel + 1]
        return noise_model.noise_model(part_NHWC, pair=self.pair)

    @functools.cached_property
    def noise_HWC(self) -> np.ndarray:
        """The difference of the pair without slow changes; 0 where a constant was filled in."""
        i, j = self.pair
        d = without_local_mean(self.captures_NHWC[i].astype(np.float64) - self.captures_NHWC[j])
        return d if self._filled_HWC is None else np.where(self._filled_HWC, 0.0, d)
