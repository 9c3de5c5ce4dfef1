"""How far captures of a scene are shifted against each other, and how sure that is.

N captures of a scene, R regions, H height, W width, C channels, B blocks, D directions.

A capture x is compared with the mean r of the others. If its content lies t pixels further down and
right, x(p) = r(p - t), then

    x - r = -t . grad s + noise,

which is solved for t by least squares (Lucas and Kanade 1981), again after each correction by what
was found. What is different from the textbook:

* Both images are band-passed first, at several scales, each weighted by its noise. So an offset and
  slow changes of the light do not look like a shift; nor can a ramp be told from one, and indeed it
  cannot be: its shift is reported as not measurable. A gain is divided out beforehand.
* The matrix of gradients is that of x times that of r: their noise is independent, so it does not
  make gradients look larger, and shifts smaller, than they are (instrumental variables). The
  gradients that multiply the difference are the mean of both, whose noise is uncorrelated with
  that of the difference at the same place.
* The covariance of t comes from how the residual scatters over blocks of the image (the sandwich of
  White 1980, clustered), so it holds for noise that depends on the signal or on its neighbors.
* A shift of pixels is first looked for by correlation, and believed only if it leaves clearly less
  of the difference than none.
"""

import dataclasses
import functools

import numpy as np
import scipy.fft
from scipy import ndimage

from n2n_jax.captures.measure import block_statistics, regions

_SCALES = (1.0, 2.0, 4.0)  # standard deviations in pixels of the finer Gaussian of a band
_COARSER = 2.0  # the other Gaussian of the band is so much wider
_SMALLEST_SIDE = 32  # in units of a scale: of an image in which it is used
_REACH = 3.0  # standard deviations after which a Gaussian is cut off
_LARGEST_SHIFT = 0.25  # of the smaller side
_MOST_STEPS = 6
_SMALL_STEP = 0.01  # pixels
_USEFUL_ERROR = 1.0  # pixels: with a larger standard error a shift is no knowledge
_UNKNOWN_ERROR = 10.0  # pixels: that of a direction in which nothing is measurable
_MOST_KEPT = 2**27  # bytes of bands that are not made twice


@dataclasses.dataclass(frozen=True)
class Shift:
    """The shift of one capture.

    Attributes:
      pixels_2: rows, columns; 0 along directions in which it is not measurable.
      covariance_22: of its estimate, in pixels^2.
      freedom: degrees of freedom of the covariance: about how many blocks tell.
    """

    pixels_2: np.ndarray
    covariance_22: np.ndarray
    freedom: float

    def by_direction(self) -> list[tuple[float, float]]:
        """Shift and standard error along the axes of the error ellipse, best known first.

        Across a lone straight edge a shift is measurable, along it none is.
        """
        variances_D, directions_2D = np.linalg.eigh(self.covariance_22)
        errors_D = np.sqrt(np.maximum(variances_D, 0))
        return [(float(directions_2D[:, d] @ self.pixels_2), float(errors_D[d])) for d in range(2)]

    def measurable(self) -> list[tuple[float, float]]:
        """Those of `by_direction` that are known to better than a pixel."""
        return [(shift, error) for shift, error in self.by_direction() if error <= _USEFUL_ERROR]

    def significant(self) -> float:
        """The largest shift along a direction that cannot be chance; 0 if there is none."""
        needed = block_statistics.needed(self.freedom)
        return max((abs(t) for t, error in self.measurable() if abs(t) > needed * error), default=0)


def shifts(captures_NHWC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The shift of each capture against the mean of the others, and its standard error.

    A shift of (1, 2) says that what the others show at row 5, column 5, this capture shows at row
    6, column 7. All captures are brought to their mean position by

        ndimage.shift(capture_HWC, (*(-(N - 1) / N * shift_2), 0))

    for each of the N: if capture k lies s_k away from the mean position, its shift against the mean
    of the others is s_k N / (N - 1). Of two captures, the second has minus the shift of the first,
    and each is moved by half of it; or one of them by all of it. Shifts of more than about a pixel
    among the others blur their mean: call again after undoing them.

    What captures share at fixed pixels (hot pixels, dirt on the sensor) does not move and pulls the
    result towards 0. Rotation is not looked for.

    Args:
      captures_NHWC: two or more, of any range and type.

    Returns:
      shifts_N2, in pixels (rows, columns), and standard_errors_N2. Where the scene does not tell (a
      plane, a ramp, noise only) the shift is 0 and its standard error infinite.

    Raises:
      ValueError: fewer than two captures.
    """
    return as_arrays(register(captures_NHWC))


def as_arrays(found: list[Shift]) -> tuple[np.ndarray, np.ndarray]:
    """What `shifts` returns."""
    shifts_N2 = np.stack([shift.pixels_2 for shift in found])
    errors_N2 = np.stack([np.sqrt(np.diag(shift.covariance_22)) for shift in found])
    unknown_N2 = errors_N2 > _USEFUL_ERROR
    return np.where(unknown_N2, 0.0, shifts_N2), np.where(unknown_N2, np.inf, errors_N2)


def register(captures_NHWC: np.ndarray) -> list[Shift]:
    """As `shifts`, with the covariance of each. Of a large scene regions are looked at."""
    num = len(captures_NHWC)
    if num < 2:
        raise ValueError(f'two captures or more, not {num}')
    parts = regions.regions(captures_NHWC)
    if min(parts[0].shape[1:3]) < _SMALLEST_SIDE:
        return [_nothing_known()] * num
    bands = _Bands(parts)
    if num == 2:
        shift = _of_one(bands.of(1), bands.of(0), 1)
        return [dataclasses.replace(shift, pixels_2=-shift.pixels_2), shift]
    return [_of_one(bands.of(i), bands.of_others(i), num - 1) for i in range(num)]


class _Bands:
    """Bands of captures, made when asked for, as those of many do not fit into memory at once.

    Values are brought near 1 by a power of two, which changes no digit of them: squares of very
    large or small ones would leave the range of float32.
    """

    def __init__(self, parts: list[np.ndarray]):
        self._parts = parts
        num = len(parts[0])
        means, most = [], 0.0
        for i in range(num):
            gray_RHW = self._gray(i)
            means.append(gray_RHW.mean())
            most = max(most, float(np.abs(gray_RHW).max()))
        self._center = float(np.mean(means))
        self._scale = 2.0 ** -np.frexp(most)[1] if most else 1.0
        size = len(_SCALES) * 4 * gray_RHW.size
        self.of = functools.lru_cache(maxsize=max(2, _MOST_KEPT // size))(self._of)
        self._num = num

    def _gray(self, i: int) -> np.ndarray:
        return np.stack([part[i].mean(axis=-1, dtype=np.float64) for part in self._parts])

    def _of(self, i: int) -> list[np.ndarray]:
        """Those of a capture, (R, H, W) at each scale."""
        return _bands(np.float32(self._scale * (self._gray(i) - self._center)))

    @functools.cached_property
    def _sums(self) -> list[np.ndarray]:
        sums = [band.astype(np.float64) for band in self.of(0)]
        for i in range(1, self._num):
            for total_RHW, band_RHW in zip(sums, self.of(i), strict=True):
                total_RHW += band_RHW
        return sums

    def of_others(self, i: int) -> list[np.ndarray]:
        """The means of those of the other captures."""
        return [
            ((total_RHW - own_RHW) / (self._num - 1)).astype(np.float32)
            for total_RHW, own_RHW in zip(self._sums, self.of(i), strict=True)
        ]


def _nothing_known() -> Shift:
    return Shift(np.zeros(2), _UNKNOWN_ERROR**2 * np.eye(2), 0.0)


def _bands(gray_RHW: np.ndarray) -> list[np.ndarray]:
    """Differences of Gaussians at each scale.

    At the border the image goes on as its point reflection, so that a ramp is a ramp there too.
    """
    side = min(gray_RHW.shape[1:])
    bands = []
    for scale in _SCALES:
        if side < _SMALLEST_SIDE * scale:
            break
        pad = int(np.ceil(_REACH * _COARSER * scale))
        widths = ((0, 0), (pad, pad), (pad, pad))
        padded = np.pad(gray_RHW, widths, mode='reflect', reflect_type='odd')
        fine, coarse = (
            ndimage.gaussian_filter(padded, (0, sigma, sigma), truncate=_REACH)
            for sigma in (scale, _COARSER * scale)
        )
        bands.append((fine - coarse)[:, pad:-pad, pad:-pad])
    return bands


def _of_one(own: list[np.ndarray], others: list[np.ndarray], num_others: int) -> Shift:
    """The shift of a capture against the mean of the others, both as bands (R, H, W)."""
    gain = _gain(own[-1], others[-1], num_others)
    own = [band / np.sqrt(gain) for band in own]
    others = [band * np.sqrt(gain) for band in others]
    slopes = [_slopes(band) for band in others]
    near = _descend(own, others, slopes, np.zeros(2))
    start_2 = _coarse(own[len(own) // 2], others[len(own) // 2])
    if np.hypot(*start_2) < 1.5 or np.hypot(*(near.pixels_2 - start_2)) < 1:
        return near
    far = _descend(own, others, slopes, start_2)
    return far if _leaves_less(own, others, far.pixels_2, near.pixels_2) else near


def _gain(own_RHW: np.ndarray, others_RHW: np.ndarray, noise_ratio: float) -> float:
    """How much brighter the own image is: Deming's regression, as both are noisy.

    It need not be exact: a gain enters a shift only where gradients and values are correlated.
    """
    xx, yy = float(np.mean(others_RHW**2)), float(np.mean(own_RHW**2))
    xy = float(np.mean(own_RHW * others_RHW))
    if xy <= 0.5 * np.sqrt(xx * yy):  # mostly noise: it would tell about that
        return 1.0
    half = (yy - noise_ratio * xx) / 2
    return float(np.clip((half + np.sqrt(half**2 + noise_ratio * xy**2)) / xy, 0.5, 2.0))


def _coarse(own_RHW: np.ndarray, others_RHW: np.ndarray) -> np.ndarray:
    """Where the correlation of the images is largest, in whole pixels."""
    h, w = own_RHW.shape[1:]
    window_HW = np.float32(np.hanning(h)[:, None] * np.hanning(w))
    spectra = [scipy.fft.rfft2(image * window_HW) for image in (own_RHW, others_RHW)]
    correlation_HW = scipy.fft.irfft2((spectra[0] * spectra[1].conj()).sum(axis=0), s=(h, w))
    most = int(_LARGEST_SHIFT * min(h, w))
    near_HW = np.fft.fftshift(correlation_HW)
    near_HW = near_HW[h // 2 - most : h // 2 + most + 1, w // 2 - most : w // 2 + most + 1]
    row, column = np.unravel_index(np.argmax(near_HW), near_HW.shape)
    return np.array([row - most, column - most], np.float64)


def _moved_back(image_RHW: np.ndarray, shift_2: np.ndarray) -> np.ndarray:
    if not shift_2.any():
        return image_RHW
    # Region by region: in three dimensions each value would take four times the work.
    moved = [ndimage.shift(image, -shift_2, order=3, mode='nearest') for image in image_RHW]
    return np.stack(moved)


def _margin(scale: float, *shifts_2: np.ndarray) -> int:
    """Pixels at the border that a shift, or what lies beyond, has a part in."""
    return int(np.ceil(_REACH * scale + max(np.abs(shift_2).max() for shift_2 in shifts_2)))


def _independent_area(scale: float) -> float:
    """Pixels per independent value of white noise behind a Gaussian: 1 / sum of its squares."""
    return 4 * np.pi * scale**2


def _inside(image_RHW: np.ndarray, margin: int) -> np.ndarray:
    return image_RHW[:, margin:-margin, margin:-margin]


def _slopes(image_RHW: np.ndarray) -> np.ndarray:
    """Derivatives down and across, (2, R, H, W), by differences over five pixels."""
    five = np.array([1, -8, 0, 8, -1]) / 12
    return np.stack([ndimage.correlate1d(image_RHW, five, axis=axis) for axis in (1, 2)])


@dataclasses.dataclass(frozen=True)
class _Equations:
    """Of one band: matrix t = right side, summed over blocks; and the noise's part in them."""

    matrix_22B: np.ndarray
    right_2B: np.ndarray
    noise_22: np.ndarray
    variance: float
    independent: float  # about how many independent values the band has


def _equations(
    own_RHW: np.ndarray,
    others_RHW: np.ndarray,
    slopes_2RHW: np.ndarray,
    shift_2: np.ndarray,
    scale: float,
    block: int,
) -> _Equations:
    moved_RHW = _moved_back(own_RHW, shift_2)
    margin = _margin(scale, shift_2)
    of_own, of_others = (
        slopes[..., margin:-margin, margin:-margin] for slopes in (_slopes(moved_RHW), slopes_2RHW)
    )
    difference_RHW = _inside(moved_RHW - others_RHW, margin)
    mixed = (of_own[0] * of_others[1] + of_own[1] * of_others[0]) / 2
    products = np.stack([of_own[0] * of_others[0], mixed, of_own[1] * of_others[1]])
    # Blocks of all scales must be at the same places: what the margin took is filled with 0.
    fill = ((margin, margin), (margin, margin))

    def summed(maps: np.ndarray) -> np.ndarray:
        padded = np.pad(maps, ((0, 0),) * (maps.ndim - 2) + fill)
        sums = block_statistics.block_sums(padded, block)
        return sums.reshape(*maps.shape[:-3], -1)

    matrix_22B = summed(products)[[[0, 1], [1, 2]]]
    right_2B = summed(-(of_own + of_others) / 2 * difference_RHW)
    apart = of_own - of_others
    noise_22 = np.einsum('arhw,brhw->ab', apart, apart, dtype=np.float64) / 2
    variance = float(np.mean(difference_RHW**2, dtype=np.float64))
    independent = difference_RHW.size / _independent_area(scale)
    return _Equations(matrix_22B, right_2B, noise_22, variance, independent)


def _descend(
    own: list[np.ndarray], others: list[np.ndarray], slopes: list[np.ndarray], start_2: np.ndarray
) -> Shift:
    """Gauss-Newton steps from a start; `slopes` are those of the others."""
    block = block_statistics.block_side(*own[0].shape[1:])
    shift_2 = start_2
    for _ in range(_MOST_STEPS):
        equations = [
            _equations(image, other, slope, shift_2, scale, block)
            for image, other, slope, scale in zip(own, others, slopes, _SCALES, strict=False)
            if min(image.shape[1:]) - 2 * _margin(scale, shift_2) >= 2 * block
        ]
        if not equations:
            return _nothing_known()
        step_2, covariance_22, freedom = _solved(equations)
        step_2 *= min(1.0, 1.0 / max(float(np.hypot(*step_2)), 1e-12))
        shift_2 = shift_2 + step_2
        if np.hypot(*(shift_2 - start_2)) > 3:  # it does not settle: nothing to hold on to
            return _nothing_known()
        # Both images' gradients are averaged, so a step is right to the third order.
        if np.hypot(*step_2) < max(_SMALL_STEP, 0.1 * np.sqrt(np.trace(covariance_22))):
            break
    # Directions that turned out not to be measurable were perhaps moved along before.
    variances_D, directions_2D = np.linalg.eigh(covariance_22)
    known_2D = directions_2D[:, variances_D <= _USEFUL_ERROR**2]
    return Shift(known_2D @ known_2D.T @ shift_2, covariance_22, freedom)


def _solved(bands: list[_Equations]) -> tuple[np.ndarray, np.ndarray, float]:
    """The step, its covariance and the degrees of freedom of that."""
    largest = max(band.variance for band in bands)
    # By the noise of each and its independent values; captures that are equal have no noise.
    weights = [band.independent / max(band.variance, 1e-12 * largest, 1e-30) for band in bands]
    matrix_22B = sum(weight * band.matrix_22B for weight, band in zip(weights, bands, strict=True))
    right_2B = sum(weight * band.right_2B for weight, band in zip(weights, bands, strict=True))
    values_D, directions_2D = np.linalg.eigh(matrix_22B.sum(axis=-1))
    # What noise alone would make of the matrix, along each direction.
    chance_D = np.zeros(2)
    for weight, band in zip(weights, bands, strict=True):
        noise_D = np.einsum('ad,ab,bd->d', directions_2D, band.noise_22, directions_2D)
        chance_D += (weight * noise_D) ** 2 / band.independent
    known_D = values_D > 5 * np.sqrt(chance_D)
    known_D &= values_D > 1e-6 * max(values_D.max(), 0)
    inverse_22 = np.zeros((2, 2))
    covariance_22 = np.zeros((2, 2))
    for d in range(2):
        outer_22 = np.outer(directions_2D[:, d], directions_2D[:, d])
        if known_D[d]:
            inverse_22 += outer_22 / values_D[d]
        else:
            covariance_22 += _UNKNOWN_ERROR**2 * outer_22
    step_2 = inverse_22 @ right_2B.sum(axis=-1)
    left_2B = right_2B - np.einsum('abk,b->ak', matrix_22B, step_2)
    count = block_statistics.effective_count(np.maximum(np.trace(matrix_22B), 0))
    freedom = count - 2
    if freedom < 1:  # one or two things in the picture: nothing says how sure it is
        return step_2, covariance_22 + _UNKNOWN_ERROR**2 * np.eye(2), 0.0
    # Each block's residual as if it had been left out of the fit (the jackknife): a block with most
    # of the gradients fits itself.
    others_B22 = (1 + 1e-6) * np.eye(2) - np.einsum('abk,bc->kac', matrix_22B, inverse_22)
    left_B2 = np.linalg.solve(others_B22, left_2B.T[..., None])[..., 0]
    scatter_22 = left_B2.T @ left_B2
    return step_2, covariance_22 + inverse_22 @ scatter_22 @ inverse_22, freedom


def _leaves_less(
    own: list[np.ndarray], others: list[np.ndarray], far_2: np.ndarray, near_2: np.ndarray
) -> bool:
    """Whether one shift leaves clearly less of the difference than another.

    Of n independent values of noise alone, the difference at the best of many places is smaller by
    chance, by some four or five times sqrt(2 / n) of itself.
    """
    middle = len(own) // 2
    block = block_statistics.block_side(*own[0].shape[1:])
    margin = _margin(_SCALES[middle], far_2, near_2)
    if min(own[0].shape[1:]) - 2 * margin < 2 * block:
        return False
    near_B, far_B = (
        block_statistics.block_sums(_inside(left_RHW**2, margin), block).ravel()
        for left_RHW in (
            _moved_back(own[middle], shift_2) - others[middle] for shift_2 in (near_2, far_2)
        )
    )
    values = own[middle][0].size * len(own[middle]) / _independent_area(_SCALES[middle])
    values *= block_statistics.effective_count(near_B) / len(near_B)
    if values < 1:
        return False
    return bool(far_B.sum() < near_B.sum() * (1 - max(0.1, 7 * np.sqrt(2 / values))))
