"""The error against the clean image, estimated from noisy captures alone.

N captures of a scene, H height, W width, C channels, P patches.

Let x_i = s + n_i with noise of mean zero that is independent between captures given the scene s,
and f a denoiser that was not trained on these. Of three captures, for j and k other than i,

    E (f(x_i) - x_j)(f(x_i) - x_k) = E (f(x_i) - s)^2

and of two

    E 1/2 [(f(x_1) - x_2)^2 + (f(x_2) - x_1)^2 - (x_1 - x_2)^2]
        = E 1/2 [(f(x_1) - s)^2 + (f(x_2) - s)^2]

whatever the noise of each: it may depend on the signal and be correlated in space. They do not hold
where captures are clipped, shifted against each other or of different brightness; what all captures
share, such as a hot pixel, counts as signal.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from n2n_jax.evaluate import drift

SMALLEST_PATCH = 4  # pixels a side: where the noise of neighbors is not related
_SIDES = (SMALLEST_PATCH, 8, 16, 32)
_UNRELATED = 0.5  # correlation of noise that is small enough
_NUM_DRAWS = 4000


def error_maps(denoised_NHWC: np.ndarray, captures_NHWC: np.ndarray) -> np.ndarray:
    """Maps whose means estimate the mean squared error of each denoised capture.

    Args:
      denoised_NHWC: f of each capture by itself, in the range of the captures.
      captures_NHWC: the captures, at least two.

    Returns:
      (N, H, W, C) float64. Of two captures both maps are equal: each is the error of both
      directions in the mean.
    """
    f, x = denoised_NHWC.astype(np.float64), captures_NHWC.astype(np.float64)
    num = len(x)
    if num < 2 or f.shape != x.shape:
        raise ValueError(f'two captures or more, and as many results: {x.shape}, {f.shape}')
    if num == 2:
        map_HWC = ((f[0] - x[1]) ** 2 + (f[1] - x[0]) ** 2 - (x[0] - x[1]) ** 2) / 2
        return np.stack([map_HWC, map_HWC])
    # The mean over all pairs of the others, from their sum and their sum of squares.
    sums, squares = x.sum(axis=0) - x, (x**2).sum(axis=0) - x**2
    return _products(f, sums, squares, num - 1)


def error_map(restored_HWC: np.ndarray, others_NHWC: np.ndarray) -> np.ndarray:
    """A map whose mean estimates the error of a result, from captures that it was not made of.

    Args:
      restored_HWC: made of any other captures of the scene.
      others_NHWC: two captures or more.
    """
    f, x = restored_HWC.astype(np.float64), others_NHWC.astype(np.float64)
    num = len(x)
    if num < 2:
        raise ValueError(f'two captures or more: {x.shape}')
    return _products(f, x.sum(axis=0), (x**2).sum(axis=0), num)


def _products(f: np.ndarray, sums: np.ndarray, squares: np.ndarray, num: int) -> np.ndarray:
    """The mean of (f - x_j)(f - x_k) over all pairs, from sum and sum of squares of the x."""
    total = num * f - sums
    own = num * f**2 - 2 * f * sums + squares
    return (total**2 - own) / (num * (num - 1))


def half_difference_map(
    denoised_HWC: np.ndarray, input_HWC: np.ndarray, target_HWC: np.ndarray
) -> np.ndarray:
    """A map whose mean estimates the error of f(input), from two captures of equal noise."""
    f, a, b = (x.astype(np.float64) for x in (denoised_HWC, input_HWC, target_HWC))
    return (f - b) ** 2 - (a - b) ** 2 / 2


def cross_moment_map(
    denoised_HWC: np.ndarray, input_HWC: np.ndarray, target_HWC: np.ndarray
) -> np.ndarray:
    """A map whose mean estimates the error of f(input) alone, from two captures of any noise.

    Less certain than `error_maps` by a factor of three to ten, for where only one direction exists.
    """
    f, a, b = (x.astype(np.float64) for x in (denoised_HWC, input_HWC, target_HWC))
    return (f - b) ** 2 - (b - b.mean()) * (b - a)


def patch_side(captures_NHWC: np.ndarray) -> int:
    """Pixels a side of patches whose noise may be taken for independent.

    Four times the distance at which the noise of two pixels has little in common: small patches
    tell the scatter due to noise from that due to the scene, but must not be related themselves.
    """
    x = captures_NHWC.astype(np.float64)
    d = x[0] - x[1]
    d = d - d.mean()
    variance = max(float(np.mean(d**2)), 1e-30)
    for side in _SIDES:
        lag = side // 4
        products = [d[lag:] * d[:-lag], d[:, lag:] * d[:, :-lag]]
        related = [float(p.mean()) / variance for p in products if p.size]
        if max(related, default=0.0) < _UNRELATED:
            return side
    return _SIDES[-1]


def explained_error(
    restored_NHWC: np.ndarray, denoised_NHWC: np.ndarray, captures_NHWC: np.ndarray
) -> np.ndarray | None:
    """A guess of the squared error of each pixel, from results that are far better.

    For `patch_sums`, where it narrows intervals that are too wide otherwise: much of the scatter of
    a map is scatter of the very error that is asked for.

    Args:
      restored_NHWC: what is scored, such as the captures themselves, or (1, H, W, C).
      denoised_NHWC: the better results.
      captures_NHWC: the captures.

    Returns:
      (H, W, C); None where it would not be safe: noise that pixels share may stay in the results.
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
    """What `estimate_psnr` needs of a map.

    Attributes:
      mse: mean of the map over what counts.
      deviations_P: by how much each patch moves the mean, as far as its neighbors do not.
      lever: what a drift of the brightness does to it; None without a drift.
    """

    mse: float
    deviations_P: np.ndarray
    lever: drift.Lever | None = None


def patch_sums(
    map_HWC: np.ndarray,
    mask_HWC: np.ndarray | None = None,
    *,
    side: int = SMALLEST_PATCH,
    explained_HWC: np.ndarray | None = None,
) -> Patches:
    """The mean of a map, and how uncertain the noise makes it.

    The error itself differs from place to place, and that is not uncertainty: so a patch is held
    against the mean of its cell of 4x4 patches only.

    Args:
      map_HWC: such as one of `error_maps`.
      mask_HWC: True where values count, such as where nothing is saturated.
      side: pixels a side of a patch, see `patch_side`.
      explained_HWC: a guess of the error of each pixel, to be taken off before patches are held
        against each other. It changes the interval, never the estimate.
    """
    mask_HWC = np.ones(map_HWC.shape, bool) if mask_HWC is None else mask_HWC
    sums, counts = _blocks(np.where(mask_HWC, map_HWC, 0), side), _blocks(mask_HWC, side)
    total = counts.sum()
    if total == 0:
        return Patches(float('nan'), np.zeros(1))
    mse = float(sums.sum() / total)
    left = sums
    if explained_HWC is not None:
        left = sums - _blocks(np.where(mask_HWC, explained_HWC, 0), side)
    rows, columns = (_cells(n) for n in sums.shape)
    cells = (rows[:, None] * (columns[-1] + 1) + columns).ravel()
    left, counts = left.ravel(), counts.ravel()
    used = counts > 0
    left, counts, cells = left[used], counts[used], np.unique(cells[used], return_inverse=True)[1]
    per_pixel = np.bincount(cells, left) / np.bincount(cells, counts)
    num = np.bincount(cells)
    # A cell with one patch has no neighbors: it is held against the whole.
    alone = num == 1
    per_pixel[alone] = left.sum() / counts.sum()
    freedom = np.where(alone, 1.0, num / np.maximum(num - 1, 1))
    deviations = (left - per_pixel[cells] * counts) * np.sqrt(freedom[cells]) / total
    return Patches(mse, deviations)


def _blocks(map_HWC: np.ndarray, side: int) -> np.ndarray:
    """Sums over squares; those at the right and lower border may be smaller."""
    map_HW = map_HWC.sum(axis=-1, dtype=np.float64)
    rows = np.add.reduceat(map_HW, np.arange(0, map_HW.shape[0], side), axis=0)
    return np.add.reduceat(rows, np.arange(0, map_HW.shape[1], side), axis=1)


def _cells(num: int) -> np.ndarray:
    """The cell of each of `num` patches in a row, four or more to a cell."""
    return np.minimum(np.arange(num) // 4, max(num // 4 - 1, 0))


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A PSNR that no clean image was needed for.

    Attributes:
      psnr: dB against the peak; infinite if the error is too small to be measured.
      ci95: ends of the 95 % interval, the upper one infinite likewise.
      ci95_noise: the same by noise alone, without what a drift of the brightness adds.
      mse: the mean squared error, mean over scenes. It has no bias, so it is negative now and then.
      mse_error: its standard error, by noise alone.
    """

    psnr: float
    ci95: tuple[float, float]
    ci95_noise: tuple[float, float]
    mse: float
    mse_error: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON, which has no infinity: what is not measurable is null."""
        return {
            'psnr_estimate': _finite(self.psnr),
            'ci95': [_finite(end) for end in self.ci95],
            'ci95_noise': [_finite(end) for end in self.ci95_noise],
            'mse_estimate': _finite(self.mse),
            'mse_error': _finite(self.mse_error),
        }


def _finite(x: float) -> float | None:
    return x if np.isfinite(x) else None


def estimate_psnr(
    scenes: Sequence[Patches], *, mean_of: Literal['dB', 'mse'] = 'dB', seed: int = 0
) -> Estimate:
    """The PSNR over scenes, peak 1, with an interval.

    The interval is for these scenes and captures, not for others of their kind: it is how far the
    estimate may be from what a clean image of each would have told. Patches are drawn again by
    Gaussian multipliers (the wild bootstrap), and the brightness of the clean image where it
    drifts; scenes are not.

    Args:
      scenes: `patch_sums` of each.
      mean_of: 'dB', the mean of the scenes' PSNR, for which every one must be measurable; or 'mse',
        the PSNR of their mean squared error, which needs that mean to be measurable alone.
      seed: of the draws.
    """
    # A scene of which nothing counts, such as a strip that is all border, says nothing.
    scenes = [scene for scene in scenes if np.isfinite(scene.mse)] or scenes
    mse = float(np.mean([scene.mse for scene in scenes]))
    mse_error = float(np.sqrt(sum(np.sum(s.deviations_P**2) for s in scenes))) / len(scenes)
    psnr = _over_scenes([scene.mse for scene in scenes], mean_of)

    def interval(parts: Sequence[Patches]) -> tuple[float, float]:
        return _ends(_drawn([[part] for part in parts], seed, mean_of)[0])

    noise = interval([dataclasses.replace(scene, lever=None) for scene in scenes])
    if all(scene.lever is None for scene in scenes):
        return Estimate(psnr, noise, noise, mse, mse_error)
    # A drift mostly adds to the error: over many scenes most draws may lie below the estimate.
    low, high = interval(scenes)
    return Estimate(psnr, (min(low, psnr), max(high, psnr)), noise, mse, mse_error)


def difference(
    scenes: Sequence[tuple[Patches, Patches]],
    *,
    mean_of: Literal['dB', 'mse'] = 'dB',
    seed: int = 0,
) -> tuple[float, tuple[float, float]]:
    """By how many dB the first of two methods is better over scenes, with a 95 % interval.

    Args:
      scenes: `patch_sums` of both methods, with the same mask and side of patches.
      mean_of: as of `estimate_psnr`, so that the difference is that of two rows of a table.
      seed: of the draws.

    Returns:
      The difference and the ends of its interval; infinite where an error is too small to be
      measured, NaN where both are.
    """
    scenes = [pair for pair in scenes if all(np.isfinite(p.mse) for p in pair)] or scenes
    means = [_over_scenes([pair[k].mse for pair in scenes], mean_of) for k in (0, 1)]
    with np.errstate(invalid='ignore'):
        first_D, second_D = _drawn(scenes, seed, mean_of)
        low, high = _ends(first_D - second_D)
        return float(np.subtract(*means)), (low, high)


def _over_scenes(errors: Sequence[float], mean_of: Literal['dB', 'mse']) -> float:
    """The PSNR of scenes with these squared errors."""
    return float(_psnr(np.mean(errors)) if mean_of == 'mse' else np.mean(_psnr(np.array(errors))))


def _drawn(
    scenes: Sequence[Sequence[Patches]], seed: int, mean_of: Literal['dB', 'mse'] = 'dB'
) -> np.ndarray:
    """PSNR of each method over scenes, in draws of all patches: (M, D).

    The sum of deviations times independent Gaussian multipliers is Gaussian itself, with the
    covariance of the deviations. The brightness of a scene is drawn once for all methods.
    """
    rng = np.random.default_rng(seed)
    total_MD = 0.0
    for methods in scenes:
        deviations_MP = np.stack([patches.deviations_P for patches in methods])
        root_MM = np.linalg.svd(deviations_MP @ deviations_MP.T, hermitian=True)
        root_MM = root_MM.U * np.sqrt(root_MM.S)
        mse_M1 = np.array([[patches.mse] for patches in methods])
        mse_MD = mse_M1 + root_MM @ rng.standard_normal((len(methods), _NUM_DRAWS))
        levers = [patches.lever for patches in methods if patches.lever is not None]
        if len(levers) == len(methods):
            draws_DC2 = levers[0].drift.draws(rng, _NUM_DRAWS)
            mse_MD = mse_MD + np.stack([lever.added(draws_DC2) for lever in levers])
        total_MD = total_MD + (mse_MD if mean_of == 'mse' else _psnr(mse_MD)) / len(scenes)
    return _psnr(total_MD) if mean_of == 'mse' else total_MD


def _ends(drawn_D: np.ndarray) -> tuple[float, float]:
    drawn_D = np.sort(drawn_D)  # some may be infinite, which np.percentile minds
    return float(drawn_D[int(0.025 * _NUM_DRAWS)]), float(drawn_D[int(0.975 * _NUM_DRAWS)])


def _psnr(mse: np.ndarray | float) -> np.ndarray:
    with np.errstate(divide='ignore'):
        return -10 * np.log10(np.maximum(mse, 0.0))
