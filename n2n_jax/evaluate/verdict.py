"""The verdict on a model: whether it is worth using, in the last line of a run or a score.

N captures of a scene, H height, W width, C channels.
"""

import dataclasses
import math
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from n2n_jax.captures.scene_captures import SceneCaptures
from n2n_jax.evaluate import without_clean
from n2n_jax.evaluate.baselines import Restore
from n2n_jax.evaluate.baselines.nlm import NonLocalMeans
from n2n_jax.evaluate.methods import MODEL
from n2n_jax.images.channel_names import channel_names

# Least gain in dB over the unprocessed captures; useful denoisers gain 3 to 15.
_SMALLEST_GAIN = 0.1
_CROP = 128  # side in pixels of the crops compared at the end of a run
_SECONDS = 5.0  # time limit of the comparison; the first scene is always compared

Interval = Sequence[float | None]


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Whether a model is worth using, and the evidence.

    Attributes:
      over_captures: gain in dB over the unprocessed captures; None if not measurable.
      over_nlm: gain in dB over non-local means; None if unknown.
      over_captures_ci95: 95 % interval of `over_captures`; None if unknown, None ends are infinite.
      over_nlm_ci95: likewise of `over_nlm`.
      worse_channels: channels in which it is worse than the captures.
      unknown: why there is no verdict; '' if there is one.
    """

    over_captures: float | None
    over_nlm: float | None
    over_captures_ci95: Interval | None = None
    over_nlm_ci95: Interval | None = None
    worse_channels: tuple[str, ...] = ()
    unknown: str = ''

    @property
    def useful(self) -> bool:
        """False if the evidence against using it is significant."""
        return not (self._no_gain or self._worse_than_nlm or self.worse_channels)

    @property
    def _no_gain(self) -> bool:
        return surely_below(_SMALLEST_GAIN, self.over_captures, self.over_captures_ci95)

    @property
    def _worse_than_nlm(self) -> bool:
        return surely_below(-_SMALLEST_GAIN, self.over_nlm, self.over_nlm_ci95)

    def warning(self) -> str:
        """Returns why the model is not worth using and what to do; '' if it is."""
        if self.unknown:
            return f'No verdict on the model: {self.unknown}.'
        if self.useful:
            return ''
        found = []
        if self._no_gain:
            gain = '' if self.over_captures is None else f' ({self.over_captures:+.2f} dB)'
            found.append(f'it is no better than the captures as they are{gain}')
        elif self.worse_channels:
            listed = ', '.join(self.worse_channels)
            found.append(f'in {listed} it is no better than the captures as they are')
        if self._worse_than_nlm:
            ahead = '' if self.over_nlm is None else f'{-self.over_nlm:.1f} dB '
            found.append(f'non-local means are {ahead}better')
        return (
            f'The model is not worth using yet: {", and ".join(found)}. Train for longer (n2n '
            'train with a larger --steps) or on more captures, and see what n2n audit says of them.'
        )


def surely_below(least: float, value: float | None, ci95: Interval | None = None) -> bool:
    """Checks whether a value is significantly below a limit.

    Args:
      least: the limit.
      value: the value; None if unknown.
      ci95: its 95 % interval, None ends are infinite; None if the value is exact.
    """
    if ci95 is None:
        return value is not None and value < least
    return ci95[1] is not None and ci95[1] < least


def from_scores(rows: Sequence[dict[str, Any]]) -> Verdict:
    """Returns the verdict on a model from its scores.

    Args:
      rows: see `n2n_jax.evaluate.score.score`.
    """
    row = next(row for row in rows if row['method'] == MODEL and not row['scene'])
    if row['why']:
        return Verdict(None, None, unknown=row['why'])
    worse = tuple(
        channel['channel']
        for channel in row['channels'] or ()
        if surely_below(0, channel.get('over_captures'), channel.get('over_captures_ci95'))
    )
    return Verdict(
        row.get('over_captures'),
        row.get('over_nlm'),
        row.get('over_captures_ci95'),
        row.get('over_nlm_ci95'),
        worse_channels=worse,
    )


def compare(scenes: Sequence[SceneCaptures], restore: Restore) -> Verdict:
    """Compares a model with the captures and with non-local means within seconds.

    Args:
      scenes: held-out scenes, in the range of the network; center crops of them are used.
      restore: the model.
    """
    start = time.monotonic()
    whole: list[list[without_clean.Patches]] = []  # for captures, model and non-local means
    by_channel: list[list[list[without_clean.Patches]]] = []
    for scene in scenes:
        if whole and time.monotonic() - start > _SECONDS:
            break
        x_NHWC = _center_crop(scene.captures_NHWC)[:3]
        mask_HWC = np.ones(x_NHWC.shape[1:], bool)
        if scene.measured_HWC is not None:
            mask_HWC = _center_crop(scene.measured_HWC[None])[0]
        if not mask_HWC.any():
            continue
        restores = (lambda x: x, restore, NonLocalMeans().for_captures(x_NHWC, mask_HWC))
        results = [np.stack([of(x) for x in x_NHWC]) for of in restores]
        maps = [without_clean.error_maps(f_NHWC, x_NHWC).mean(axis=0) for f_NHWC in results]
        side, num = without_clean.patch_side(x_NHWC), x_NHWC.shape[-1]
        parts = [slice(num), *(slice(k, k + 1) for k in range(num))]
        found = [
            [without_clean.patch_sums(m[..., part], mask_HWC[..., part], side=side) for m in maps]
            for part in parts
        ]
        whole.append(found[0])
        by_channel.append(found[1:])
    if not whole:
        return Verdict(None, None)
    over_captures, captures_ci95 = _measurable_difference([(model, raw) for raw, model, _ in whole])
    over_nlm, nlm_ci95 = _measurable_difference([(model, nlm) for _, model, nlm in whole])
    names = channel_names(len(by_channel[0]))
    worse = [
        name
        for k, name in enumerate(names)
        if len(names) > 1
        and surely_below(0, *_measurable_difference([(of[k][1], of[k][0]) for of in by_channel]))
    ]
    return Verdict(over_captures, over_nlm, captures_ci95, nlm_ci95, tuple(worse))


def _measurable_difference(
    pairs: Sequence[tuple[without_clean.Patches, without_clean.Patches]],
) -> tuple[float | None, Interval]:
    """Computes the gain of the first in dB and its interval; None if not measurable."""
    gain, ci95 = without_clean.difference(pairs, mean_of='mse')
    value, low, high = (x if math.isfinite(x) else None for x in (gain, *ci95))
    return value, (low, high)


def _center_crop(captures_NHWC: np.ndarray) -> np.ndarray:
    h, w = captures_NHWC.shape[1:3]
    top, left = max(h - _CROP, 0) // 2, max(w - _CROP, 0) // 2
    return captures_NHWC[:, top : top + _CROP, left : left + _CROP]


def after_training(scenes: Sequence[SceneCaptures], restore: Restore, run: Path) -> str:
    """Returns the last line of a run: how to use the model, or why not to.

    Args:
      scenes: see `compare`.
      restore: the model.
      run: folder of the run.
    """
    return compare(scenes, restore).warning() or use(run)


def use(run: Path) -> str:
    """Returns the command that uses a model."""
    return f'Use it: n2n denoise IMAGES -o OUT --model {shlex.quote(str(run))}'
