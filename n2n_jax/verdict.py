"""Whether a model is worth using, in the last line of what trains or scores it.

N captures of a scene, H height, W width, C channels.
"""

import dataclasses
import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from n2n_jax import baselines, pair_metrics
from n2n_jax.baselines import Restore
from n2n_jax.data.own_captures import SceneCaptures

# dB over the captures as they are that count as a gain: denoisers worth the name make 3 to 15.
_SMALLEST_GAIN = 0.1
_CROP = 128  # pixels a side of what is compared at the end of a run
_SECONDS = 5.0  # that the comparison may take beyond its first scene


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What a model is worth.

    Attributes:
      over_captures: dB that it is better than the captures as they are; None: not measurable.
      over_nlm: dB that it is better than non-local means; None: not known.
    """

    over_captures: float | None
    over_nlm: float | None

    @property
    def useful(self) -> bool:
        """Whether nothing speaks against using it."""
        gains = self.over_captures is None or self.over_captures >= _SMALLEST_GAIN
        return gains and (self.over_nlm is None or self.over_nlm > -_SMALLEST_GAIN)

    def warning(self) -> str:
        """What speaks against it, and what to do; '' if nothing does."""
        if self.useful:
            return ''
        ahead = ''
        if self.over_nlm is not None and self.over_nlm <= -_SMALLEST_GAIN:
            ahead = f'non-local means are {-self.over_nlm:.1f} dB better'
        if self.over_captures is not None and self.over_captures < _SMALLEST_GAIN:
            found = f'it is no better than the captures as they are ({self.over_captures:+.2f} dB)'
            found += f', and {ahead}' if ahead else ''
        else:
            found = ahead
        return (
            f'The model is not worth using yet: {found}. Train for longer (--minutes) or on more '
            'captures, and see what n2n audit says of them.'
        )


def compare(scenes: Sequence[SceneCaptures], restore: Restore) -> Verdict:
    """Compares a model with the captures and with non-local means in some seconds.

    Args:
      scenes: that were not trained on, in the range of the network; their middles are used.
      restore: the model.
    """
    start = time.monotonic()
    errors = []
    for scene in scenes:
        if errors and time.monotonic() - start > _SECONDS:
            break
        x_NHWC = _middle(scene.captures_NHWC)[:3]
        mask_HWC = np.ones(x_NHWC.shape[1:], bool)
        if scene.measured_HWC is not None:
            mask_HWC = _middle(scene.measured_HWC[None])[0]
        if not mask_HWC.any():
            continue
        restores = (lambda x: x, restore, baselines.tuned_nlm(x_NHWC, mask_HWC))
        results = [np.stack([of(x) for x in x_NHWC]) for of in restores]
        maps = [pair_metrics.error_maps(f_NHWC, x_NHWC)[:, mask_HWC] for f_NHWC in results]
        errors.append([map_NP.mean() for map_NP in maps])
    if not errors:
        return Verdict(None, None)
    raw, model, nlm = np.mean(errors, axis=0)
    return Verdict(_decibels(raw, model), _decibels(nlm, model))


def _middle(captures_NHWC: np.ndarray) -> np.ndarray:
    h, w = captures_NHWC.shape[1:3]
    top, left = max(h - _CROP, 0) // 2, max(w - _CROP, 0) // 2
    return captures_NHWC[:, top : top + _CROP, left : left + _CROP]


def _decibels(other: float, model: float) -> float | None:
    """By how much the model's squared error is smaller; None if one cannot be measured."""
    return 10 * math.log10(other / model) if min(other, model) > 0 else None


def after_training(scenes: Sequence[SceneCaptures], restore: Restore, run: Path) -> str:
    """The last line of a run: how to use the model, or why not to.

    Args:
      scenes: see `compare`.
      restore: the model.
      run: its folder.
    """
    return compare(scenes, restore).warning() or use(run)


def use(run: Path) -> str:
    """How to use a model."""
    return f'Use it: n2n denoise IMAGES -o OUT --model {run}'
