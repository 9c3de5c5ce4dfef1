"""Registration of captures: subpixel shifts with their covariance.

N captures of a scene, R regions, H height, W width, C channels, B blocks, D directions.

A capture x is compared with the mean r of the others. If its content lies t pixels further down and
right, x(p) = r(p - t), then

    x - r = -t . grad s + noise,

with s the scene, is solved for t by iterated least squares (Lucas and Kanade 1981). Differences
from the textbook method:

* Both images are band-passed at several scales, each weighted by its noise, so offsets and slow
  changes of the light are not mistaken for shifts. The shift of a plain ramp, which cannot be
  distinguished from an offset, is reported as not measurable. A gain is divided out beforehand.
* The gradient matrix is the product of the gradients of x and of r. Their noise is independent, so
  it does not inflate gradients and shrink shifts (instrumental variables). The gradients that
  multiply the difference are the mean of both, whose noise is uncorrelated with that of the
  difference at the same pixel.
* The covariance of t is estimated from the scatter of the residual over blocks (clustered sandwich
  estimator, White 1980), so it holds for signal-dependent and correlated noise.
* Shifts of whole pixels are first searched for by cross-correlation, and accepted only if they
  leave a clearly smaller difference than no shift.
"""

import dataclasses
import functools

import numpy as np
import scipy.fft
from scipy import ndimage

from n2n_jax.captures.measure import block_statistics, regions

_SCALES = (1.0, 2.0, 4.0)  # standard deviation of the finer Gaussian of each band, in pixels
_COARSER = 2.0  # width ratio of the two Gaussians of a band
_SMALLEST_SIDE = 32  # of an image, in units of the scale, for the scale to be used
_REACH = 3.0  # standard deviations at which a Gaussian is truncated
_LARGEST_SHIFT = 0.25  # of the smaller side
_MOST_STEPS = 6
_SMALL_STEP = 0.01  # pixels
_USEFUL_ERROR = 1.0  # pixels: the largest standard error of a measurable shift
_UNKNOWN_ERROR = 10.0  # pixels: the standard error assigned to directions that are not measurable
_CACHE_BYTES = 2**27  # of band-passed captures


@dataclasses.dataclass(frozen=True)
class Shift:
    """The shift of one capture.

    Attributes:
      pixels_2: rows, columns; 0 along directions in which it is not measurable.
      covariance_22: covariance of the estimate, in pixels^2.
      degrees_of_freedom: those of the covariance, roughly the number of informative blocks.
    """

    pixels_2: np.ndarray
    covariance_22: np.ndarray
    degrees_of_freedom: float

    def along_error_axes(self) -> list[tuple[float, float]]:
        """Returns shift and standard error along the axes of the error ellipse, best known first.

        A single straight edge, for example, gives a shift across it but not along it.
        """
        variances_D, directions_2D = np.linalg.eigh(self.covariance_22)
        errors_D = np.sqrt(np.maximum(variances_D, 0))
        return [(float(directions_2D[:, d] @ self.pixels_2), float(errors_D[d])) for d in range(2)]

    def measurable(self) -> list[tuple[float, float]]:
        """Returns the entries of `along_error_axes` known to better than a pixel."""
        return [
            (shift, error) for shift, error in self.along_error_axes() if error <= _USEFUL_ERROR
        ]

    def significant(self) -> float:
        """Returns the largest significant shift along an axis; 0 if there is none."""
        threshold = block_statistics.significance_threshold(self.degrees_of_freedom)
        return max(
            (abs(t) for t, error in self.measurable() if abs(t) > threshold * error), default=0
        )


def shifts(captures_NHWC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Measures the shift of each capture relative to the mean of the others.

    A shift of (1, 2) means that content at row 5, column 5 in the others is at row 6, column 7 in
    this capture. All captures are brought to their mean position by

        ndimage.shift(capture_HWC, (*(-(N - 1) / N * shift_2), 0))

    for each of the N: if capture k lies s_k from the mean position, its shift relative to the mean
    of the others is s_k N / (N - 1). With two captures, the second has minus the shift of the
    first; move each by half of it, or one by all of it. Shifts of more than about a pixel among the
    others blur their mean: call again after undoing them.

    Content at fixed pixels (hot pixels, dirt on the sensor) does not move and biases the result
    towards 0. Rotation is not measured.

    Args:
      captures_NHWC: two or more captures, of any range and type.

    Returns:
      shifts_N2, in pixels (rows, columns), and standard_errors_N2. Where no shift is measurable
      (constant images, a ramp, only noise) it is 0 and its standard error infinite.

    Raises:
      ValueError: fewer than two captures.
    """
    return as_arrays(register(captures_NHWC))


def as_arrays(found: list[Shift]) -> tuple[np.ndarray, np.ndarray]:
    """Converts to the arrays that `shifts` returns."""
    shifts_N2 = np.stack([shift.pixels_2 for shift in found])
    errors_N2 = np.stack([np.sqrt(np.diag(shift.covariance_22)) for shift in found])
    unknown_N2 = errors_N2 > _USEFUL_ERROR
    return np.where(unknown_N2, 0.0, shifts_N2), np.where(unknown_N2, np.inf, errors_N2)


def register(captures_NHWC: np.ndarray) -> list[Shift]:
    """Measures shifts, as `shifts`, with their covariances. Large scenes are sampled by regions."""
    num = len(captures_NHWC)
    if num < 2:
        raise ValueError(f'registration needs two captures or more, not {num}')
    parts = regions.regions(captures_NHWC)
    if min(parts[0].shape[1:3]) < _SMALLEST_SIDE:
        return [_not_measurable()] * num
    bands = _Bands(parts)
    if num == 2:
        shift = _register_one(bands.of(1), bands.of(0), 1)
        return [dataclasses.replace(shift, pixels_2=-shift.pixels_2), shift]
    return [_register_one(bands.of(i), bands.of_others(i), num - 1) for i in range(num)]


class _Bands:
    """Band-passed captures, computed on demand with a cache, as all may not fit into memory.

    Values are scaled near 1 by a power of two, which is exact: squares of very large or small
    values would leave the range of float32.
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
        self.of = functools.lru_cache(maxsize=max(2, _CACHE_BYTES // size))(self._band_pass)
        self._num = num

    def _gray(self, i: int) -> np.ndarray:
        return np.stack([part[i].mean(axis=-1, dtype=np.float64) for part in self._parts])

    def _band_pass(self, i: int) -> list[np.ndarray]:
        """Returns the bands of a capture, (R, H, W) at each scale."""
        gray_RHW = self._scale * (self._gray(i) - self._center)
        return _difference_of_gaussians(gray_RHW.astype(np.float32))

    @functools.cached_property
    def _sums(self) -> list[np.ndarray]:
        sums = [band.astype(np.float64) for band in self.of(0)]
        for i in range(1, self._num):
            for total_RHW, band_RHW in zip(sums, self.of(i), strict=True):
                total_RHW += band_RHW
        return sums

    def of_others(self, i: int) -> list[np.ndarray]:
        """Returns the mean bands of all captures but one."""
        return [
            ((total_RHW - own_RHW) / (self._num - 1)).astype(np.float32)
            for total_RHW, own_RHW in zip(self._sums, self.of(i), strict=True)
        ]


def _not_measurable() -> Shift:
    return Shift(np.zeros(2), _UNKNOWN_ERROR**2 * np.eye(2), 0.0)


def _difference_of_gaussians(gray_RHW: np.ndarray) -> list[np.ndarray]:
    """Returns the band of each scale.

    The image is extended by point reflection, so that a ramp continues as a ramp.
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


def _register_one(own: list[np.ndarray], others: list[np.ndarray], num_others: int) -> Shift:
    """Returns the shift of a capture relative to the mean of the others, as bands (R, H, W)."""
    gain = _gain(own[-1], others[-1], num_others)
    own = [band / np.sqrt(gain) for band in own]
    others = [band * np.sqrt(gain) for band in others]
    slopes = [_slopes(band) for band in others]
    near = _gauss_newton(own, others, slopes, np.zeros(2))
    start_2 = _correlation_peak(own[len(own) // 2], others[len(own) // 2])
    if np.hypot(*start_2) < 1.5 or np.hypot(*(near.pixels_2 - start_2)) < 1:
        return near
    far = _gauss_newton(own, others, slopes, start_2)
    return far if _fits_clearly_better(own, others, far.pixels_2, near.pixels_2) else near


def _gain(own_RHW: np.ndarray, others_RHW: np.ndarray, noise_ratio: float) -> float:
    """Returns the gain of the image relative to the others by Deming regression, as both are noisy.

    It need not be exact: a gain affects the shift only where gradients and values are correlated.
    """
    xx, yy = float(np.mean(others_RHW**2)), float(np.mean(own_RHW**2))
    xy = float(np.mean(own_RHW * others_RHW))
    if xy <= 0.5 * np.sqrt(xx * yy):  # mostly noise, which would bias the gain
        return 1.0
    half = (yy - noise_ratio * xx) / 2
    return float(np.clip((half + np.sqrt(half**2 + noise_ratio * xy**2)) / xy, 0.5, 2.0))


def _correlation_peak(own_RHW: np.ndarray, others_RHW: np.ndarray) -> np.ndarray:
    """Returns the shift of largest cross-correlation, in whole pixels."""
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
    # Per region: in three dimensions each value would cost four times as much.
    moved = [ndimage.shift(image, -shift_2, order=3, mode='nearest') for image in image_RHW]
    return np.stack(moved)


def _margin(scale: float, *shifts_2: np.ndarray) -> int:
    """Returns how many border pixels are affected by the shift or by the padding."""
    return int(np.ceil(_REACH * scale + max(np.abs(shift_2).max() for shift_2 in shifts_2)))


def _independent_area(scale: float) -> float:
    """Returns pixels per independent value of Gaussian-filtered white noise: 1 / sum(kernel^2)."""
    return 4 * np.pi * scale**2


def _inside(image_RHW: np.ndarray, margin: int) -> np.ndarray:
    return image_RHW[:, margin:-margin, margin:-margin]


def _slopes(image_RHW: np.ndarray) -> np.ndarray:
    """Returns derivatives down and across, (2, R, H, W), by five-point central differences."""
    kernel = np.array([1, -8, 0, 8, -1]) / 12
    return np.stack([ndimage.correlate1d(image_RHW, kernel, axis=axis) for axis in (1, 2)])


@dataclasses.dataclass(frozen=True)
class _Equations:
    """Normal equations of one band, matrix t = right, by block; and their noise."""

    matrix_22B: np.ndarray
    right_2B: np.ndarray
    noise_22: np.ndarray
    variance: float
    independent: float  # effective number of independent values


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
    # Blocks of all scales must coincide, so the margin is filled with 0.
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


def _gauss_newton(
    own: list[np.ndarray], others: list[np.ndarray], slopes: list[np.ndarray], start_2: np.ndarray
) -> Shift:
    """Iterates Gauss-Newton steps from `start_2`; `slopes` are those of `others`."""
    block = block_statistics.block_side(*own[0].shape[1:])
    shift_2 = start_2
    for _ in range(_MOST_STEPS):
        equations = [
            _equations(image, other, slope, shift_2, scale, block)
            for image, other, slope, scale in zip(own, others, slopes, _SCALES, strict=False)
            if min(image.shape[1:]) - 2 * _margin(scale, shift_2) >= 2 * block
        ]
        if not equations:
            return _not_measurable()
        step_2, covariance_22, degrees_of_freedom = _solve(equations)
        step_2 *= min(1.0, 1.0 / max(float(np.hypot(*step_2)), 1e-12))
        shift_2 = shift_2 + step_2
        if np.hypot(*(shift_2 - start_2)) > 3:  # did not converge
            return _not_measurable()
        # The gradients of both images are averaged, so a step is exact to third order.
        if np.hypot(*step_2) < max(_SMALL_STEP, 0.1 * np.sqrt(np.trace(covariance_22))):
            break
    # Earlier steps may have moved along directions that turned out not to be measurable.
    variances_D, directions_2D = np.linalg.eigh(covariance_22)
    known_2D = directions_2D[:, variances_D <= _USEFUL_ERROR**2]
    return Shift(known_2D @ known_2D.T @ shift_2, covariance_22, degrees_of_freedom)


def _solve(bands: list[_Equations]) -> tuple[np.ndarray, np.ndarray, float]:
    """Returns the step, its covariance and the degrees of freedom of the covariance."""
    largest = max(band.variance for band in bands)
    # Weighted by noise and number of independent values; identical captures have no noise.
    weights = [band.independent / max(band.variance, 1e-12 * largest, 1e-30) for band in bands]
    matrix_22B = np.zeros_like(bands[0].matrix_22B)
    right_2B = np.zeros_like(bands[0].right_2B)
    for weight, band in zip(weights, bands, strict=True):
        matrix_22B = matrix_22B + weight * band.matrix_22B
        right_2B = right_2B + weight * band.right_2B
    values_D, directions_2D = np.linalg.eigh(matrix_22B.sum(axis=-1))
    # Variance of the matrix along each direction if there were only noise.
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
    residual_2B = right_2B - np.einsum('abk,b->ak', matrix_22B, step_2)
    count = block_statistics.effective_count(np.maximum(np.trace(matrix_22B), 0))
    degrees_of_freedom = count - 2
    if degrees_of_freedom < 1:  # too few informative blocks to estimate the error
        return step_2, covariance_22 + _UNKNOWN_ERROR**2 * np.eye(2), 0.0
    # The residual of each block as if it were left out of the fit (jackknife): a block with most of
    # the gradients fits itself.
    others_B22 = (1 + 1e-6) * np.eye(2) - np.einsum('abk,bc->kac', matrix_22B, inverse_22)
    residual_B2 = np.linalg.solve(others_B22, residual_2B.T[..., None])[..., 0]
    scatter_22 = residual_B2.T @ residual_B2
    return step_2, covariance_22 + inverse_22 @ scatter_22 @ inverse_22, degrees_of_freedom


def _fits_clearly_better(
    own: list[np.ndarray], others: list[np.ndarray], far_2: np.ndarray, near_2: np.ndarray
) -> bool:
    """Returns whether `far_2` leaves a clearly smaller difference than `near_2`.

    For n independent values of pure noise, the smallest of many mean squared differences is lower
    by chance, by about four or five times sqrt(2 / n) of the mean.
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
