"""Estimates the error against the clean image from noisy captures alone.

N captures of a scene, H height, W width, C channels, P patches.

Let x_i = s + n_i, with noise of mean zero that is independent between captures given the scene s,
and f a denoiser that was not trained on them. With three captures, for j and k other than i,

    E (f(x_i) - x_j)(f(x_i) - x_k) = E (f(x_i) - s)^2

and with two

    E 1/2 [(f(x_1) - x_2)^2 + (f(x_2) - x_1)^2 - (x_1 - x_2)^2]
        = E 1/2 [(f(x_1) - s)^2 + (f(x_2) - s)^2]

for any noise distribution: it may depend on the signal and be spatially correlated. The identities
fail where captures are clipped, shifted against each other or of different brightness; whatever all
captures share, such as a hot pixel, counts as signal.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from n2n_jax.evaluate import drift

SMALLEST_PATCH = 4  # side in pixels, for noise that is uncorrelated between neighbors
_SIDES = (SMALLEST_PATCH, 8, 16, 32)
_MOST_CORRELATION = 0.5  # of noise within a quarter of a patch side
_NUM_DRAWS = 4000


def error_maps(denoised_NHWC: np.ndarray, captures_NHWC: np.ndarray) -> np.ndarray:
    """Returns maps whose means estimate the mean squared error of each denoised capture.

    Args:
      denoised_NHWC: f applied to each capture separately, in the range of the captures.
      captures_NHWC: the captures, at least two.

    Returns:
      (N, H, W, C) float64. With two captures both maps are equal: each is the mean of the errors
      of both directions.
    """
    f, x = denoised_NHWC.astype(np.float64), captures_NHWC.astype(np.float64)
    num = len(x)
    if num < 2 or f.shape != x.shape:
        raise ValueError(f'needs two or more captures and one result each: {x.shape}, {f.shape}')
    if num == 2:
        map_HWC = ((f[0] - x[1]) ** 2 + (f[1] - x[0]) ** 2 - (x[0] - x[1]) ** 2) / 2
        return np.stack([map_HWC, map_HWC])
    # The mean over all pairs of other captures, from their sum and their sum of squares.
    sums, squares = x.sum(axis=0) - x, (x**2).sum(axis=0) - x**2
    return _mean_pair_product(f, sums, squares, num - 1)


def error_map(restored_HWC: np.ndarray, others_NHWC: np.ndarray) -> np.ndarray:
    """Returns a map whose mean estimates the error of a result, from independent captures.

    Args:
      restored_HWC: the result, computed from other captures of the scene.
      others_NHWC: two or more captures that the result was not computed from.
    """
    f, x = restored_HWC.astype(np.float64), others_NHWC.astype(np.float64)
    num = len(x)
    if num < 2:
        raise ValueError(f'needs two or more captures: {x.shape}')
    return _mean_pair_product(f, x.sum(axis=0), (x**2).sum(axis=0), num)


def _mean_pair_product(
    f: np.ndarray, sums: np.ndarray, squares: np.ndarray, num: int
) -> np.ndarray:
    """Averages (f - x_j)(f - x_k) over all pairs, from the sum and the sum of squares of the x."""
    total = num * f - sums
    own = num * f**2 - 2 * f * sums + squares
    return (total**2 - own) / (num * (num - 1))


def half_difference_map(
    denoised_HWC: np.ndarray, input_HWC: np.ndarray, target_HWC: np.ndarray
) -> np.ndarray:
    """Returns a map whose mean estimates the error of f(input), from captures of equal noise."""
    f, a, b = (x.astype(np.float64) for x in (denoised_HWC, input_HWC, target_HWC))
    return (f - b) ** 2 - (a - b) ** 2 / 2


def cross_moment_map(
    denoised_HWC: np.ndarray, input_HWC: np.ndarray, target_HWC: np.ndarray
) -> np.ndarray:
    """Returns a map whose mean estimates the error of f(input), from two captures of any noise.

    Its standard error is three to ten times that of `error_maps`: use it only if there are results
    for one direction alone.
    """
    f, a, b = (x.astype(np.float64) for x in (denoised_HWC, input_HWC, target_HWC))
    return (f - b) ** 2 - (b - b.mean()) * (b - a)


def patch_side(captures_NHWC: np.ndarray) -> int:
    """Chooses the side, in pixels, of patches whose noise may be treated as independent.

    Four times the distance at which the noise of two pixels is hardly correlated. Small patches
    separate the scatter of the noise from that of the scene, but must not be correlated themselves.
    """
    x = captures_NHWC.astype(np.float64)
    d = x[0] - x[1]
    d = d - d.mean()
    variance = max(float(np.mean(d**2)), 1e-30)
    for side in _SIDES:
        lag = side // 4
        products = [d[lag:] * d[:-lag], d[:, lag:] * d[:, :-lag]]
        correlations = [float(p.mean()) / variance for p in products if p.size]
        if max(correlations, default=0.0) < _MOST_CORRELATION:
            return side
    return _SIDES[-1]


def control_variate(
    restored_NHWC: np.ndarray, denoised_NHWC: np.ndarray, captures_NHWC: np.ndarray
) -> np.ndarray | None:
    """Predicts the squared error of each pixel from far better results, to narrow intervals.

    Passed to `patch_sums` as a control variate: most of the scatter of a map is that of the squared
    error itself, which is not uncertainty of its mean.

    Args:
      restored_NHWC: the results being scored, such as the captures themselves, or (1, H, W, C).
      denoised_NHWC: the better results.
      captures_NHWC: the captures.

    Returns:
      (H, W, C); None if unsafe: correlated noise may remain in the better results, or they are not
      far better than the captures.
    """
    if patch_side(captures_NHWC) > SMALLEST_PATCH:
        return None
    noise = error_maps(captures_NHWC, captures_NHWC).mean()
    if error_maps(denoised_NHWC, captures_NHWC).mean() > noise / 4:
        return None
    clean_HWC = denoised_NHWC.astype(np.float64).mean(axis=0)
    return ((restored_NHWC - clean_HWC) ** 2).mean(axis=0)


@dataclasses.dataclass(frozen=True)
class Patches:
    """Statistics of an error map, for `estimate_psnr`.

    Attributes:
      mse: mean of the map where the mask is True.
      residuals_P: contribution of each patch to that mean, minus the mean contribution in its cell.
      drift_effect: effect of brightness drift on the error; None without drift.
    """

    mse: float
    residuals_P: np.ndarray
    drift_effect: drift.DriftEffect | None = None


def patch_sums(
    map_HWC: np.ndarray,
    mask_HWC: np.ndarray | None = None,
    *,
    side: int = SMALLEST_PATCH,
    control_HWC: np.ndarray | None = None,
) -> Patches:
    """Computes the mean of a map and its scatter due to noise.

    The error itself varies across the image, and that is not uncertainty: each patch is therefore
    compared only with the mean of its cell of 4x4 patches.

    Args:
      map_HWC: an error map, such as one of `error_maps`.
      mask_HWC: True where values count, such as where nothing is saturated.
      side: side of a patch in pixels, see `patch_side`.
      control_HWC: see `control_variate`, subtracted before patches are compared with each other.
        It changes the interval, never the estimate.
    """
    mask_HWC = np.ones(map_HWC.shape, bool) if mask_HWC is None else mask_HWC
    sums, counts = (
        _patch_totals(np.where(mask_HWC, map_HWC, 0), side),
        _patch_totals(mask_HWC, side),
    )
    total = counts.sum()
    if total == 0:
        return Patches(float('nan'), np.zeros(1))
    mse = float(sums.sum() / total)
    unexplained = sums
    if control_HWC is not None:
        unexplained = sums - _patch_totals(np.where(mask_HWC, control_HWC, 0), side)
    rows, columns = (_cell_indices(n) for n in sums.shape)
    cells = (rows[:, None] * (columns[-1] + 1) + columns).ravel()
    unexplained, counts = unexplained.ravel(), counts.ravel()
    used = counts > 0
    unexplained, counts, cells = (
        unexplained[used],
        counts[used],
        np.unique(cells[used], return_inverse=True)[1],
    )
    per_pixel = np.bincount(cells, unexplained) / np.bincount(cells, counts)
    num = np.bincount(cells)
    # A cell of one patch has nothing to compare it with but the whole map.
    alone = num == 1
    per_pixel[alone] = unexplained.sum() / counts.sum()
    bessel = np.where(alone, 1.0, num / np.maximum(num - 1, 1))
    residuals = (unexplained - per_pixel[cells] * counts) * np.sqrt(bessel[cells]) / total
    return Patches(mse, residuals)


def _patch_totals(map_HWC: np.ndarray, side: int) -> np.ndarray:
    """Sums over square patches; those at the right and lower border may be smaller."""
    map_HW = map_HWC.sum(axis=-1, dtype=np.float64)
    rows = np.add.reduceat(map_HW, np.arange(0, map_HW.shape[0], side), axis=0)
    return np.add.reduceat(rows, np.arange(0, map_HW.shape[1], side), axis=1)


def _cell_indices(num: int) -> np.ndarray:
    """Returns the cell index of each of `num` patches in a row, four or more patches to a cell."""
    return np.minimum(np.arange(num) // 4, max(num // 4 - 1, 0))


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A PSNR estimated without a clean image.

    Attributes:
      psnr: in dB, peak 1; infinite if the error is too small to be measured.
      ci95: 95 % interval; its upper end may be infinite likewise.
      ci95_noise: 95 % interval from noise alone, without brightness drift.
      mse: mean squared error, averaged over scenes. Unbiased, so it may be negative.
      mse_error: standard error of `mse` from noise alone.
    """

    psnr: float
    ci95: tuple[float, float]
    ci95_noise: tuple[float, float]
    mse: float
    mse_error: float

    def as_dict(self) -> dict[str, Any]:
        """Returns columns for JSON; values that cannot be measured (infinite) become None."""
        return {
            'psnr_estimate': _finite_or_none(self.psnr),
            'ci95': [_finite_or_none(end) for end in self.ci95],
            'ci95_noise': [_finite_or_none(end) for end in self.ci95_noise],
            'mse_estimate': _finite_or_none(self.mse),
            'mse_error': _finite_or_none(self.mse_error),
        }


def _finite_or_none(x: float) -> float | None:
    return x if np.isfinite(x) else None


def estimate_psnr(
    scenes: Sequence[Patches], *, mean_of: Literal['dB', 'mse'] = 'dB', seed: int = 0
) -> Estimate:
    """Estimates the PSNR over scenes, peak 1, with an interval.

    The interval holds for these scenes and captures, not for others of their kind: it contains the
    PSNR that clean images of these scenes would have given. Patches are resampled with Gaussian
    multipliers (wild bootstrap), and so is the brightness of the clean image if it drifts; scenes
    are not resampled.

    Args:
      scenes: `patch_sums` of each scene.
      mean_of: 'dB' averages the scenes' PSNR, each of which must be measurable; 'mse' takes the
        PSNR of their mean squared error, which requires only the mean to be measurable.
      seed: seeds the bootstrap.
    """
    # Skip scenes that are masked entirely, such as a strip that is all border.
    scenes = [scene for scene in scenes if np.isfinite(scene.mse)] or scenes
    mse = float(np.mean([scene.mse for scene in scenes]))
    mse_error = float(np.sqrt(sum(np.sum(s.residuals_P**2) for s in scenes))) / len(scenes)
    psnr = _psnr_over_scenes([scene.mse for scene in scenes], mean_of)

    def interval(parts: Sequence[Patches]) -> tuple[float, float]:
        return _interval(_bootstrap_psnr([[part] for part in parts], seed, mean_of)[0])

    noise = interval([dataclasses.replace(scene, drift_effect=None) for scene in scenes])
    if all(scene.drift_effect is None for scene in scenes):
        return Estimate(psnr, noise, noise, mse, mse_error)
    # Drift mostly adds to the error: over many scenes most draws may lie below the estimate.
    low, high = interval(scenes)
    return Estimate(psnr, (min(low, psnr), max(high, psnr)), noise, mse, mse_error)


def difference(
    scenes: Sequence[tuple[Patches, Patches]],
    *,
    mean_of: Literal['dB', 'mse'] = 'dB',
    seed: int = 0,
) -> tuple[float, tuple[float, float]]:
    """Computes by how many dB the first of two methods is better, with a 95 % interval.

    Args:
      scenes: `patch_sums` of both methods, with the same mask and side of patches.
      mean_of: as in `estimate_psnr`, so that the result equals the difference of two table rows.
      seed: seeds the bootstrap.

    Returns:
      The difference and its interval; infinite if one error is too small to be measured, NaN if
      both are.
    """
    scenes = [pair for pair in scenes if all(np.isfinite(p.mse) for p in pair)] or scenes
    means = [_psnr_over_scenes([pair[k].mse for pair in scenes], mean_of) for k in (0, 1)]
    with np.errstate(invalid='ignore'):
        first_D, second_D = _bootstrap_psnr(scenes, seed, mean_of)
        low, high = _interval(first_D - second_D)
        return means[0] - means[1], (low, high)


def _psnr_over_scenes(errors: Sequence[float], mean_of: Literal['dB', 'mse']) -> float:
    """Returns the PSNR over scenes with these squared errors."""
    each = np.array(errors)
    return float(_psnr(each.mean()) if mean_of == 'mse' else _psnr(each).mean())


def _bootstrap_psnr(
    scenes: Sequence[Sequence[Patches]], seed: int, mean_of: Literal['dB', 'mse'] = 'dB'
) -> np.ndarray:
    """Draws the PSNR of M methods over scenes D times, (M, D).

    The sum of residuals times independent Gaussian multipliers is itself Gaussian, with the
    covariance of the residuals. The brightness of a scene is drawn once for all methods.
    """
    rng = np.random.default_rng(seed)
    total_MD: np.ndarray = np.zeros(())
    for methods in scenes:
        residuals_MP = np.stack([patches.residuals_P for patches in methods])
        covariance = np.linalg.svd(residuals_MP @ residuals_MP.T, hermitian=True)
        root_MM = covariance.U * np.sqrt(covariance.S)
        mse_M1 = np.array([[patches.mse] for patches in methods])
        mse_MD = mse_M1 + root_MM @ rng.standard_normal((len(methods), _NUM_DRAWS))
        drift_effects = [
            patches.drift_effect for patches in methods if patches.drift_effect is not None
        ]
        if len(drift_effects) == len(methods):
            draws_DC2 = drift_effects[0].drift.draws(rng, _NUM_DRAWS)
            mse_MD = mse_MD + np.stack([effect.error_change(draws_DC2) for effect in drift_effects])
        total_MD = total_MD + (mse_MD if mean_of == 'mse' else _psnr(mse_MD)) / len(scenes)
    return _psnr(total_MD) if mean_of == 'mse' else total_MD


def _interval(draws_D: np.ndarray) -> tuple[float, float]:
    draws_D = np.sort(draws_D)  # np.percentile cannot interpolate infinite values
    return float(draws_D[int(0.025 * _NUM_DRAWS)]), float(draws_D[int(0.975 * _NUM_DRAWS)])


def _psnr(mse: np.ndarray | np.floating) -> np.ndarray:
    with np.errstate(divide='ignore'):
        return -10 * np.log10(np.maximum(mse, 0.0))
