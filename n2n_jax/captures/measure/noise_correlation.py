"""Whether noise is independent between neighboring pixels, told from one noisy image.

H height, W width, C channels, N blocks, K coefficients of a block.

In the flattest places of an image there is noise and little else. There the power spectrum of
independent noise is flat, and that of correlated noise falls towards high frequencies (or rises,
where an image was sharpened). Blocks of 8x8 are taken to their cosine transform, as in Ponomarenko
et al. 2007 ('An automatic approach to lossy compression of AVIRIS images', IGARSS) and what came of
it, without the lowest frequencies, which hold shading. Half of the coefficients say which blocks
are flat, the other half are measured there, and the other way round: of independent noise the
chosen blocks are not special in what is measured.

Fine texture looks like correlated noise where it fills all of an image. What tells them apart is
that noise has a floor: many blocks of the same energy, the same spectrum whether one looks at the
flattest 3, 12 or 50 %, and a spectrum that does not become flat at its upper end. Where that is not
so the answer is 'unclear'.
"""

import dataclasses

import numpy as np
from scipy import fft

INDEPENDENT, CORRELATED, UNCLEAR = 'independent', 'correlated', 'unclear'

_SIDE = 8  # pixels of a block
_LEAST_RADIUS, _TOP_RADIUS = 2, 4  # of the coefficients that are used, and of the upper end
_SHARES = (0.03, 0.12, 0.5)  # of the blocks, flattest first
_FEWEST_BLOCKS = 32  # in the smallest share
_BLOCKS_NEEDED = 128
_MOST_BLOCKS = 20_000
# Chosen on photographs, dead leaves and drawn microscopy under independent noise and noise blurred
# by 0.5 to 2 pixels, so that independent noise is hardly ever called correlated.
_LEAST_CORRELATION = 0.15
_LEAST_TOP_SLOPE = 0.1
_MOST_RISE = 0.6  # of log energy from the first share to the second, per correlation
_MOST_DRIFT = (0.05, 0.15)  # of the correlation, from the first share to the others


@dataclasses.dataclass(frozen=True)
class NeighborCorrelation:
    """What one image says about its noise.

    Attributes:
      value: correlation of the noise of a pixel with that of the next one, along rows or columns,
        whichever is further from 0. A little less than the true one where that is large, as the
        lowest frequencies are left out; more than it where there is texture everywhere. NaN if
        there are too few blocks to measure anything.
      verdict: 'independent'; 'correlated'; or 'unclear': too small an image, or noise so weak
        beside fine texture that they cannot be told apart.
    """

    value: float
    verdict: str


def _geometry() -> tuple[np.ndarray, ...]:
    row_KK, column_KK = np.indices((_SIDE, _SIDE))
    radius_KK = np.hypot(row_KK, column_KK)
    used_KK = radius_KK >= _LEAST_RADIUS
    rows_K, columns_K = row_KK[used_KK], column_KK[used_KK]
    # Two halves with coefficients of all directions and radii in both.
    half_K = (3 * rows_K + 5 * columns_K + (rows_K // 2) * (columns_K // 2)) % 4 < 2
    cosines_2K = np.cos(np.pi / _SIDE * np.stack([rows_K, columns_K]))
    return used_KK, half_K, cosines_2K, radius_KK[used_KK] >= _TOP_RADIUS


_USED_KK, _HALF_K, _COSINES_2K, _TOP_K = _geometry()


def neighbor_correlation(image_HWC: np.ndarray) -> NeighborCorrelation:
    """Measures how noise is related between neighboring pixels of an image.

    Args:
      image_HWC: of any type and range; blocks that touch its lowest or highest value are left out,
        as noise is cut off there.
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
    """Squared cosine coefficients of the blocks of all channels, (N, K); none of empty blocks."""
    h, w = (side // _SIDE * _SIDE for side in image_HWC.shape[:2])
    channels = image_HWC.shape[2]
    blocks = image_HWC[:h, :w].reshape(h // _SIDE, _SIDE, w // _SIDE, _SIDE, channels)
    blocks = blocks.transpose(0, 2, 4, 1, 3).reshape(-1, _SIDE, _SIDE)
    low, high = image_HWC.min(), image_HWC.max()
    inside_N = ((blocks > low) & (blocks < high)).all(axis=(1, 2))
    if inside_N.sum() >= _BLOCKS_NEEDED:
        blocks = blocks[inside_N]
    blocks = blocks[:: max(1, -(-len(blocks) // _MOST_BLOCKS))].astype(np.float64)
    # By a power of two, which changes no digit: squares of very large values are no numbers.
    unit = 2.0 ** np.frexp(max(abs(float(low)), abs(float(high))))[1]
    blocks = blocks / unit
    energy_NK = (fft.dctn(blocks, axes=(1, 2), norm='ortho') ** 2)[:, _USED_KK]
    scale = (float(high) / unit - float(low) / unit) ** 2
    return energy_NK[energy_NK.mean(axis=1) > 1e-12 * scale]


def _spectrum_of_flattest(energy_NK: np.ndarray, share: float) -> np.ndarray:
    """Mean energy of each coefficient over a share of the blocks, (K,).

    What a coefficient has is not what its block was chosen by.
    """
    num = max(int(share * len(energy_NK)), _FEWEST_BLOCKS)
    spectrum_K = np.empty(energy_NK.shape[1])
    for half_K in (_HALF_K, ~_HALF_K):
        chosen = np.argsort(energy_NK[:, half_K].mean(axis=1), kind='stable')[:num]
        spectrum_K[~half_K] = energy_NK[chosen][:, ~half_K].mean(axis=0)
    return spectrum_K


def _slope(spectrum_K: np.ndarray, cosines_2K: np.ndarray) -> float:
    """The correlation at a distance of 1 pixel that a spectrum has over that of a flat one."""
    weight_K = spectrum_K / spectrum_K.sum()
    slopes_2 = cosines_2K @ weight_K - cosines_2K.mean(axis=1)
    return float(slopes_2[np.argmax(np.abs(slopes_2))])
