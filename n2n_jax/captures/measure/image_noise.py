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
# Of independent noise, these ratios are 0.9 and 0.5 at least, after JPEG compression with color at
# full resolution 0.87 but for weak noise; of color at half of the resolution, up to 0.42, along
# one axis only 0.67; of interpolated color 0.63 (Kodak, BSDS500, noise of 5 to 50).
_LEAST_OF_FAR = 0.75  # share of the difference of distant pixels that adjacent ones have
_LEAST_COLOR = 0.25  # share of the level of the noise that that of color has
_LEAST_IN_FLAT = 3.5 / 255  # in flat blocks; those of most photographs have less without noise
_LEAST_IMPULSES = 0.02  # share of the pixels; photographs have up to 0.014
_FAR = 0.1  # by how much an impulse differs at least from all its neighbors but one
_NEAR_LEVELS = 4.0  # and by how many times the level of the other noise
_RANGES = 1.0  # and by how many times the range of these neighbors, which texture widens
_SHADOWS = 0.25  # brightness up to which a place is in shadow
_ENOUGH_BRIGHT = 0.1  # share of the pixels
_SIDE = 8  # pixels of a block
_BINS = 8  # by brightness
_FLATTEST = 0.15  # share of the blocks that is taken for flat
_FEWEST = 20  # blocks in that share
_LEAST_RATIO = 1.35  # of noise levels between dark and bright, from which they count as different
_ENDS = 3  # the darkest and the brightest of that many parts of the bins are compared


@dataclasses.dataclass(frozen=True)
class ImageNoise:
    """The noise of an image.

    Attributes:
      kind: 'impulses': some pixels are replaced; 'shared': neighboring pixels have similar noise;
        'signal-dependent': its level depends on the brightness; 'none': its level is below that of
        files of 8 bits; else 'independent'.
      level: standard deviation, for images in [0, 1]; where there are impulses, of the other noise.
      correlation: of the noise of adjacent pixels; NaN if that could not be measured.
      impulses: share of the pixels.
      ratio: of the levels of bright and dark parts, 1 or more; 1 if not measured.
    """

    kind: Kind
    level: float
    correlation: float
    impulses: float
    ratio: float

    def with_level(self, level: float) -> 'ImageNoise':
        """Returns this noise as of a level that is known better; 0: there is none."""
        kind: Kind = 'none'
        if level:
            kind = 'independent' if self.kind == 'none' else self.kind
        return dataclasses.replace(self, kind=kind, level=level)


def measure(image_HWC: np.ndarray) -> ImageNoise:
    """Measures the noise of an image, which lies in [0, 1] but for its noise."""
    image_HWC = np.asarray(image_HWC, np.float32)
    level = float(_estimate(image_HWC[None])[0])
    correlation = neighbor_correlation(image_HWC)
    impulses = _share_of_impulses(image_HWC, level)
    ratio = _ratio_of_levels(image_HWC)
    in_flat = _level_in_flat_blocks(image_HWC)
    kind: Kind = 'independent'
    if impulses >= _LEAST_IMPULSES:
        kind = 'impulses'
    elif in_flat >= _LEAST_IN_FLAT and _color_noise_is_shared(image_HWC, level):
        kind, level = 'shared', max(level, in_flat)
    elif correlation.verdict == CORRELATED or level < LEAST_LEVEL:
        # The level is that of noise without correlation, of which compressed noise has little.
        kind, level = ('shared', in_flat) if in_flat >= _LEAST_IN_FLAT else ('none', level)
    elif ratio >= _LEAST_RATIO:
        kind = 'signal-dependent'
    return ImageNoise(kind, level, correlation.value, impulses, ratio)


_estimate = jax.jit(noise_level.estimate)


def _color_noise_is_shared(image_HWC: np.ndarray, level: float) -> bool:
    """Whether neighbors share the noise of their color, or it is gone, as after JPEG compression.

    Files of photographs hold color at half of the resolution, and cameras interpolate it. In flat
    blocks of the differences of channels, adjacent pixels then differ by less than distant ones.

    Args:
      image_HWC: the image.
      level: of its noise.
    """
    if image_HWC.shape[-1] != 3 or is_gray(image_HWC):
        return False
    red_HW, green_HW, blue_HW = np.moveaxis(image_HWC, -1, 0)
    color_HWC = np.stack([red_HW - green_HW, blue_HW - green_HW], axis=-1) / np.sqrt(2)
    blocks = _blocks(color_HWC)
    flattest = np.argsort(blocks.var((1, 2)), kind='stable')[: int(_FLATTEST * len(blocks))]
    if len(flattest) < _FEWEST:
        return False
    near, far = (_squared_differences(blocks[flattest], lag) for lag in (1, _SIDE // 2))
    return near < _LEAST_OF_FAR * far or far / 2 < (_LEAST_COLOR * level) ** 2


def is_gray(image_HWC: np.ndarray) -> bool:
    """Whether all channels are equal, as in gray images that are stored in color."""
    return bool((image_HWC == image_HWC[..., :1]).all())


def _squared_differences(blocks: np.ndarray, lag: int) -> float:
    """Returns the mean square of the difference of pixels so far apart, along either axis."""
    down, across = (blocks[:, lag:] - blocks[:, :-lag], blocks[..., lag:] - blocks[..., :-lag])
    return float(np.square(down).mean() + np.square(across).mean()) / 2


def _share_of_impulses(image_HWC: np.ndarray, level: float) -> float:
    """Returns the share of pixels that stick out from all their eight neighbors but one.

    Of those in bright places, if there are enough: in the shadows of photographs, the tone curve
    makes ordinary noise stick out.
    """
    around = np.ones((3, 3, 1), bool)
    around[1, 1] = False
    high_HWC = ndimage.rank_filter(image_HWC, -2, footprint=around)
    low_HWC = ndimage.rank_filter(image_HWC, 1, footprint=around)
    far_HWC = np.maximum(max(_FAR, _NEAR_LEVELS * level), _RANGES * (high_HWC - low_HWC))
    sticks_out_HWC = (image_HWC > high_HWC + far_HWC) | (image_HWC < low_HWC - far_HWC)
    bright_HW = (high_HWC + low_HWC).mean(axis=-1) / 2 > _SHADOWS
    looked_at_HW = bright_HW if bright_HW.mean() > _ENOUGH_BRIGHT else np.ones_like(bright_HW)
    return float(sticks_out_HWC.any(axis=-1)[looked_at_HW].mean())


def _ratio_of_levels(image_HWC: np.ndarray) -> float:
    """Returns the ratio of the noise levels of bright and dark parts, 1 or more.

    Not of the largest and the smallest: texture raises that of any brightness.
    """
    blocks = _blocks(image_HWC)
    # Half of the squared difference of neighbors along one axis, and along the other: blocks are
    # chosen by one and measured by the other, so that choosing the flattest does not lower it.
    across_N, down_N = (np.square(np.diff(blocks, axis=axis)).mean((1, 2)) / 2 for axis in (2, 1))
    low, high = image_HWC.min(), image_HWC.max()
    inside_N = (blocks > low).all((1, 2)) & (blocks < high).all((1, 2))
    levels = []
    for chosen in np.array_split(np.argsort(blocks.mean((1, 2)), kind='stable'), _BINS):
        chosen = chosen[inside_N[chosen]]
        num = int(_FLATTEST * len(chosen))
        if num >= _FEWEST:
            flat = chosen[np.argsort(across_N[chosen], kind='stable')[:num]]
            levels.append(float(np.sqrt(down_N[flat].mean())))
    if len(levels) < 2:
        return 1.0
    num = -(-len(levels) // _ENDS)
    dark, bright = float(np.mean(levels[:num])), float(np.mean(levels[-num:]))
    return float(max(dark, bright) / max(min(dark, bright), 1e-6))


def _level_in_flat_blocks(image_HWC: np.ndarray) -> float:
    """Returns the standard deviation in the flattest blocks, also of noise that neighbors share.

    Blocks are chosen by their upper half and measured in the lower.
    """
    upper_N, lower_N = (half.var((1, 2)) for half in np.split(_blocks(image_HWC), 2, axis=1))
    if not len(upper_N):
        return 0.0
    num = max(1, int(_FLATTEST * len(upper_N)))
    return float(np.sqrt(np.median(lower_N[np.argsort(upper_N, kind='stable')[:num]])))


def _blocks(image_HWC: np.ndarray) -> np.ndarray:
    """Returns all whole blocks of all channels, (N, side, side)."""
    h, w = (side // _SIDE * _SIDE for side in image_HWC.shape[:2])
    channels = image_HWC.shape[-1]
    blocks = image_HWC[:h, :w].reshape(h // _SIDE, _SIDE, w // _SIDE, _SIDE, channels)
    return blocks.transpose(0, 2, 4, 1, 3).reshape(-1, _SIDE, _SIDE)
