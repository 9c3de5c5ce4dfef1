"""The noise of a reference image that is itself a mean of captures.

N captures of a scene, H height, W width, C channels, B blocks, R results, P pixels.

Let t = s + m be the reference, m its noise of variance v, and x_i = s + n_i. In the finest
structure, which is mostly noise, any two captures have

    E (x_i - t)(x_j - t) = v - c_i - c_j,    c_i = E m n_i

If t is the mean of K captures including these, c = v and the product is -v; only then is it
negative. For other captures c = 0, and the product is v. Its magnitude relative to the variance of
a capture is 1 / K.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import ndimage

_BLOCK = 32  # side in pixels; products are averaged over blocks to estimate their uncertainty
_SIGNIFICANT = 3.0  # standard errors
_FINE = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]]) / 6  # preserves the variance of white noise


@dataclasses.dataclass(frozen=True)
class TruthNoise:
    """The noise of a clean image.

    Attributes:
      captures: the number of captures whose mean has the same noise.
      contains: whether the captures being scored are among them.
    """

    captures: float
    contains: bool

    def corrected(
        self,
        mse: float,
        results_RP: Sequence[np.ndarray],
        captures_NP: np.ndarray,
        made_of: Sequence[Sequence[int]],
    ) -> float | None:
        """Corrects a mean squared error for this noise; None if too small to be measured.

        Args:
          mse: error against the noisy clean image.
          results_RP: results of a method, only the pixels that count.
          captures_NP: the captures, the same pixels.
          made_of: for each result, the indices of the captures it was computed from.
        """
        x_NP = captures_NP.astype(np.float64)
        if not x_NP.size:
            return None
        variance = ((x_NP - x_NP.mean(axis=0)) ** 2).sum() / (len(x_NP) - 1) / x_NP.shape[1]
        corrected = mse - variance / self.captures
        if self.contains:  # results share part of its noise and look better than they are
            remaining = [
                _remaining_noise(f_P, x_NP, parts, variance)
                for f_P, parts in zip(results_RP, made_of, strict=True)
            ]
            corrected += 2 * np.mean(remaining) / self.captures
        return float(corrected) if corrected > 0 else None


def measure(
    captures_NHWC: np.ndarray, clean_HWC: np.ndarray, mask_HWC: np.ndarray
) -> TruthNoise | None:
    """Measures the noise of a clean image; None if it is not significant.

    Args:
      captures_NHWC: two or more, in any unit.
      clean_HWC: in the same unit.
      mask_HWC: True where values count.
    """
    x = captures_NHWC.astype(np.float64)
    t = _match_brightness(clean_HWC.astype(np.float64), x.mean(axis=0), mask_HWC)
    fine_NHWC = ndimage.convolve(x - t, _FINE[None, :, :, None], mode='nearest')
    num = len(x)
    # The mean over all pairs, from the sum and the sum of squares.
    sums, squares = fine_NHWC.sum(axis=0), (fine_NHWC**2).sum(axis=0)
    product_HWC = (sums**2 - squares) / (num * (num - 1))
    noise_HWC = squares / num - product_HWC  # half the squared difference of a pair
    counts_B, products_B, noises_B = (
        _block_sums(np.where(mask_HWC, part, 0)) for part in (1.0, product_HWC, noise_HWC)
    )
    total = counts_B.sum()
    if not total or noises_B.sum() <= 0:
        return None
    share = products_B.sum() / noises_B.sum()
    residuals_B = products_B - share * noises_B
    error = np.sqrt((residuals_B**2).sum()) / noises_B.sum()
    if abs(share) < max(_SIGNIFICANT * error, 1e-4):
        return None
    return TruthNoise(float(1 / abs(share)), bool(share < 0))


def _match_brightness(
    clean_HWC: np.ndarray, mean_HWC: np.ndarray, mask_HWC: np.ndarray
) -> np.ndarray:
    """Fits gain and offset of a clean image to the mean of the captures."""
    clean_P, mean_P = clean_HWC[mask_HWC], mean_HWC[mask_HWC]
    if clean_P.size < 2 or clean_P.std() == 0:
        return clean_HWC
    gain, offset = np.polyfit(clean_P, mean_P, 1)
    return gain * clean_HWC + offset


def _block_sums(map_HWC: np.ndarray) -> np.ndarray:
    map_HW = map_HWC.sum(axis=-1)
    rows = np.add.reduceat(map_HW, np.arange(0, map_HW.shape[0], _BLOCK), axis=0)
    return np.add.reduceat(rows, np.arange(0, map_HW.shape[1], _BLOCK), axis=1).ravel()


def _remaining_noise(
    result_P: np.ndarray, captures_NP: np.ndarray, parts: Sequence[int], variance: float
) -> float:
    """Estimates E f (n_i + ...), the noise of its input captures that remains in a result."""
    others = [k for k in range(len(captures_NP)) if k not in parts]
    if not others:  # the mean of all captures
        return variance
    other_P = captures_NP[others].mean(axis=0)
    return float(np.mean(result_P * (captures_NP[list(parts)].sum(axis=0) - len(parts) * other_P)))


def in_words(found: Mapping[str, TruthNoise | None]) -> str:
    """Describes the noise of the clean images in a line; '' if none was found.

    Args:
      found: noise by scene; None where none was found.
    """
    noisy = [noise for noise in found.values() if noise is not None]
    if not noisy:
        return ''
    counts = sorted(noise.captures for noise in noisy)
    about = f'{counts[len(counts) // 2]:.0f}'
    own = sum(noise.contains for noise in noisy)
    which = ', including these' if own > len(noisy) / 2 else ''
    where = '' if len(noisy) == len(found) else f' in {len(noisy)} of {len(found)} scenes'
    return (
        f'The clean images are themselves noisy{where}, like a mean of about {about} captures'
        f'{which}. That noise limits every PSNR against them; the column "less its noise" is '
        'corrected for it.'
    )
