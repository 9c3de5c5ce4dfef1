"""Compares PSNR estimated from captures with true PSNR, in simulation.

Captures are simulated from photographs with several kinds of noise, denoised by fixed methods, and
scored both ways. Reported are bias and scatter of the estimate, and the coverage of its 95 %
interval.

N captures of a scene, H height, W width, C channels.
"""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy import ndimage

from n2n_jax.bench.speed.report import device
from n2n_jax.captures.measure import saturation
from n2n_jax.data.sources import photos
from n2n_jax.evaluate import without_clean
from n2n_jax.runtime.progress import ProgressLine
from n2n_jax.runtime.workdir import provenance

_SIDE = 128  # pixels of the crops
_NUM_CAPTURES = 4
_SIGMA = 25 / 255
_UNEQUAL_SIGMAS = (0.05, 0.15, 0.1, 0.07)  # one for each of the four captures

Rng = np.random.Generator


def _white(rng: Rng, clean_NHWC: np.ndarray) -> np.ndarray:
    return clean_NHWC + rng.normal(0, _SIGMA, clean_NHWC.shape)


def _poisson(rng: Rng, clean_NHWC: np.ndarray) -> np.ndarray:
    return rng.poisson(30 * clean_NHWC) / 30


def _mixed(rng: Rng, clean_NHWC: np.ndarray) -> np.ndarray:
    return rng.poisson(60 * clean_NHWC) / 60 + rng.normal(0, 0.04, clean_NHWC.shape)


def _bernoulli(rng: Rng, clean_NHWC: np.ndarray) -> np.ndarray:
    return clean_NHWC * (rng.random(clean_NHWC.shape) < 0.5) / 0.5


def _brown(sigma: float) -> Callable[[Rng, np.ndarray], np.ndarray]:
    def noisy(rng: Rng, clean_NHWC: np.ndarray) -> np.ndarray:
        white = rng.normal(0, 1, clean_NHWC.shape)
        smooth = ndimage.gaussian_filter(white, (0, sigma, sigma, 0), mode='wrap')
        return clean_NHWC + _SIGMA * 2 * np.sqrt(np.pi) * sigma * smooth

    return noisy


def _unequal(rng: Rng, clean_NHWC: np.ndarray) -> np.ndarray:
    sigmas = np.reshape(_UNEQUAL_SIGMAS, (-1, 1, 1, 1))
    return clean_NHWC + sigmas * rng.standard_normal(clean_NHWC.shape)


def _clipped(rng: Rng, clean_NHWC: np.ndarray) -> np.ndarray:
    # Rounded and clipped to 8 bits, as by a camera; photographs have many clipped values.
    return np.clip(np.round(255 * _white(rng, clean_NHWC)), 0, 255) / 255


KINDS: dict[str, Callable[[Rng, np.ndarray], np.ndarray]] = {
    'gaussian:25': _white,
    'poisson:30': _poisson,
    'poisson:60 + gaussian:10': _mixed,
    'bernoulli:0.5, divided by 0.5': _bernoulli,
    'brown, blurred by 0.6 px': _brown(0.6),
    'brown, blurred by 1 px': _brown(1.0),
    'brown, blurred by 2 px': _brown(2.0),
    'gaussian, unequal (1:3:2:1.4)': _unequal,
}
CLIPPED = 'gaussian:25, clipped to 8 bits'


def _blur(noisy_NHWC: np.ndarray) -> np.ndarray:
    return ndimage.gaussian_filter(noisy_NHWC, (0, 1, 1, 0))


def _total_variation(noisy_NHWC: np.ndarray) -> np.ndarray:
    from skimage.restoration import denoise_tv_chambolle

    restored = [denoise_tv_chambolle(x, weight=0.1, channel_axis=-1) for x in noisy_NHWC]
    return np.stack(restored).reshape(noisy_NHWC.shape)


METHODS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    'capture as it is': lambda noisy_NHWC: noisy_NHWC,
    'Gaussian blur': _blur,
    'total variation': _total_variation,
}

# Functions from (results, captures) to a map of the squared error, and the results it is about.
ESTIMATORS: dict[str, tuple[Callable[[np.ndarray, np.ndarray], np.ndarray], slice]] = {
    '2 captures': (lambda f, x: without_clean.error_maps(f[:2], x[:2]).mean(axis=0), slice(0, 2)),
    '2 captures, one direction, equal noise': (
        lambda f, x: without_clean.half_difference_map(f[0], x[0], x[1]),
        slice(0, 1),
    ),
    '2 captures, one direction, any noise': (
        lambda f, x: without_clean.cross_moment_map(f[0], x[0], x[1]),
        slice(0, 1),
    ),
    '3 captures': (lambda f, x: without_clean.error_maps(f[:3], x[:3]).mean(axis=0), slice(0, 3)),
    '4 captures': (lambda f, x: without_clean.error_maps(f, x).mean(axis=0), slice(0, 4)),
}


def rows(num_draws: int = 50, *, seed: int = 0) -> list[dict[str, Any]]:
    """Runs the simulation.

    Args:
      num_draws: noise draws for each photograph.
      seed: seed of the noise.

    Returns:
      One row per kind of noise, method, estimator and number of scenes, with 'bias' (of the mean
      estimated squared error relative to the mean true one, dB), 'scatter' (RMS deviation of the
      estimated from the true PSNR, dB), 'coverage' (share of the 95 % intervals that contain the
      true PSNR), 'width' (their median width, dB), 'n' (number of estimates).
    """
    cleans = [
        image[:_SIDE, :_SIDE].mean(axis=-1, keepdims=True) / 255 for image in _crops().values()
    ]
    found: list[dict[str, Any]] = []
    with ProgressLine('kinds of noise', len(KINDS) + 1) as progress:
        for k, (kind, noisy) in enumerate(KINDS.items()):
            rng = np.random.default_rng([seed, k])
            found += _rows_of_kind(kind, noisy, cleans, num_draws, rng)
            progress.update(k + 1, kind)
        found += _rows_of_clipped(cleans, num_draws, np.random.default_rng([seed, len(KINDS)]))
        progress.update(len(KINDS) + 1)
    return found


def _crops() -> dict[str, np.ndarray]:
    crops = {}
    for name, image in photos.photos().items():
        top, left = ((side - _SIDE) // 2 for side in image.shape[:2])
        crops[name] = image[top : top + _SIDE, left : left + _SIDE].astype(np.float64)
    return crops


def _rows_of_kind(
    kind: str,
    noisy: Callable[[Rng, np.ndarray], np.ndarray],
    cleans: list[np.ndarray],
    num_draws: int,
    rng: Rng,
) -> Iterator[dict[str, Any]]:
    # (patches, true squared error) by [method, estimator][draw][photograph].
    outcomes: dict[tuple[str, str], list[list[tuple[without_clean.Patches, float]]]] = {}
    for _ in range(num_draws):
        for i, clean_HWC in enumerate(cleans):
            x_NHWC = noisy(rng, np.stack([clean_HWC] * _NUM_CAPTURES))
            side = without_clean.patch_side(x_NHWC)
            results = {method: restore(x_NHWC) for method, restore in METHODS.items()}
            for method, f_NHWC in results.items():
                for estimator, (to_map, about) in ESTIMATORS.items():
                    if kind.startswith('gaussian, unequal') and 'equal noise' in estimator:
                        continue
                    control_HWC = None
                    if f_NHWC is x_NHWC or about.stop > 2:  # as in n2n_jax.evaluate.methods
                        control_HWC = without_clean.control_variate(
                            f_NHWC[about], results['total variation'], x_NHWC
                        )
                    patches = without_clean.patch_sums(
                        to_map(f_NHWC, x_NHWC), side=side, control_HWC=control_HWC
                    )
                    true = float(np.mean((f_NHWC[about] - clean_HWC) ** 2))
                    draws = outcomes.setdefault((method, estimator), [])
                    if i == 0:
                        draws.append([])
                    draws[-1].append((patches, true))
    for (method, estimator), draws in outcomes.items():
        names = {'noise': kind, 'method': method, 'estimator': estimator}
        yield {**names, 'scenes': 1, **_summary([[one] for draw in draws for one in draw])}
        yield {**names, 'scenes': len(cleans), **_summary(draws)}


def _rows_of_clipped(
    cleans: list[np.ndarray], num_draws: int, rng: Rng
) -> Iterator[dict[str, Any]]:
    outcomes: dict[tuple[str, str], list[list[tuple[without_clean.Patches, float]]]] = {}
    for _ in range(num_draws):
        for clean_HWC in cleans:
            x_NHWC = _clipped(rng, np.stack([clean_HWC] * 2))
            as_read_NHWC = np.round(255 * x_NHWC).astype(np.uint8)
            masks: dict[str, np.ndarray] = {
                'nothing left out': np.ones(clean_HWC.shape, bool),
                'clipped values left out': np.asarray(
                    ~saturation.saturated(as_read_NHWC).any(axis=0)
                ),
                'clipped neighborhoods left out': saturation.unsaturated_mask(as_read_NHWC),
            }
            for method, restore in METHODS.items():
                f_NHWC = restore(x_NHWC)
                map_HWC = without_clean.error_maps(f_NHWC, x_NHWC)[0]
                for name, mask_HWC in masks.items():
                    if mask_HWC.mean() < 0.1:
                        continue
                    patches = without_clean.patch_sums(map_HWC, mask_HWC)
                    true = float(np.mean(((f_NHWC - clean_HWC) ** 2)[:, mask_HWC]))
                    outcomes.setdefault((method, name), []).append([(patches, true)])
    for (method, name), draws in outcomes.items():
        names = {'noise': CLIPPED, 'method': method, 'estimator': f'2 captures, {name}'}
        yield {**names, 'scenes': 1, **_summary(draws)}


def _summary(draws: list[list[tuple[without_clean.Patches, float]]]) -> dict[str, Any]:
    """Computes the statistics of a row from draws of one or more scenes each."""
    estimates = [without_clean.estimate_psnr([patches for patches, _ in draw]) for draw in draws]
    true = [float(np.mean([-10 * np.log10(error) for _, error in draw])) for draw in draws]
    # Averaged before taking the logarithm, which would bias a scattered estimate.
    errors = np.mean([[(patches.mse, error) for patches, error in draw] for draw in draws], axis=0)
    held = [
        low <= t <= high for t, (low, high) in zip(true, (e.ci95 for e in estimates), strict=True)
    ]
    finite = [(e.psnr - t, e.ci95[1] - e.ci95[0]) for e, t in zip(estimates, true, strict=True)]
    finite = [pair for pair in finite if np.isfinite(pair).all()]
    off, widths = np.array(finite).T if finite else (np.array([np.nan]), np.array([np.nan]))
    return {
        'psnr_true': float(np.mean(true)),
        'bias': float(np.mean(-10 * np.log10(errors[:, 0] / errors[:, 1]))),
        'scatter': float(np.sqrt(np.mean(off**2))),
        'coverage': float(np.mean(held)),
        'width': float(np.median(widths)),
        'n': len(draws),
    }


def surroundings() -> dict[str, Any]:
    """Returns device, versions, commit, date and command, for the results file."""
    return {
        'device': device(),
        'provenance': {**provenance(), 'command': ' '.join(['n2n', *sys.argv[1:]])},
    }


def markdown(found: list[dict[str, Any]]) -> str:
    """Formats the rows as a Markdown table."""
    lines = [
        '| noise | method | estimator | scenes | PSNR | bias, dB | scatter, dB | width, dB '
        '| coverage of 95 % | n |',
        '|---|---|---|---:|---:|---:|---:|---:|---:|---:|',
    ]
    lines += [
        f'| {row["noise"]} | {row["method"]} | {row["estimator"]} | {row["scenes"]} '
        f'| {row["psnr_true"]:.2f} | {row["bias"]:+.3f} | {row["scatter"]:.3f} '
        f'| {row["width"]:.3f} | {100 * row["coverage"]:.0f} % | {row["n"]} |'
        for row in found
    ]
    return '\n'.join(lines)
