"""Pairs of noisy images, on which baselines are tuned for synthetic noise.

H height, W width, C channels.

A network learns from noisy pairs; a baseline chooses its strength on them. They are noisy versions
of crops of the photographs that come with scikit-image, drawn with keys of their own: no clean
image is seen, and no image that is scored, unless the evaluation set is `photos` itself.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import numpy as np

from n2n_jax.corruptions import Corruptor
from n2n_jax.data.sources import photos
from n2n_jax.data.sources.source import to_float, with_channels
from n2n_jax.runtime import random_keys

IN_WORDS = 'least disagreement with second noisy versions of three built-in photographs'

_CROPS = {'chelsea': (60, 120), 'coffee': (150, 200), 'astronaut': (0, 160)}  # top, left
_SIDE = 128


@dataclasses.dataclass(frozen=True)
class NoisyPair:
    """Two independent noisy versions of one image.

    Attributes:
      noisy_HWC: the version to restore.
      other_HWC: the version to compare with.
      observed_HWC: where the latter is observed; None: everywhere.
      absolute: compare by absolute instead of squared differences: where the median of noisy
        values is clean but their mean is not, as for impulses.
    """

    noisy_HWC: np.ndarray
    other_HWC: np.ndarray
    observed_HWC: np.ndarray | None = None
    absolute: bool = False

    def disagreement(self, restored_HWC: np.ndarray) -> float:
        """Returns the error of a result plus a constant, as its mean over the other version."""
        difference_HWC = np.abs(restored_HWC.astype(np.float64) - self.other_HWC)
        if not self.absolute:
            difference_HWC = difference_HWC**2
        return float(np.average(difference_HWC, weights=self.observed_HWC))


def drawer(corruptor: Corruptor, channels: int, seed: int = 0) -> Callable[[], Sequence[NoisyPair]]:
    """Returns a function that draws the pairs when it is first called.

    Args:
      corruptor: the noise.
      channels: of the images.
      seed: of the noise.
    """

    @functools.cache
    def draw() -> list[NoisyPair]:
        absolute = corruptor.clean_statistics.observed[:1] not in ((), ('mean',))
        clean = photos.photos()
        crops = [
            clean[name][top : top + _SIDE, left : left + _SIDE]
            for name, (top, left) in _CROPS.items()
        ]
        clean_BHWC = np.stack([to_float(with_channels(crop, channels)) for crop in crops])
        root = random_keys.key_for(seed, random_keys.EVALUATION)
        sample = jax.jit(corruptor.sample)  # one program, not one for each operation
        first, second = (jax.device_get(sample(key, clean_BHWC)) for key in jax.random.split(root))
        masks = [None] * len(crops) if second.mask_BHWC is None else second.mask_BHWC
        return [
            NoisyPair(noisy, other, mask, absolute)
            for noisy, other, mask in zip(first.image_BHWC, second.image_BHWC, masks, strict=True)
        ]

    return draw
