"""The noise of a clean image that is none: of a mean of captures.

N captures of a scene, H height, W width, C channels, B blocks, R results, P pixels.

Let t = s + m be taken for clean, m its noise of variance v, and x_i = s + n_i. In the finest
structure, where noise is and the scene hardly is, of any two captures

    E (x_i - t)(x_j - t) = v - c_i - c_j,    c_i = E m n_i

If t is the mean of K captures and these are among them, c = v and the product is -v: it is negative
only then. Of other captures c = 0, and it is v. Either over the variance of a capture is 1 / K.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import ndimage

_BLOCK = 32  # pixels a side, over which products are averaged for their uncertainty
_SIGNIFICANT = 3.0  # standard errors
_FINE = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]]) / 6  # white noise keeps its variance


@dataclasses.dataclass(frozen=True)
class TruthNoise:
    """How noisy a clean image is.

    Attributes:
      captures: of how many its noise is that of the mean.
      contains: whether the captures at hand are among them.
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
        """The mean squared error against what is truly clean; None if that is not measurable.

        Args:
          mse: against the noisy one.
          results_RP: what a method makes of captures, the pixels that count.
          captures_NP: the captures.
          made_of: the captures behind each result.
        """
        x_NP = captures_NP.astype(np.float64)
        if not x_NP.size:
            return None
        variance = ((x_NP - x_NP.mean(axis=0)) ** 2).sum() / (len(x_NP) - 1) / x_NP.shape[1]
        corrected = mse - variance / self.captures
        if self.contains:  # results hold a part of its noise, which makes them look better
            kept = [
                _kept_noise(f_P, x_NP, parts, variance)
                for f_P, parts in zip(results_RP, made_of, strict=True)
            ]
            corrected += 2 * np.mean(kept) / self.captures
        return float(corrected) if corrected > 0 else None


def measure(
    captures_NHWC: np.ndarray, clean_HWC: np.ndarray, mask_HWC: np.ndarray
) -> TruthNoise | None:
    """The noise of a clean image; None if none is to be seen.

    Args:
      captures_NHWC: two or more, in any unit.
      clean_HWC: in the same.
      mask_HWC: True where values count.
    """
    x = captures_NHWC.astype(np.float64)
    t = _as_bright(clean_HWC.astype(np.float64), x.mean(axis=0), mask_HWC)
    fine_NHWC = ndimage.convolve(x - t, _FINE[None, :, :, None], mode='nearest')
    num = len(x)
    # Of all pairs at once, from the sum and the sum of squares.
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
    left_B = products_B - share * noises_B
    error = np.sqrt((left_B**2).sum()) / noises_B.sum()
    if abs(share) < max(_SIGNIFICANT * error, 1e-4):
        return None
    return TruthNoise(float(1 / abs(share)), bool(share < 0))


def _as_bright(clean_HWC: np.ndarray, mean_HWC: np.ndarray, mask_HWC: np.ndarray) -> np.ndarray:
    """A clean image with the gain and the offset that bring it nearest to the captures."""
    clean_P, mean_P = clean_HWC[mask_HWC], mean_HWC[mask_HWC]
    if clean_P.size < 2 or clean_P.std() == 0:
        return clean_HWC
    gain, offset = np.polyfit(clean_P, mean_P, 1)
    return gain * clean_HWC + offset


def _block_sums(map_HWC: np.ndarray) -> np.ndarray:
    map_HW = map_HWC.sum(axis=-1)
    rows = np.add.reduceat(map_HW, np.arange(0, map_HW.shape[0], _BLOCK), axis=0)
    return np.add.reduceat(rows, np.arange(0, map_HW.shape[1], _BLOCK), axis=1).ravel()


def _kept_noise(
    result_P: np.ndarray, captures_NP: np.ndarray, parts: Sequence[int], variance: float
) -> float:
    """E f (n_i + ...), the noise of the captures that a result was made of and still holds."""
    others = [k for k in range(len(captures_NP)) if k not in parts]
    if not others:  # a mean of all
        return variance
    other_P = captures_NP[others].mean(axis=0)
    return float(np.mean(result_P * (captures_NP[list(parts)].sum(axis=0) - len(parts) * other_P)))


def in_words(found: Mapping[str, TruthNoise | None]) -> str:
    """What the noise of clean images does, in a line; '' where none is to be seen.

    Args:
      found: by scene.
    """
    noisy = [noise for noise in found.values() if noise is not None]
    if not noisy:
        return ''
    counts = sorted(noise.captures for noise in noisy)
    about = f'{counts[len(counts) // 2]:.0f}'
    own = sum(noise.contains for noise in noisy)
    which = ', these among them,' if own > len(noisy) / 2 else ''
    where = '' if len(noisy) == len(found) else f' in {len(noisy)} of {len(found)} scenes'
    return (
        f'The clean images are noisy themselves{where}: as the mean of about {about} captures'
        f'{which} would be. No result can score more against them than that noise; the column '
        '"less its noise" has it taken off.'
    )
