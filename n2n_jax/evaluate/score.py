"""How good a denoiser is, told from captures alone, beside what one would try first.

N captures of a scene, H height, W width, C channels.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
from scipy import ndimage

from n2n_jax.captures import audit, corrections
from n2n_jax.captures.audit.view import View
from n2n_jax.captures.measure import saturation
from n2n_jax.captures.measure.brightness import ByChannel, compare_channels
from n2n_jax.captures.measure.measured_part import fill, measured_part
from n2n_jax.captures.scene_captures import SceneCaptures
from n2n_jax.evaluate import (
    baselines,
    drift,
    metrics,
    validity,
    without_clean,
)
from n2n_jax.evaluate.baselines import Restore
from n2n_jax.evaluate.truth_noise import TruthNoise, measure
from n2n_jax.images.channel_names import channel_names
from n2n_jax.runtime.progress import ProgressLine

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
      control_HWC: see `pair_metrics.control_variate`.
    """

    name: str
    map_HWC: np.ndarray
    results_NHWC: np.ndarray
    made_of: Sequence[Sequence[int]]
    control_HWC: np.ndarray | None = None


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
    raw_HWC = without_clean.error_maps(x, x).mean(axis=0)
    mean_NHWC = x.mean(axis=0, keepdims=True)
    control_HWC = without_clean.control_variate(x, denoised_NHWC, x)
    yield Method(ONE, raw_HWC, x, _each(x), control_HWC)
    # The noise of a mean of N is an N-th of the mean of their noise.
    control_HWC = without_clean.control_variate(mean_NHWC, denoised_NHWC, x)
    yield Method(MEAN, raw_HWC / len(x), mean_NHWC, [range(len(x))], control_HWC)
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
    maps = without_clean.error_maps(results_NHWC, captures_NHWC)
    control_HWC = None
    if len(captures_NHWC) > 2:  # two captures leave so much noise in the map that it is none less
        control_HWC = without_clean.control_variate(results_NHWC, denoised_NHWC, captures_NHWC)
    return Method(name, maps.mean(axis=0), results_NHWC, _each(captures_NHWC), control_HWC)


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
        return without_clean.error_map(combined_HWC, x[others])
    (k,), (i, j) = others, pair
    return (combined_HWC - x[k]) ** 2 - (x[k] - x[i]) * (x[k] - x[j])


@dataclasses.dataclass(frozen=True)
class _Outcome:
    """What a method made of a scene, for the rows over all scenes.

    Attributes:
      scene: its name.
      patches: of all values that count.
      channels: those of each channel; of one channel alone none.
      truths: against the clean image.
      facts: of the scene.
    """

    scene: str
    patches: without_clean.Patches
    channels: tuple[without_clean.Patches, ...]
    truths: dict[str, float | None]
    facts: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Scene:
    """What is scored.

    Attributes:
      name: of the scene.
      captures_NHWC: in the units of the files.
      mask_HWC: True where no capture is clipped, and all were measured.
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
    brightness: ByChannel
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
      fixed: the same put right (see `n2n_jax.captures.corrections`); None: nothing was.
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
            mask_HWC, clean_HWC, truth_noise = (
                corrections.center_crop(free_HWC, like=like),
                None,
                None,
            )
            if of_raw.measured_HWC is not None:
                free_HWC = free_HWC & of_raw.measured_HWC
            if of_fixed.measured_HWC is not None:
                mask_HWC = mask_HWC & of_fixed.measured_HWC
            if truth is not None:
                clean_HWC = _filled(truth[of_raw.name], of_raw.measured_HWC)
                # What was moved by parts of a pixel shares less noise with a mean of what was not.
                truth_noise = measure(of_raw.captures_NHWC, clean_HWC, free_HWC)
                clean_HWC = corrections.center_crop(clean_HWC, like=like)
            part = measured_part(of_raw.captures_NHWC, of_raw.measured_HWC)
            why = validity.why_not_trusted(of_fixed, raw=of_raw)
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
                    compare_channels(part.captures_NHWC),
                    truth_noise,
                    None if of_fixed.measured_HWC is None else of_fixed.measured_HWC[:, first:],
                )
            )
            progress.update(k + 1)
    return scenes


def _filled(clean_HWC: np.ndarray, measured_HWC: np.ndarray | None) -> np.ndarray:
    """A clean image with values from beside it where nothing was measured, as the captures have."""
    return clean_HWC if measured_HWC is None else fill(clean_HWC[None], ~measured_HWC)[0]


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
    overall: dict[str, list[_Outcome]] = {}
    trusted_only = not all(scene.why for scene in scenes)
    with ProgressLine('scoring', len(scenes)) as progress:
        for k, scene in enumerate(scenes):
            progress.update(k, scene.name)
            view = _View.of(scene, to_network)
            for method in score_scene(view.captures_NHWC, restore, without=without):
                outcome = view.outcome(method)
                row = _row(scene.name, method.name, [outcome.patches], scene.why)
                channels = {method.name: [outcome.channels]}
                rows.append(row | outcome.truths | outcome.facts | _by_channel(channels)[-1])
                if not (scene.why and trusted_only):
                    overall.setdefault(method.name, []).append(outcome)
                progress.update(k, f'{scene.name}: {method.name}')
            progress.update(k + 1)
    return rows + _over_scenes(overall, '' if trusted_only else 'no scene can be trusted')


def _over_scenes(overall: Mapping[str, list[_Outcome]], why: str) -> list[dict[str, Any]]:
    # A scene of which nothing counts says nothing.
    overall = {
        name: [one for one in outcomes if np.isfinite(one.patches.mse)] or outcomes
        for name, outcomes in overall.items()
    }
    patches = {name: [one.patches for one in outcomes] for name, outcomes in overall.items()}
    mean_of = _mean_of(patches)
    truths = _mean_truths(overall, mean_of)
    channels = _by_channel({name: [o.channels for o in found] for name, found in overall.items()})
    rows = []
    for (name, outcomes), of_channels in zip(overall.items(), channels, strict=True):
        row = _row('', name, patches[name], why, mean_of) | truths[name]
        shares = {
            key: float(np.mean([outcome.facts[key] for outcome in outcomes]))
            for key in ('masked', 'clipped', 'unmeasured')
        }
        row |= {**shares, **of_channels, 'n': len(outcomes)}
        rows.append(row | _compared(name, patches, mean_of))
    return rows


def _mean_of(patches: Mapping[str, Sequence[without_clean.Patches]]) -> Literal['dB', 'mse']:
    """How scenes are averaged, the same for all methods.

    One scene whose error is too small to be measured has no dB to be averaged. Then all methods are
    averaged in another way, as two ways in one table could not be compared.
    """
    errors = [one.mse for of_method in patches.values() for one in of_method]
    return 'mse' if any(mse <= 0 for mse in errors) else 'dB'


def _compared(
    method: str,
    patches: Mapping[str, Sequence[without_clean.Patches]],
    mean_of: Literal['dB', 'mse'],
) -> dict[str, Any]:
    """By how many dB a method is better than those it is compared with."""
    found: dict[str, Any] = {}
    for name, other, key in _COMPARED:
        if name == method and other in patches:
            pairs = list(zip(patches[name], patches[other], strict=True))
            value, ci95 = without_clean.difference(pairs, mean_of=mean_of)
            numbers = [float(x) if np.isfinite(x) else None for x in (value, *ci95)]
            found |= {key: numbers[0], f'{key}_ci95': numbers[1:]}
    return found


def _by_channel(
    methods: Mapping[str, Sequence[tuple[without_clean.Patches, ...]]],
) -> list[dict[str, Any]]:
    """Estimates of each channel by itself, for each method; peak 1 as that of all channels.

    The error of a dim channel is little of that of all.
    """
    found: list[list[dict[str, Any]]] = [[] for _ in methods]
    names = channel_names(max(len(of_scene) for of in methods.values() for of_scene in of))
    for k, channel in enumerate(names):
        patches = {name: [of_scene[k] for of_scene in of] for name, of in methods.items()}
        mean_of = _mean_of(patches)
        for of_method, name in zip(found, methods, strict=True):
            estimate = without_clean.estimate_psnr(patches[name], mean_of=mean_of)
            numbers = {key: estimate.as_dict()[key] for key in ('psnr_estimate', 'ci95')}
            compared = _compared(name, patches, mean_of)
            of_method.append({'channel': channel, **numbers, **compared})
    return [{'channels': of_method or None} for of_method in found]


def _row(
    scene: str,
    method: str,
    patches: list[without_clean.Patches],
    why: str,
    mean_of: Literal['dB', 'mse'] = 'dB',
) -> dict[str, Any]:
    estimate = without_clean.estimate_psnr(patches, mean_of=mean_of)
    row = {'scene': scene, 'method': method, **estimate.as_dict()}
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
        return cls(scene, captures_NHWC, clean_HWC, found, without_clean.patch_side(captures_NHWC))

    def outcome(self, method: Method) -> _Outcome:
        """The outcome of a method."""
        patches, channels = self._patches(method)
        return _Outcome(self.scene.name, patches, channels, self._truths(method), self._facts)

    @property
    def _facts(self) -> dict[str, Any]:
        """What of a row is the same for all methods."""
        noise, masked = self.scene.truth_noise, float(1 - self.scene.mask_HWC.mean())
        unmeasured = float(1 - self._measured_HWC.mean())
        return {
            'masked': masked,
            'clipped': max(masked - unmeasured, 0.0),
            'unmeasured': unmeasured,
            'gain_spread': 0.0 if self.drift is None else self.drift.gain_spread,
            'offset_spread': 0.0 if self.drift is None else self.drift.offset_spread,
            'truth_mean_of': None if noise is None else noise.captures,
            'truth_has_captures': noise is not None and noise.contains,
        }

    @property
    def _measured_HWC(self) -> np.ndarray:
        known_HWC = self.scene.measured_HWC
        return np.ones(self.scene.mask_HWC.shape, bool) if known_HWC is None else known_HWC

    def _patches(
        self, method: Method
    ) -> tuple[without_clean.Patches, tuple[without_clean.Patches, ...]]:
        """Of all channels, and of each if there are several."""
        mask_HWC, control_HWC = self.scene.mask_HWC, method.control_HWC
        drift_effect = None
        if self.drift is not None:
            drift_effect = drift.drift_effect(
                self.drift, method.results_NHWC, self.captures_NHWC, mask_HWC, method.made_of
            )

        def of(part: slice, drift_effect: drift.DriftEffect | None) -> without_clean.Patches:
            patches = without_clean.patch_sums(
                method.map_HWC[..., part],
                mask_HWC[..., part],
                side=self.side,
                control_HWC=None if control_HWC is None else control_HWC[..., part],
            )
            return dataclasses.replace(patches, drift_effect=drift_effect)

        num = mask_HWC.shape[-1]
        channels = [
            of(slice(c, c + 1), None if drift_effect is None else drift_effect.for_channel(c))
            for c in range(num)
        ]
        return of(slice(num), drift_effect), tuple(channels) if num > 1 else ()

    def _truths(self, method: Method) -> dict[str, float | None]:
        """Against the clean image: over what the estimate is about, and over all that is known."""
        if self.clean_HWC is None:
            return dict.fromkeys((*_OF_MSE, *_OF_MSE.values(), 'psnr_true_first', 'ssim_true'))
        results_NHWC, mask_HWC = method.results_NHWC, self.scene.mask_HWC
        squares_NHWC = (results_NHWC.astype(np.float64) - self.clean_HWC) ** 2
        mse = _mean_square(squares_NHWC, mask_HWC)
        corrected = mse
        if mse is not None and self.scene.truth_noise is not None:
            corrected = self.scene.truth_noise.corrected(
                mse,
                [result_HWC[mask_HWC] for result_HWC in results_NHWC],
                self.captures_NHWC[:, mask_HWC],
                method.made_of,
            )
        measured_HWC = self._measured_HWC
        errors = (mse, corrected, _mean_square(squares_NHWC, measured_HWC))
        named = dict(zip(_OF_MSE, errors, strict=True))
        return {
            **named,
            **{_OF_MSE[name]: _psnr(error) for name, error in named.items()},
            # Of the first result, all that was measured.
            'psnr_true_first': _psnr(_mean_square(squares_NHWC[:1], measured_HWC)),
            'ssim_true': self._similarity(results_NHWC),
        }

    def _similarity(self, results_NHWC: np.ndarray) -> float | None:
        """SSIM, mean over the windows that were measured whole; None if there is none."""
        margin = metrics.SSIM_WINDOW // 2
        whole_HWC = ndimage.minimum_filter(
            self._measured_HWC, (metrics.SSIM_WINDOW, metrics.SSIM_WINDOW, 1), mode='nearest'
        )[margin:-margin, margin:-margin]
        if not whole_HWC.any():  # or the scene is smaller than the window
            return None
        clean_NHWC = np.broadcast_to(self.clean_HWC, results_NHWC.shape)
        map_NHWC = metrics.ssim_map(results_NHWC.astype(np.float32), clean_NHWC)
        return float(np.mean(np.asarray(map_NHWC)[:, whole_HWC]))


def _mean_square(squares_NHWC: np.ndarray, mask_HWC: np.ndarray) -> float | None:
    return float(squares_NHWC[:, mask_HWC].mean()) if mask_HWC.any() else None


# Errors against the clean image, and the names of the same in dB.
_OF_MSE = {
    'mse_true': 'psnr_true',
    'mse_true_corrected': 'psnr_true_corrected',  # less the noise of the clean image
    'mse_true_all': 'psnr_true_all',
}


def _mean_truths(
    overall: Mapping[str, Sequence[_Outcome]], mean_of: Literal['dB', 'mse']
) -> dict[str, dict[str, float | None]]:
    """Means of each method over scenes, for each number over those where all methods have it.

    Else the noise of the clean image would hide the best scenes of the best methods alone.
    """
    every = [outcome for outcomes in overall.values() for outcome in outcomes]
    keys = list(every[0].truths)
    unknown = {key: {one.scene for one in every if one.truths[key] is None} for key in keys}
    found = {}
    for name, outcomes in overall.items():
        means: dict[str, float | None] = {
            key: _mean([one.truths[key] for one in outcomes if one.scene not in unknown[key]])
            for key in keys
        }
        if mean_of == 'mse':
            means |= {decibels: _psnr(means[of]) for of, decibels in _OF_MSE.items()}
        known = [one for one in outcomes if one.scene not in unknown['psnr_true_corrected']]
        found[name] = {**means, 'n_true_corrected': len(known)}
    return found


def _psnr(mse: float | None) -> float | None:
    return None if mse is None else float(-10 * np.log10(max(mse, 1e-12)))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
