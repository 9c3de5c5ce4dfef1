"""Detects captures with shared noise, such as overlapping averages of frames.

N captures of a scene, H height, W width, C channels, B blocks.

Rolling means, overlapping windows and progressive renders or scans are not independent captures:
noise that two of them share counts as signal, for a network as well as for an estimate. In the fine
structure x_i = s + n_i the scene contributes equally to the product of any two captures,

    E x_i x_j = E s^2 + E n_i n_j,    E x_i^2 = E s^2 + E n_i^2

so if the least similar pair shares no noise, its product is E s^2, and any excess is noise. What
all captures share equally, such as a fixed pattern, cannot be separated from the scene; with only
two captures, nothing can.
"""

import dataclasses
import itertools

import numpy as np
from scipy import ndimage

from n2n_jax.captures.measure import brightness

_ROUNDING = 1e-12  # relative to the largest value
_WINDOW = 5  # pixels a side of the local mean that is subtracted, to leave mostly noise
_BLOCK = 8  # pixels a side
_PLAINEST = 0.5  # share of the blocks that is used, those with the least structure
_LEAST = 0.1  # smallest correlation that matters
_FEWEST_BLOCKS = 8  # effective number of blocks over which the excess must be spread
_DEPENDENT = 3.0  # variance of a mean, relative to that of independent values
_SIGNIFICANT = 4.5  # standard errors, for one pair


@dataclasses.dataclass(frozen=True)
class SharedNoise:
    """Two captures that share noise.

    Attributes:
      pair: their indices.
      correlation: lower bound of the correlation of their noise, 0 to 1.
    """

    pair: tuple[int, int]
    correlation: float

    def in_words(self) -> str:
        """Describes the pair, such as 'captures 2 and 3 (0.52)'."""
        first, second = self.pair
        return f'captures {first + 1} and {second + 1} ({self.correlation:.2f})'


def find(captures_NHWC: np.ndarray) -> SharedNoise | None:
    """Returns the pair of captures that share most noise; None if no pair significantly does.

    Args:
      captures_NHWC: captures in any unit, or regions of them side by side. For fewer than three the
        result is None.
    """
    num = len(captures_NHWC)
    if num < 3:
        return None
    x_NHWC = captures_NHWC.astype(np.float64)
    found = brightness.compare_channels(x_NHWC)
    if found.differs:  # in brighter captures the products of the scene are larger
        gain_NC = np.stack([one.gain_N for one in found.to_match()], axis=-1)
        x_NHWC = x_NHWC / gain_NC[:, None, None]
    products_NNB = _products(x_NHWC)
    pairs = list(itertools.combinations(range(num), 2))
    least = min(pairs, key=lambda pair: products_NNB[pair].mean())
    noise_NN = products_NNB.mean(axis=-1) - products_NNB[least].mean()
    # Blocks with a single value, such as zero photons, leave only rounding errors of the filter.
    if np.diag(noise_NN).min() <= (_ROUNDING * np.abs(x_NHWC).max()) ** 2:
        return None
    scale_N = np.sqrt(np.diag(noise_NN))
    correlation_NN = noise_NN / np.outer(scale_N, scale_N)
    pair = max(pairs, key=lambda pair: correlation_NN[pair])
    excess_B = (products_NNB[pair] - products_NNB[least]) / (scale_N[pair[0]] * scale_N[pair[1]])
    error = excess_B.std() / np.sqrt(max(len(excess_B) - 1, 1))
    # A few bright spots on black say nothing about the rest.
    if (excess_B**2).sum() ** 2 < _FEWEST_BLOCKS * (excess_B**4).sum():
        return None
    # A few blocks may agree by chance; this bounds the error by the number of independent values.
    error = max(error, np.sqrt(_DEPENDENT / (len(excess_B) * _BLOCK**2)))
    # The two pairs are the extremes of many.
    beyond_chance = _SIGNIFICANT + np.sqrt(2 * np.log(len(pairs)))
    correlation = float(correlation_NN[pair])
    if correlation < max(_LEAST, beyond_chance * error):
        return None
    return SharedNoise(pair, min(correlation, 1.0))


def _products(x_NHWC: np.ndarray) -> np.ndarray:
    """Returns means of the products of fine structure over plain blocks, (N, N, B)."""
    fine_NHWC = x_NHWC - ndimage.uniform_filter(x_NHWC, (1, _WINDOW, _WINDOW, 1))
    blocks_NBP = _to_blocks(fine_NHWC)
    coarse_1HWC = ndimage.uniform_filter(x_NHWC.mean(axis=0), (_WINDOW, _WINDOW, 1))[None]
    activity_B = _to_blocks(coarse_1HWC)[0].var(axis=-1)
    plain_B = activity_B <= np.quantile(activity_B, _PLAINEST)
    blocks_NBP = blocks_NBP[:, plain_B]
    return np.einsum('ibp,jbp->ijb', blocks_NBP, blocks_NBP) / blocks_NBP.shape[-1]


def _to_blocks(images_NHWC: np.ndarray) -> np.ndarray:
    """Splits images into complete blocks, or one if they are smaller: (N, B, pixels of a block)."""
    num, h, w, c = images_NHWC.shape
    side = min(_BLOCK, h, w)
    images_NHWC = images_NHWC[:, : h // side * side, : w // side * side]
    x = images_NHWC.reshape(num, h // side, side, w // side, side, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(num, -1, side * side * c)
