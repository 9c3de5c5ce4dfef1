"""Prepares captures for scoring: what is clipped, what the clean image is, what invalidates them.

N captures of a scene, H height, W width, C channels.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from n2n_jax.captures import audit, corrections
from n2n_jax.captures.audit.view import View
from n2n_jax.captures.measure import saturation
from n2n_jax.captures.measure.brightness import ByChannel, compare_channels
from n2n_jax.captures.measure.measured_part import fill, measured_part
from n2n_jax.captures.scene_captures import SceneCaptures
from n2n_jax.evaluate import validity
from n2n_jax.evaluate.truth_noise import TruthNoise, measure
from n2n_jax.runtime.progress import ProgressLine


@dataclasses.dataclass(frozen=True)
class ScoredScene:
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

    @property
    def known_HWC(self) -> np.ndarray:
        """True where values were measured."""
        if self.measured_HWC is None:
            return np.ones(self.mask_HWC.shape, bool)
        return self.measured_HWC


def prepare(
    raw: Sequence[SceneCaptures],
    *,
    fixed: Sequence[SceneCaptures] | None = None,
    truth: dict[str, np.ndarray] | None = None,
    first_columns: Mapping[str, int] | None = None,
) -> list[ScoredScene]:
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
                ScoredScene(
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
