"""Scores a denoiser and baselines on captures, without a clean image.

N captures of a scene, H height, W width, C channels.
"""

import dataclasses
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np

from n2n_jax.evaluate import drift, methods, true_scores, without_clean
from n2n_jax.evaluate.baselines import Baseline, Restore
from n2n_jax.evaluate.methods import MEAN_OF_RESULTS, MODEL, ON_THE_MEAN, ONE, Method
from n2n_jax.evaluate.scored_scenes import ScoredScene
from n2n_jax.evaluate.true_scores import Truth
from n2n_jax.images.channel_names import channel_names
from n2n_jax.runtime.progress import ProgressLine

# Pairs of methods to compare, and the key of their difference in dB.
_COMPARED = (
    (ON_THE_MEAN, MEAN_OF_RESULTS, 'over_mean_of_results'),
    (MODEL, ONE, 'over_captures'),
    (MODEL, methods.NLM, 'over_nlm'),
)


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


def score(
    scenes: Sequence[ScoredScene],
    to_network: Callable[[np.ndarray], np.ndarray],
    restore: Restore,
    *,
    without: Sequence[str] = (),
    more: Mapping[str, Baseline] = types.MappingProxyType({}),
) -> list[dict[str, Any]]:
    """Returns one row per scene and method, and one per method over all trusted scenes.

    The latter have scene ''. If no scene can be trusted, they are over all scenes.

    Args:
      scenes: see `n2n_jax.evaluate.scored_scenes.prepare`.
      to_network: maps pixel values to the range of the network, whose white is the peak.
      restore: the model.
      without: keys of `methods.OPTIONAL` to skip.
      more: further baselines, by the name to show.
    """
    rows: list[dict[str, Any]] = []
    overall: dict[str, list[_Outcome]] = {}
    trusted_only = not all(scene.why for scene in scenes)
    with ProgressLine('scoring', len(scenes)) as progress:
        for k, scene in enumerate(scenes):
            progress.update(k, scene.name)
            view = _NetworkScene.of(scene, to_network)
            for method in methods.run(view.captures_NHWC, restore, without=without, more=more):
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
    truths = true_scores.means(
        {name: [(one.scene, one.truths) for one in found] for name, found in overall.items()},
        mean_of,
    )
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

    scene: ScoredScene
    captures_NHWC: np.ndarray
    truth: Truth | None
    drift: drift.Drift | None
    side: int

    @classmethod
    def of(cls, scene: ScoredScene, to_network: Callable[[np.ndarray], np.ndarray]) -> Self:
        captures_NHWC = to_network(scene.captures_NHWC)
        truth = None
        if scene.clean_HWC is not None:
            truth = Truth(
                to_network(scene.clean_HWC),
                captures_NHWC,
                scene.mask_HWC,
                scene.known_HWC,
                scene.truth_noise,
            )
        found = drift.find(scene.brightness, to_network)
        return cls(scene, captures_NHWC, truth, found, without_clean.patch_side(captures_NHWC))

    def outcome(self, method: Method) -> _Outcome:
        """Returns the scores of a method."""
        patches, channels = self._patches(method)
        truths = true_scores.UNKNOWN if self.truth is None else self.truth.scores(method)
        return _Outcome(self.scene.name, patches, channels, truths, self._facts)

    @property
    def _facts(self) -> dict[str, Any]:
        """Columns of a row that are the same for all methods."""
        noise, masked = self.scene.truth_noise, float(1 - self.scene.mask_HWC.mean())
        unmeasured = float(1 - self.scene.known_HWC.mean())
        return {
            'masked': masked,
            'clipped': max(masked - unmeasured, 0.0),
            'unmeasured': unmeasured,
            'gain_spread': 0.0 if self.drift is None else self.drift.gain_spread,
            'offset_spread': 0.0 if self.drift is None else self.drift.offset_spread,
            'truth_mean_of': None if noise is None else noise.captures,
            'truth_has_captures': noise is not None and noise.contains,
        }

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
