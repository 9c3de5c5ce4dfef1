"""A scene as the checks see it, with statistics that several of them share.

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
    """A scene without its constants, with statistics computed on first use.

    Attributes:
      whole_NHWC: the captures, for checks that seams between regions would disturb.
      captures_NHWC: the same, or regions of a large scene side by side.
      channels: names of the channels; '' for a single one.
      constants: areas that were removed, such as a border.
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
        """Returns a view of captures; a view is returned unchanged."""
        return scene if isinstance(scene, View) else cls(scene)

    @property
    def num_channels(self) -> int:
        """Number of channels."""
        return self.captures_NHWC.shape[-1]

    @functools.cached_property
    def differences_NN(self) -> np.ndarray:
        """Mean squared differences of captures."""
        return noise_model.mean_squares(self.captures_NHWC)

    @functools.cached_property
    def copies(self) -> list[tuple[int, int]]:
        """Pairs of captures that are the same image."""
        return near_copies(self.captures_NHWC, self.differences_NN)

    @functools.cached_property
    def pair(self) -> tuple[int, int]:
        """The pair of captures with the median difference."""
        return noise_model.typical_pair(self.differences_NN)

    @functools.cached_property
    def model(self) -> NoiseModel:
        """The noise model of all channels."""
        return noise_model.noise_model(self.captures_NHWC, pair=self.pair)

    def model_of(self, channel: int) -> NoiseModel:
        """Returns the noise model of one channel."""
        if self.num_channels == 1:
            return self.model
        part_NHWC = self.captures_NHWC[..., channel : channel + 1]
        return noise_model.noise_model(part_NHWC, pair=self.pair)

    @functools.cached_property
    def noise_HWC(self) -> np.ndarray:
        """Difference of the pair minus its local mean; 0 where constants were filled in."""
        i, j = self.pair
        d = without_local_mean(self.captures_NHWC[i].astype(np.float64) - self.captures_NHWC[j])
        return d if self._filled_HWC is None else np.where(self._filled_HWC, 0.0, d)
