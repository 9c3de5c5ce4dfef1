"""How good a denoiser is, told from captures alone, beside what one would try first.

N captures of a scene, H height, W width, C channels.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from n2n_jax import audit, baselines, drift, io, metrics, pair_metrics, saturation, stacks, trust
from n2n_jax.audit.view import View
from n2n_jax.baselines import Restore
from n2n_jax.brightness import Brightness, compare
from n2n_jax.data import fixes
from n2n_jax.data.own_captures import SceneCaptures
from n2n_jax.errors import UserError
from n2n_jax.progress import ProgressLine
from n2n_jax.truth_noise import TruthNoise, measure

MODEL = 'model'
ONE = 'one capture'
MEAN = 'mean of the captures'
MEAN_OF_RESULTS = 'model, mean of two results'
ON_THE_MEAN = 'model on the mean of two'
# What can be left out, by the name that is typed.
OPTIONAL = {'nlm': baselines.NLM, 'bm3d': baselines.BM3D}

# Which methods are compared with which, and what the difference in dB is called.
_COMPARED = (
    (ON_THE_MEAN, MEAN_OF_RESULTS, 'over_mean_of_results'),
    (MODEL, ONE, 'over_captures'),
    (MODEL, baselines.NLM, 'over_nlm'),
)
_MOST_PAIRS = 4  # of captures that are combined


@dataclasses.dataclass(frozen=True)
class Method:
    """The outcome of one method on one scene.

    Attributes:
      name: of the method.
      map_HWC: whose mean estimates the mean squared error, averaged over the results.
      results_NHWC: what it makes of captures, to be compared with a clean image.
      made_of: the captures behind each result.
      explained_HWC: see `pair_metrics.explained_error`.
    """

    name: str
    map_HWC: np.ndarray
    results_NHWC: np.ndarray
    made_of: Sequence[Sequence[int]]
    explained_HWC: np.ndarray | None = None


def score_scene(
    captures_NHWC: np.ndarray, restore: Restore, *, without: Sequence[str] = ()
) -> Iterator[Method]:
    """All methods on one scene.

    Args:
      captures_NHWC: float32 in the range of the network.
      restore: the model.
      without: names in `OPTIONAL` to leave out.

    Yields:
      The captures as they are, their mean, non-local means and BM3D (if it is installed) tuned on
      the captures themselves, the model; and of three captures or more the two ways to use two of
      them.
    """
    x = captures_NHWC
    denoised_NHWC = np.stack([restore(capture) for capture in x])
    raw_HWC = pair_metrics.error_maps(x, x).mean(axis=0)
    mean_NHWC = x.mean(axis=0, keepdims=True)
    explained_HWC = pair_metrics.explained_error(x, denoised_NHWC, x)
    yield Method(ONE, raw_HWC, x, _each(x), explained_HWC)
    # The noise of a mean of N is an N-th of the mean of their noise.
    explained_HWC = pair_metrics.explained_error(mean_NHWC, denoised_NHWC, x)
    yield Method(MEAN, raw_HWC / len(x), mean_NHWC, [range(len(x))], explained_HWC)
    if 'nlm' not in without:
        yield _per_capture(baselines.NLM, x, _all(baselines.tuned_nlm(x), x), denoised_NHWC)
    if 'bm3d' not in without and baselines.bm3d_installed():
        yield _per_capture(baselines.BM3D, x, _all(baselines.tuned_bm3d(x), x), denoised_NHWC)
    yield _per_capture(MODEL, x, denoised_NHWC, denoised_NHWC)
    if len(x) > 2:
        pairs = [(i, (i + 1) % len(x)) for i in range(min(len(x), _MOST_PAIRS))]
        for name, combine in (
            (MEAN_OF_RESULTS, lambda pair: denoised_NHWC[list(pair)].mean(axis=0)),
            (ON_THE_MEAN, lambda pair: restore(x[list(pair)].mean(axis=0))),
        ):
            results_NHWC = np.stack([combine(pair) for pair in pairs])
            maps = [
                _against_the_rest(g, x, pair) for g, pair in zip(results_NHWC, pairs, strict=True)
            ]
            yield Method(name, np.mean(maps, axis=0), results_NHWC, pairs)


def _each(captures_NHWC: np.ndarray) -> list[tuple[int]]:
    return [(i,) for i in range(len(captures_NHWC))]


def _all(restore: Restore, captures_NHWC: np.ndarray) -> np.ndarray:
    return np.stack([restore(capture) for capture in captures_NHWC])


def _per_capture(
    name: str, captures_NHWC: np.ndarray, results_NHWC: np.ndarray, denoised_NHWC: np.ndarray
) -> Method:
    maps = pair_metrics.error_maps(results_NHWC, captures_NHWC)
    explained_HWC = None
    if len(captures_NHWC) > 2:  # two captures leave so much noise in the map that it is none less
        explained_HWC = pair_metrics.explained_error(results_NHWC, denoised_NHWC, captures_NHWC)
    return Method(name, maps.mean(axis=0), results_NHWC, _each(captures_NHWC), explained_HWC)


def _against_the_rest(
    combined_HWC: np.ndarray, captures_NHWC: np.ndarray, pair: tuple[int, int]
) -> np.ndarray:
    """The error of what was made of two captures, seen by the others.

    Of one other x_k: E (g - x_k)^2 is the error plus the noise of x_k, and that is
    E (x_k - x_i)(x_k - x_j).
    """
    x = captures_NHWC.astype(np.float64)
    others = [k for k in range(len(x)) if k not in pair]
    if len(others) > 1:
        return pair_metrics.error_map(combined_HWC, x[others])
    (k,), (i, j) = others, pair
    return (combined_HWC - x[k]) ** 2 - (x[k] - x[i]) * (x[k] - x[j])


@dataclasses.dataclass
class _Sums:
    """What the rows over all scenes are made of."""

    patches: list[pair_metrics.Patches] = dataclasses.field(default_factory=list)
    truths: list[dict[str, float | None]] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Scene:
    """What is scored.

    Attributes:
      name: of the scene.
      captures_NHWC: in the units of the files.
      mask_HWC: True where no capture is clipped.
      clean_HWC: in the units of the captures, if it is known.
      why: what makes an estimate from these captures worthless; '' if nothing is known to.
      brightness: how the captures differed in it before they were put right.
      truth_noise: of the clean image.
      measured_HWC: see `SceneCaptures`.
    """

    name: str
    captures_NHWC: np.ndarray
    mask_HWC: np.ndarray
    clean_HWC: np.ndarray | None
    why: str
    brightness: Brightness
    truth_noise: TruthNoise | None
    measured_HWC: np.ndarray | None = None


def prepare(
    raw: Sequence[SceneCaptures],
    *,
    fixed: Sequence[SceneCaptures] | None = None,
    truth: dict[str, np.ndarray] | None = None,
    first_columns: Mapping[str, int] | None = None,
) -> list[Scene]:
    """Checks the captures before they are scored.

    Args:
      raw: captures as they were read, in the type of the files, which shows what is clipped.
      fixed: the same put right (see `n2n_jax.data.fixes`); None: nothing was.
      truth: clean images by scene.
      first_columns: by scene, where of the raw captures the part begins that is scored; 0 for the
        scenes that are not named.
    """
    fixed = raw if fixed is None else fixed
    scenes = []
    with ProgressLine('checking captures', len(raw)) as progress:
        for k, (of_raw, of_fixed) in enumerate(zip(raw, fixed, strict=True)):
            progress.update(k, of_raw.name)
            like = of_fixed.captures_NHWC[0]
            counting_C = audit.counting_channels(View(of_raw.captures_NHWC, of_raw.measured_HWC))
            free_HWC = saturation.unsaturated_mask(of_raw.captures_NHWC, counting_C=counting_C)
            mask_HWC, clean_HWC, truth_noise = fixes.middle(free_HWC, like=like), None, None
            if of_fixed.measured_HWC is not None:
                mask_HWC = mask_HWC & of_fixed.measured_HWC
            if truth is not None:
                clean_HWC = truth[of_raw.name]
                # What was moved by parts of a pixel shares less noise with a mean of what was not.
                truth_noise = measure(of_raw.captures_NHWC, clean_HWC, free_HWC)
                clean_HWC = fixes.middle(clean_HWC, like=like)
            why = trust.why_not_trusted(of_fixed, raw=of_raw)
            first = (first_columns or {}).get(of_raw.name, 0)
            if first:  # what was shifted has lost a border on both sides
                cut_off = (of_raw.captures_NHWC.shape[2] - like.shape[1]) // 2
                first = min(max(first - cut_off, 0), like.shape[1] - 1)
            scenes.append(
                Scene(
                    of_raw.name,
                    of_fixed.captures_NHWC[:, :, first:],
                    mask_HWC[:, first:],
                    None if clean_HWC is None else clean_HWC[:, first:],
                    why,
                    compare(of_raw.captures_NHWC),
                    truth_noise,
                    None if of_fixed.measured_HWC is None else of_fixed.measured_HWC[:, first:],
                )
            )
            progress.update(k + 1)
    return scenes


def score(
    scenes: Sequence[Scene],
    to_network: Callable[[np.ndarray], np.ndarray],
    restore: Restore,
    *,
    without: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """One row per scene and method, and one per method over the scenes that can be trusted.

    The latter have the scene ''. If no scene can be trusted they are over all.

    Args:
      scenes: see `prepare`.
      to_network: pixel values to the range of the network, whose white is the peak.
      restore: the model.
      without: names in `OPTIONAL` to leave out.
    """
    rows: list[dict[str, Any]] = []
    overall: dict[str, _Sums] = {}
    trusted_only = not all(scene.why for scene in scenes)
    with ProgressLine('scoring', len(scenes)) as progress:
        for k, scene in enumerate(scenes):
            progress.update(k, scene.name)
            view = _View.of(scene, to_network)
            for method in score_scene(view.captures_NHWC, restore, without=without):
                patches, truths = view.patches(method), view.truths(method)
                rows.append(_row(scene.name, method.name, [patches], truths, scene.why))
                rows[-1] |= view.facts
                if not (scene.why and trusted_only):
                    sums = overall.setdefault(method.name, _Sums())
                    sums.patches.append(patches)
                    sums.truths.append(truths)
                progress.update(k, f'{scene.name}: {method.name}')
            progress.update(k + 1)
    why = '' if trusted_only else 'no scene can be trusted'
    return rows + _over_scenes(overall, rows, why)


def _over_scenes(
    overall: Mapping[str, _Sums], rows: Sequence[dict[str, Any]], why: str
) -> list[dict[str, Any]]:
    # One scene whose error is too small to be measured has no dB to be averaged. Then all methods
    # are averaged in another way, as two ways in one table could not be compared.
    every = [patches.mse for sums in overall.values() for patches in sums.patches]
    mean_of: Literal['dB', 'mse'] = 'mse' if any(mse <= 0 for mse in every) else 'dB'
    found = []
    for name, sums in overall.items():
        row = _row('', name, sums.patches, _mean_truths(sums.truths, mean_of), why, mean_of)
        masked = [r['masked'] for r in rows if r['method'] == name]
        found.append(row | {'masked': float(np.mean(masked)), 'n': len(sums.patches)})
    for name, other, key in _COMPARED:
        if name in overall and other in overall:
            pairs = zip(overall[name].patches, overall[other].patches, strict=True)
            value, ci95 = pair_metrics.difference(list(pairs), mean_of=mean_of)
            numbers = [float(x) if np.isfinite(x) else None for x in (value, *ci95)]
            row = next(r for r in found if r['method'] == name)
            row |= {key: numbers[0], f'{key}_ci95': numbers[1:]}
    return found


def _row(
    scene: str,
    method: str,
    patches: list[pair_metrics.Patches],
    truths: dict[str, float | None],
    why: str,
    mean_of: Literal['dB', 'mse'] = 'dB',
) -> dict[str, Any]:
    estimate = pair_metrics.estimate_psnr(patches, mean_of=mean_of)
    row = {'scene': scene, 'method': method, **estimate.as_dict(), **truths}
    return row | {'trusted': not why, 'why': why, 'mean_of': mean_of}


@dataclasses.dataclass(frozen=True)
class _View:
    """A scene in the range of the network."""

    scene: Scene
    captures_NHWC: np.ndarray
    clean_HWC: np.ndarray | None
    drift: drift.Drift | None
    side: int

    @classmethod
    def of(cls, scene: Scene, to_network: Callable[[np.ndarray], np.ndarray]) -> Self:
        captures_NHWC = to_network(scene.captures_NHWC)
        clean_HWC = None if scene.clean_HWC is None else to_network(scene.clean_HWC)
        found = drift.find(scene.brightness, to_network)
        return cls(scene, captures_NHWC, clean_HWC, found, pair_metrics.patch_side(captures_NHWC))

    @property
    def facts(self) -> dict[str, Any]:
        """What of a row is the same for all methods."""
        noise = self.scene.truth_noise
        return {
            'masked': float(1 - self.scene.mask_HWC.mean()),
            'gain_spread': 0.0 if self.drift is None else self.drift.spread,
            'truth_mean_of': None if noise is None else noise.captures,
            'truth_has_captures': noise is not None and noise.contains,
        }

    def patches(self, method: Method) -> pair_metrics.Patches:
        mask_HWC = self.scene.mask_HWC
        patches = pair_metrics.patch_sums(
            method.map_HWC, mask_HWC, side=self.side, explained_HWC=method.explained_HWC
        )
        if self.drift is None:
            return patches
        lever = drift.lever(
            self.drift, method.results_NHWC, self.captures_NHWC, mask_HWC, method.made_of
        )
        return dataclasses.replace(patches, lever=lever)

    def truths(self, method: Method) -> dict[str, float | None]:
        """Against the clean image: over what the estimate is about, and over all pixels."""
        if self.clean_HWC is None:
            return dict.fromkeys((*_OF_MSE, *_OF_MSE.values(), 'psnr_true_first', 'ssim_true'))
        results_NHWC, mask_HWC = method.results_NHWC, self.scene.mask_HWC
        squares_NHWC = (results_NHWC.astype(np.float64) - self.clean_HWC) ** 2
        clean_NHWC = np.broadcast_to(self.clean_HWC, results_NHWC.shape)
        ssim = float(np.mean(metrics.ssim(results_NHWC.astype(np.float32), clean_NHWC)))
        mse = float(squares_NHWC[:, mask_HWC].mean()) if mask_HWC.any() else None
        corrected = mse
        if mse is not None and self.scene.truth_noise is not None:
            corrected = self.scene.truth_noise.corrected(
                mse,
                [result_HWC[mask_HWC] for result_HWC in results_NHWC],
                self.captures_NHWC[:, mask_HWC],
                method.made_of,
            )
        errors = dict(zip(_OF_MSE, (mse, corrected, float(squares_NHWC.mean())), strict=True))
        return {
            **errors,
            **{_OF_MSE[name]: _psnr(error) for name, error in errors.items()},
            'psnr_true_first': _psnr(squares_NHWC[0].mean()),  # of the first result, all pixels
            'ssim_true': ssim if np.isfinite(ssim) else None,  # smaller than its window
        }


# Errors against the clean image, and the names of the same in dB.
_OF_MSE = {
    'mse_true': 'psnr_true',
    'mse_true_corrected': 'psnr_true_corrected',  # less the noise of the clean image
    'mse_true_all': 'psnr_true_all',
}


def _mean_truths(
    truths: Sequence[dict[str, float | None]], mean_of: Literal['dB', 'mse']
) -> dict[str, float | None]:
    means = {key: _mean([of_scene[key] for of_scene in truths]) for key in truths[0]}
    if mean_of == 'mse':
        means |= {decibels: _psnr(means[name]) for name, decibels in _OF_MSE.items()}
    return means


def _psnr(mse: float | None) -> float | None:
    return None if mse is None else float(-10 * np.log10(max(mse, 1e-12)))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def read_truth(folder: Path, scenes: Sequence[SceneCaptures]) -> dict[str, np.ndarray]:
    """Clean images by scene: a file named as the scene, or as its first capture.

    Raises:
      UserError: one is missing or there are several, it is of another size or number of channels,
        a stack of several images, or holds NaN.
    """
    files: dict[str, list[Path]] = {}
    for path in io.find_images(folder, also=stacks.OTHER_SUFFIXES):
        files.setdefault(path.relative_to(folder).with_suffix('').as_posix(), []).append(path)
    truth = {}
    for scene in scenes:
        file = _truth_of(scene.name, files, folder)
        stack = stacks.open_stack(file)
        if stack.num_images != 1:
            raise UserError(f'{file} holds {stack.num_images} images, and one clean one is needed.')
        clean_HWC = stack.read([0])[0]
        size, wanted = clean_HWC.shape, scene.captures_NHWC.shape[1:]
        if size[:2] != wanted[:2]:
            raise UserError(
                f'{file} is of another size than the captures of {scene.name}: {size[1]}x{size[0]} '
                f'pixels, not {wanted[1]}x{wanted[0]}.'
            )
        if size[2] != wanted[2]:
            raise UserError(
                f'{file} has {size[2]} channels, and the captures of {scene.name} have {wanted[2]}.'
            )
        if not np.isfinite(clean_HWC).all():
            raise UserError(f'{file} holds NaN or infinite pixels: no error can be told from it.')
        truth[scene.name] = clean_HWC
    return truth


def _truth_of(scene: str, files: Mapping[str, list[Path]], folder: Path) -> Path:
    """The clean image of a scene among files by path without suffix, else by name alone."""
    by_name: dict[str, list[Path]] = {}
    for name, paths in files.items():
        by_name.setdefault(name.rpartition('/')[2], []).extend(paths)
    for ending in ('', '_1', '_a'):
        for known in (files, by_name):
            found = known.get(f'{scene}{ending}', [])
            if len(found) > 1:
                raise UserError(
                    f'{folder} holds more than one clean image for {scene}: '
                    f'{", ".join(str(path.relative_to(folder)) for path in found[:3])}. Leave one.'
                )
            if found:
                return found[0]
    raise UserError(f'{folder} holds no clean image for {scene}: name it {scene}, any suffix.')
