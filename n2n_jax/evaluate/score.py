"""Scores a denoiser and baselines on captures, without a clean image.

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
# Methods that --without can leave out, by their name on the command line.
OPTIONAL = {'nlm': baselines.NLM, 'bm3d': baselines.BM3D}

# Pairs of methods to compare, and the key of their difference in dB.
_COMPARED = (
    (ON_THE_MEAN, MEAN_OF_RESULTS, 'over_mean_of_results'),
    (MODEL, ONE, 'over_captures'),
    (MODEL, baselines.NLM, 'over_nlm'),
)
_MOST_PAIRS = 4  # of captures to combine


@dataclasses.dataclass(frozen=True)
class Method:
    """The outcome of one method on one scene.

    Attributes:
      name: one of the constants above, as shown in the table.
      map_HWC: error map, averaged over the results; its mean estimates the mean squared error.
      results_NHWC: denoised captures, to be compared with a clean image.
      made_of: for each result, the indices of the captures it was computed from.
      control_HWC: see `without_clean.control_variate`.
    """

    name: str
    map_HWC: np.ndarray
    results_NHWC: np.ndarray
    made_of: Sequence[Sequence[int]]
    control_HWC: np.ndarray | None = None


def score_scene(
    captures_NHWC: np.ndarray, restore: Restore, *, without: Sequence[str] = ()
) -> Iterator[Method]:
    """Runs all methods on one scene.

    Args:
      captures_NHWC: float32 in the range of the network.
      restore: the model.
      without: keys of `OPTIONAL` to skip.

    Yields:
      The unprocessed captures, their mean, non-local means and BM3D (if installed) tuned on the
      captures, the model; with three or more captures also the two ways of combining two of them.
    """
    x = captures_NHWC
    denoised_NHWC = np.stack([restore(capture) for capture in x])
    raw_HWC = without_clean.error_maps(x, x).mean(axis=0)
    mean_NHWC = x.mean(axis=0, keepdims=True)
    control_HWC = without_clean.control_variate(x, denoised_NHWC, x)
    yield Method(ONE, raw_HWC, x, _single_captures(x), control_HWC)
    # The noise variance of a mean of N captures is 1 / N of their mean noise variance.
    control_HWC = without_clean.control_variate(mean_NHWC, denoised_NHWC, x)
    yield Method(MEAN, raw_HWC / len(x), mean_NHWC, [range(len(x))], control_HWC)
    if 'nlm' not in without:
        yield _per_capture(
            baselines.NLM, x, _restore_each(baselines.tuned_nlm(x), x), denoised_NHWC
        )
    if 'bm3d' not in without and baselines.bm3d_installed():
        yield _per_capture(
            baselines.BM3D, x, _restore_each(baselines.tuned_bm3d(x), x), denoised_NHWC
        )
    yield _per_capture(MODEL, x, denoised_NHWC, denoised_NHWC)
    if len(x) > 2:
        pairs = [(i, (i + 1) % len(x)) for i in range(min(len(x), _MOST_PAIRS))]
        for name, combine in (
            (MEAN_OF_RESULTS, lambda pair: denoised_NHWC[list(pair)].mean(axis=0)),
            (ON_THE_MEAN, lambda pair: restore(x[list(pair)].mean(axis=0))),
        ):
            results_NHWC = np.stack([combine(pair) for pair in pairs])
            maps = [
                _error_from_others(g, x, pair) for g, pair in zip(results_NHWC, pairs, strict=True)
            ]
            yield Method(name, np.mean(maps, axis=0), results_NHWC, pairs)


def _single_captures(captures_NHWC: np.ndarray) -> list[tuple[int]]:
    return [(i,) for i in range(len(captures_NHWC))]


def _restore_each(restore: Restore, captures_NHWC: np.ndarray) -> np.ndarray:
    return np.stack([restore(capture) for capture in captures_NHWC])


def _per_capture(
    name: str, captures_NHWC: np.ndarray, results_NHWC: np.ndarray, denoised_NHWC: np.ndarray
) -> Method:
    maps = without_clean.error_maps(results_NHWC, captures_NHWC)
    control_HWC = None
    if len(captures_NHWC) > 2:  # with two, the noise of the map itself leaves nothing to gain
        control_HWC = without_clean.control_variate(results_NHWC, denoised_NHWC, captures_NHWC)
    return Method(
        name, maps.mean(axis=0), results_NHWC, _single_captures(captures_NHWC), control_HWC
    )


def _error_from_others(
    combined_HWC: np.ndarray, captures_NHWC: np.ndarray, pair: tuple[int, int]
) -> np.ndarray:
    """Returns the error map of a result of two captures, from the other captures.

    With a single other x_k: E (g - x_k)^2 is the error plus the noise variance of x_k, which is
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
    """The scores of a method on a scene, for the rows over all scenes.

    Attributes:
      scene: name of the scene.
      patches: statistics over all values that count.
      channels: the same for each channel; empty for single-channel images.
      truths: errors against the clean image, by key of the row.
      facts: properties of the scene, the same for all methods.
    """

    scene: str
    patches: without_clean.Patches
    channels: tuple[without_clean.Patches, ...]
    truths: dict[str, float | None]
    facts: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Scene:
    """A scene to score.

    Attributes:
      name: shown in the table.
      captures_NHWC: in the units of the files.
      mask_HWC: True where no capture is clipped and all were measured.
      clean_HWC: in the units of the captures; None if unknown.
      why: why estimates from these captures are invalid; '' if no reason is known.
      brightness: brightness differences of the captures before correction.
      truth_noise: noise of the clean image; None if none was found.
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
    """Checks captures and prepares them for scoring.

    Args:
      raw: captures as read, in the data type of the files, which shows clipping.
      fixed: the same captures corrected (see `n2n_jax.captures.corrections`); None if they were
        not.
      truth: clean images by scene.
      first_columns: first column, in the raw captures, of the part to score, by scene; 0 for
        scenes not listed.
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
                # Of the raw captures: interpolation reduces the noise they share with the mean.
                truth_noise = measure(of_raw.captures_NHWC, clean_HWC, free_HWC)
                clean_HWC = corrections.center_crop(clean_HWC, like=like)
            part = measured_part(of_raw.captures_NHWC, of_raw.measured_HWC)
            why = validity.why_not_trusted(of_fixed, raw=of_raw)
            first = (first_columns or {}).get(of_raw.name, 0)
            if first:  # corrected shifts crop a border on both sides
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
    """Fills a clean image where nothing was measured, as the captures were filled."""
    return clean_HWC if measured_HWC is None else fill(clean_HWC[None], ~measured_HWC)[0]


def score(
    scenes: Sequence[Scene],
    to_network: Callable[[np.ndarray], np.ndarray],
    restore: Restore,
    *,
    without: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Returns one row per scene and method, and one per method over all trusted scenes.

    The latter have scene ''. If no scene can be trusted, they are over all scenes.

    Args:
      scenes: see `prepare`.
      to_network: maps pixel values to the range of the network, whose white is the peak.
      restore: the model.
      without: keys of `OPTIONAL` to skip.
    """
    rows: list[dict[str, Any]] = []
    overall: dict[str, list[_Outcome]] = {}
    trusted_only = not all(scene.why for scene in scenes)
    with ProgressLine('scoring', len(scenes)) as progress:
        for k, scene in enumerate(scenes):
            progress.update(k, scene.name)
            view = _NetworkScene.of(scene, to_network)
            for method in score_scene(view.captures_NHWC, restore, without=without):
                outcome = view.outcome(method)
                row = _row(scene.name, method.name, [outcome.patches], scene.why)
                channels = {method.name: [outcome.channels]}
                rows.append(row | outcome.truths | outcome.facts | _channel_columns(channels)[-1])
                if not (scene.why and trusted_only):
                    overall.setdefault(method.name, []).append(outcome)
                progress.update(k, f'{scene.name}: {method.name}')
            progress.update(k + 1)
    return rows + _rows_over_scenes(overall, '' if trusted_only else 'no scene can be trusted')


def _rows_over_scenes(overall: Mapping[str, list[_Outcome]], why: str) -> list[dict[str, Any]]:
    # Skip scenes that are masked entirely.
    overall = {
        name: [one for one in outcomes if np.isfinite(one.patches.mse)] or outcomes
        for name, outcomes in overall.items()
    }
    patches = {name: [one.patches for one in outcomes] for name, outcomes in overall.items()}
    mean_of = _mean_of(patches)
    truths = _mean_true_scores(overall, mean_of)
    channels = _channel_columns(
        {name: [o.channels for o in found] for name, found in overall.items()}
    )
    rows = []
    for (name, outcomes), of_channels in zip(overall.items(), channels, strict=True):
        row = _row('', name, patches[name], why, mean_of) | truths[name]
        shares = {
            key: float(np.mean([outcome.facts[key] for outcome in outcomes]))
            for key in ('masked', 'clipped', 'unmeasured')
        }
        row |= {**shares, **of_channels, 'n': len(outcomes)}
        rows.append(row | _differences(name, patches, mean_of))
    return rows


def _mean_of(patches: Mapping[str, Sequence[without_clean.Patches]]) -> Literal['dB', 'mse']:
    """Chooses how scenes are averaged, the same for all methods.

    A scene whose error is too small to be measured has no PSNR. Then squared errors are averaged
    for all methods, so that the rows of a table stay comparable.
    """
    errors = [one.mse for of_method in patches.values() for one in of_method]
    return 'mse' if any(mse <= 0 for mse in errors) else 'dB'


def _differences(
    method: str,
    patches: Mapping[str, Sequence[without_clean.Patches]],
    mean_of: Literal['dB', 'mse'],
) -> dict[str, Any]:
    """Computes by how many dB a method is better than those of `_COMPARED`."""
    found: dict[str, Any] = {}
    for name, other, key in _COMPARED:
        if name == method and other in patches:
            pairs = list(zip(patches[name], patches[other], strict=True))
            value, ci95 = without_clean.difference(pairs, mean_of=mean_of)
            numbers = [float(x) if np.isfinite(x) else None for x in (value, *ci95)]
            found |= {key: numbers[0], f'{key}_ci95': numbers[1:]}
    return found


def _channel_columns(
    methods: Mapping[str, Sequence[tuple[without_clean.Patches, ...]]],
) -> list[dict[str, Any]]:
    """Estimates the PSNR of each channel separately, for each method; peak 1 for all channels.

    The error of a dim channel hardly contributes to that of all channels.
    """
    found: list[list[dict[str, Any]]] = [[] for _ in methods]
    names = channel_names(max(len(of_scene) for of in methods.values() for of_scene in of))
    for k, channel in enumerate(names):
        patches = {name: [of_scene[k] for of_scene in of] for name, of in methods.items()}
        mean_of = _mean_of(patches)
        for of_method, name in zip(found, methods, strict=True):
            estimate = without_clean.estimate_psnr(patches[name], mean_of=mean_of)
            numbers = {key: estimate.as_dict()[key] for key in ('psnr_estimate', 'ci95')}
            compared = _differences(name, patches, mean_of)
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
class _NetworkScene:
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
        """Returns the scores of a method."""
        patches, channels = self._patches(method)
        return _Outcome(self.scene.name, patches, channels, self._true_scores(method), self._facts)

    @property
    def _facts(self) -> dict[str, Any]:
        """Columns of a row that are the same for all methods."""
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
        """Returns the statistics over all channels, and of each channel if there are several."""
        mask_HWC, control_HWC = self.scene.mask_HWC, method.control_HWC
        drift_effect = None
        if self.drift is not None:
            drift_effect = drift.drift_effect(
                self.drift, method.results_NHWC, self.captures_NHWC, mask_HWC, method.made_of
            )

        def statistics(
            part: slice, drift_effect: drift.DriftEffect | None
        ) -> without_clean.Patches:
            patches = without_clean.patch_sums(
                method.map_HWC[..., part],
                mask_HWC[..., part],
                side=self.side,
                control_HWC=None if control_HWC is None else control_HWC[..., part],
            )
            return dataclasses.replace(patches, drift_effect=drift_effect)

        num = mask_HWC.shape[-1]
        channels = [
            statistics(
                slice(c, c + 1), None if drift_effect is None else drift_effect.for_channel(c)
            )
            for c in range(num)
        ]
        return statistics(slice(num), drift_effect), tuple(channels) if num > 1 else ()

    def _true_scores(self, method: Method) -> dict[str, float | None]:
        """Scores results against the clean image, over the mask and over all measured values."""
        if self.clean_HWC is None:
            return dict.fromkeys(
                (*_PSNR_KEYS, *_PSNR_KEYS.values(), 'psnr_true_first', 'ssim_true')
            )
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
        named = dict(zip(_PSNR_KEYS, errors, strict=True))
        return {
            **named,
            **{_PSNR_KEYS[name]: _psnr(error) for name, error in named.items()},
            # The first result alone, over all measured values.
            'psnr_true_first': _psnr(_mean_square(squares_NHWC[:1], measured_HWC)),
            'ssim_true': self._ssim(results_NHWC),
        }

    def _ssim(self, results_NHWC: np.ndarray) -> float | None:
        """Averages SSIM over fully measured windows; None if there is none."""
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


# Keys of errors against the clean image, and of the same in dB.
_PSNR_KEYS = {
    'mse_true': 'psnr_true',
    'mse_true_corrected': 'psnr_true_corrected',  # minus the noise of the clean image
    'mse_true_all': 'psnr_true_all',
}


def _mean_true_scores(
    overall: Mapping[str, Sequence[_Outcome]], mean_of: Literal['dB', 'mse']
) -> dict[str, dict[str, float | None]]:
    """Averages each method's true scores over the scenes where all methods have that score.

    Otherwise the best methods would lose their best scenes, where their error is too small to be
    told from the noise of the clean image.
    """
    every = [outcome for outcomes in overall.values() for outcome in outcomes]
    keys = list(every[0].truths)
    unknown = {key: {one.scene for one in every if one.truths[key] is None} for key in keys}
    found = {}
    for name, outcomes in overall.items():
        means: dict[str, float | None] = {
            key: _mean_known([one.truths[key] for one in outcomes if one.scene not in unknown[key]])
            for key in keys
        }
        if mean_of == 'mse':
            means |= {decibels: _psnr(means[of]) for of, decibels in _PSNR_KEYS.items()}
        known = [one for one in outcomes if one.scene not in unknown['psnr_true_corrected']]
        found[name] = {**means, 'n_true_corrected': len(known)}
    return found


def _psnr(mse: float | None) -> float | None:
    return None if mse is None else float(-10 * np.log10(max(mse, 1e-12)))


def _mean_known(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
