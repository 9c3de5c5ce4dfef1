"""What noise a single image has: how much, and of what kind.

H height, W width, C channels, N blocks, B intensity bins.
"""

import dataclasses
from typing import Literal

import jax
import numpy as np
from scipy import ndimage

from n2n_jax.captures.measure.noise_correlation import CORRELATED, neighbor_correlation
from n2n_jax.models import noise_level

Kind = Literal['none', 'independent', 'signal-dependent', 'shared', 'impulses']

LEAST_LEVEL = 1.5 / 255  # of photographs that are called clean; less is seldom seen
_LEAST_IMPULSES = 0.01  # share of the pixels
_FAR = 0.1  # by how much an impulse differs at least from all its neighbors but one
_NEAR_LEVELS = 5.0  # and by how many times the level of the other noise
_SIDE = 8  # pixels of a block
_BINS = 8  # by brightness
_FLATTEST = 0.1  # share of the blocks of a bin that is taken for flat
_FEWEST = 20  # blocks in that share
_LEAST_RATIO = 1.6  # of noise levels between dark and bright, from which they count as different


@dataclasses.dataclass(frozen=True)
class ImageNoise:
    """The noise of an image.

    Attributes:
      kind: 'impulses': some pixels are replaced; 'shared': neighboring pixels have similar noise;
        'signal-dependent': its level depends on the brightness; 'none': its level is below that of
        files of 8 bits; else 'independent'.
      level: standard deviation, for images in [0, 1]; of shared noise too small; of the other noise
        if there are impulses.
      correlation: of the noise of adjacent pixels; NaN if that could not be measured.
      impulses: share of the pixels.
      ratio: of the largest level to the smallest, over brightness; 1 if not measured.
    """

    kind: Kind
    level: float
    correlation: float
    impulses: float
    ratio: float


def measure(image_HWC: np.ndarray) -> ImageNoise:
    """Measures the noise of an image, which lies in [0, 1] but for its noise."""
    image_HWC = np.asarray(image_HWC, np.float32)
    level = float(jax.jit(noise_level.estimate)(image_HWC[None])[0])
    correlation = neighbor_correlation(image_HWC)
    impulses = _share_of_impulses(image_HWC, level)
    ratio = _ratio_of_levels(image_HWC)
    kind: Kind = 'independent'
    if impulses >= _LEAST_IMPULSES:
        kind = 'impulses'
    elif correlation.verdict == CORRELATED:
        kind = 'shared'
    elif level < LEAST_LEVEL:
        kind = 'none'
    elif ratio >= _LEAST_RATIO:
        kind = 'signal-dependent'
    return ImageNoise(kind, level, correlation.value, impulses, ratio)


def _share_of_impulses(image_HWC: np.ndarray, level: float) -> float:
    """Returns the share of pixels that stick out from all their eight neighbors but one."""
    around = np.ones((3, 3, 1), bool)
    around[1, 1] = False
    second_highest = ndimage.rank_filter(image_HWC, -2, footprint=around)
    second_lowest = ndimage.rank_filter(image_HWC, 1, footprint=around)
    far = max(_FAR, _NEAR_LEVELS * level)
    sticks_out_HWC = (image_HWC > second_highest + far) | (image_HWC < second_lowest - far)
    return float(sticks_out_HWC.any(axis=-1).mean())


def _ratio_of_levels(image_HWC: np.ndarray) -> float:
    """Returns the ratio of the largest to the smallest noise level over brightness."""
    h, w = (side // _SIDE * _SIDE for side in image_HWC.shape[:2])
    if not h or not w:
        return 1.0
    blocks = image_HWC[:h, :w].reshape(h // _SIDE, _SIDE, w // _SIDE, _SIDE, -1)
    blocks = blocks.transpose(0, 2, 4, 1, 3).reshape(-1, _SIDE, _SIDE)
    # Half of the squared difference of neighbors along one axis, and along the other: blocks are
    # chosen by one and measured by the other, so that choosing the flattest does not lower it.
    across_N, down_N = (np.square(np.diff(blocks, axis=axis)).mean((1, 2)) / 2 for axis in (2, 1))
    mean_N = blocks.mean((1, 2))
    clipped_N = (blocks <= blocks.min()).any((1, 2)) | (blocks >= blocks.max()).any((1, 2))
    levels = []
    for chosen in np.array_split(np.argsort(mean_N, kind='stable'), _BINS):
        chosen = chosen[~clipped_N[chosen]]
        num = int(_FLATTEST * len(chosen))
        if num < _FEWEST:
            continue
        flat = chosen[np.argsort(across_N[chosen], kind='stable')[:num]]
        levels.append(float(np.sqrt(down_N[flat].mean())))
    return max(levels) / max(min(levels), 1e-6) if len(levels) > 1 else 1.0
