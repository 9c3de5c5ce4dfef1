"""Tests whether noise is correlated between neighboring pixels, from a single image.

H height, W width, C channels, N blocks, K coefficients of a block.

The flattest blocks of an image contain little but noise. Independent noise has a flat power
spectrum there; that of correlated noise falls towards high frequencies (or rises, if the image was
sharpened). The spectrum is that of the 8x8 cosine transform, as in Ponomarenko et al. 2007 ('An
automatic approach to lossy compression of AVIRIS images', IGARSS) and its successors, without the
lowest frequencies, which hold shading. Flat blocks are selected by one half of the coefficients and
measured on the other half, and vice versa, so that selection does not bias the measurement of
independent noise.

Fine texture that fills the whole image looks like correlated noise. Noise differs by its floor:
many blocks of equal energy, the same spectrum in the flattest 3, 12 or 50 % of the blocks, and a
spectrum that is not flat at high frequencies. Otherwise the result is 'unclear'.
"""

import dataclasses

import numpy as np
from scipy import fft

INDEPENDENT, CORRELATED, UNCLEAR = 'independent', 'correlated', 'unclear'

_SIDE = 8  # pixels of a block
_LEAST_RADIUS, _TOP_RADIUS = 2, 4  # lowest frequency used, and where high frequencies begin
_SHARES = (0.03, 0.12, 0.5)  # of the blocks, flattest first
_FEWEST_BLOCKS = 32  # in the smallest share
_BLOCKS_NEEDED = 128
_MOST_BLOCKS = 20_000
# Tuned on photographs, dead leaves and drawn microscopy with independent noise and noise blurred by
# 0.5 to 2 pixels, so that independent noise is hardly ever called correlated.
_LEAST_CORRELATION = 0.15
_LEAST_TOP_SLOPE = 0.1
_MOST_RISE = 0.6  # of log energy from the first share to the second, per unit of correlation
_MOST_DRIFT = (0.05, 0.15)  # of the correlation, from the first share to the second and third


@dataclasses.dataclass(frozen=True)
class NeighborCorrelation:
    """The noise correlation measured on one image.

    Attributes:
      value: correlation between the noise of adjacent pixels, along rows or columns, whichever is
        further from 0. Slightly underestimated where it is large, as the lowest frequencies are
        excluded; overestimated where there is texture everywhere. NaN if there are too few blocks.
      verdict: 'independent', 'correlated', or 'unclear': the image is too small, or its noise too
        weak to be separated from fine texture.
    """

    value: float
    verdict: str


def _coefficient_layout() -> tuple[np.ndarray, ...]:
    row_KK, column_KK = np.indices((_SIDE, _SIDE))
    radius_KK = np.hypot(row_KK, column_KK)
    used_KK = radius_KK >= _LEAST_RADIUS
    rows_K, columns_K = row_KK[used_KK], column_KK[used_KK]
    # Both halves have coefficients of all directions and radii.
    half_K = (3 * rows_K + 5 * columns_K + (rows_K // 2) * (columns_K // 2)) % 4 < 2
    cosines_2K = np.cos(np.pi / _SIDE * np.stack([rows_K, columns_K]))
    return used_KK, half_K, cosines_2K, radius_KK[used_KK] >= _TOP_RADIUS


_USED_KK, _HALF_K, _COSINES_2K, _TOP_K = _coefficient_layout()


def neighbor_correlation(image_HWC: np.ndarray) -> NeighborCorrelation:
    """Measures the correlation of noise between neighboring pixels of an image.

    Args:
      image_HWC: of any type and range; blocks with its lowest or highest value are excluded, as
        their noise is clipped.
    """
    energy_NK = _block_energies(image_HWC)
    num_blocks = len(energy_NK)
    if num_blocks < _BLOCKS_NEEDED:
        return NeighborCorrelation(float('nan'), UNCLEAR)
    spectra = [_spectrum_of_flattest(energy_NK, share) for share in _SHARES]
    first, second, third = (_slope(spectrum_K, _COSINES_2K) for spectrum_K in spectra)
    if abs(first) <= _LEAST_CORRELATION:
        return NeighborCorrelation(first, INDEPENDENT)
    sign = np.sign(first)
    top = sign * _slope(spectra[0][_TOP_K], _COSINES_2K[:, _TOP_K])
    rise = np.log(spectra[1].mean() / spectra[0].mean())
    floor = (
        top > _LEAST_TOP_SLOPE
        and rise < _MOST_RISE * abs(first)
        and second - first < _MOST_DRIFT[0]
        and third - first < _MOST_DRIFT[1]
    )
    return NeighborCorrelation(first, CORRELATED if floor else UNCLEAR)


def _block_energies(image_HWC: np.ndarray) -> np.ndarray:
    """Returns squared cosine coefficients of all non-empty blocks and channels, (N, K)."""
    h, w = (side // _SIDE * _SIDE for side in image_HWC.shape[:2])
    channels = image_HWC.shape[2]
    blocks = image_HWC[:h, :w].reshape(h // _SIDE, _SIDE, w // _SIDE, _SIDE, channels)
    blocks = blocks.transpose(0, 2, 4, 1, 3).reshape(-1, _SIDE, _SIDE)
    low, high = image_HWC.min(), image_HWC.max()
    inside_N = ((blocks > low) & (blocks < high)).all(axis=(1, 2))
    if inside_N.sum() >= _BLOCKS_NEEDED:
        blocks = blocks[inside_N]
    blocks = blocks[:: max(1, -(-len(blocks) // _MOST_BLOCKS))].astype(np.float64)
    # Scaled by a power of two, which is exact: squares of very large values would overflow.
    unit = 2.0 ** np.frexp(max(abs(float(low)), abs(float(high))))[1]
    blocks = blocks / unit
    energy_NK = (fft.dctn(blocks, axes=(1, 2), norm='ortho') ** 2)[:, _USED_KK]
    scale = (float(high) / unit - float(low) / unit) ** 2
    return energy_NK[energy_NK.mean(axis=1) > 1e-12 * scale]


def _spectrum_of_flattest(energy_NK: np.ndarray, share: float) -> np.ndarray:
    """Returns the mean energy of each coefficient over the flattest `share` of the blocks, (K,).

    Blocks are selected by the half of the coefficients that is not measured.
    """
    num = max(int(share * len(energy_NK)), _FEWEST_BLOCKS)
    spectrum_K = np.empty(energy_NK.shape[1])
    for half_K in (_HALF_K, ~_HALF_K):
        chosen = np.argsort(energy_NK[:, half_K].mean(axis=1), kind='stable')[:num]
        spectrum_K[~half_K] = energy_NK[chosen][:, ~half_K].mean(axis=0)
    return spectrum_K


def _slope(spectrum_K: np.ndarray, cosines_2K: np.ndarray) -> float:
    """Returns the correlation at 1 pixel of a spectrum, less that of a flat one."""
    weight_K = spectrum_K / spectrum_K.sum()
    slopes_2 = cosines_2K @ weight_K - cosines_2K.mean(axis=1)
    return float(slopes_2[np.argmax(np.abs(slopes_2))])
