"""Per-pixel uncertainty of denoised images, calibrated on held-out captures.

N captures of a scene, H height, W width, C channels, K bins.

There are two kinds, for a capture a and its denoised image f(a):

* The **interval of a new capture**, f(a) +- w, contains the value of another capture of the scene
  with the given probability. Its coverage can be measured on captures. It is about as wide as the
  noise, almost however good the denoiser is.
* The **standard error**, the expected root mean square of f(a) - clean, is the error bar of the
  denoised image. No capture shows the clean value; the mean square over many similar pixels is
  estimated from pairs of captures (`n2n_jax.evaluate.without_clean`).

Both scale with the noise of the image itself, estimated from the residual a - f(a) as a function of
the denoised value, so that one calibration serves images of any noise level. The interval is that
of split conformal prediction (Papadopoulos et al. 2002; Lei et al. 2018) with the score
|b - f(a)| / scale(a), where b is another capture.
"""

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from scipy import ndimage

from n2n_jax.captures import hold_out, loading, trained_captures
from n2n_jax.captures.measure.measured_part import fill
from n2n_jax.captures.scene_captures import SceneCaptures
from n2n_jax.denoise.denoiser import Denoiser
from n2n_jax.evaluate import evaluated_regions, without_clean
from n2n_jax.evaluate.baselines import Restore
from n2n_jax.models import trained
from n2n_jax.runtime import json_files
from n2n_jax.runtime.atomic_files import write_text
from n2n_jax.runtime.checkpoint import open_for_reading
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.progress import ProgressLine

_log = logging.getLogger(__name__)

FILE = 'uncertainty.json'  # in the folder of a run
LEVELS = (0.5, 0.68, 0.8, 0.9, 0.95, 0.99)
DEFAULT_LEVEL = 0.9
_NOISE_BINS = 16  # bins of the denoised value, for the noise as a function of it
_ERROR_BINS = 12  # bins of `detail`, for the error as a function of it
_DETAIL = 1.5  # pixels, scale of what counts as detail
_MAX_SCORES = 200_000  # scores of a scene that enter a quantile


def noise_scale(noisy_HWC: np.ndarray, denoised_HWC: np.ndarray) -> np.ndarray:
    """Estimates the standard deviation of the noise at each pixel from one image.

    In each channel, the squared residual is averaged over bins of the denoised value and
    interpolated between them.

    Args:
      noisy_HWC: a capture.
      denoised_HWC: the same capture denoised, in the same units; NaN where nothing was measured.

    Returns:
      (H, W, C) in these units; 0 where nothing was measured.
    """
    scale_HWC = np.zeros(denoised_HWC.shape)
    for channel in range(denoised_HWC.shape[-1]):
        noisy_HW, value_HW = noisy_HWC[..., channel], denoised_HWC[..., channel].astype(np.float64)
        known_HW = np.isfinite(value_HW) & np.isfinite(noisy_HW)
        if known_HW.any():
            scale_HWC[known_HW, channel] = _channel_noise_scale(
                noisy_HW[known_HW], value_HW[known_HW]
            )
    return scale_HWC


def _channel_noise_scale(noisy: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Computes `noise_scale` for the pixels of one channel, in any order."""
    square = (noisy - value) ** 2
    order = np.argsort(value)
    num = int(np.clip(value.size // 100, 1, _NOISE_BINS))
    values = np.array([part.mean() for part in np.array_split(value[order], num)])
    squares = np.array([part.mean() for part in np.array_split(square[order], num)])
    variance = np.interp(value, values, squares)
    return np.sqrt(np.maximum(variance, 1e-3 * square.mean() + 1e-20))


def detail(denoised_HWC: np.ndarray, scale_HWC: np.ndarray) -> np.ndarray:
    """Measures local detail around each pixel, in units of the noise of its channel, (H, W, C).

    The error grows with detail. On microscopy images detail predicts the error better than the
    spread over flips and rotations does, and it needs no further network calls.

    Args:
      denoised_HWC: a denoised capture; NaN where nothing was measured.
      scale_HWC: standard deviation of its noise, from `noise_scale`.
    """
    value = denoised_HWC.astype(np.float64)
    unknown_HWC = ~np.isfinite(value)
    if unknown_HWC.any():  # otherwise the edge of an unmeasured border would count as detail
        value = np.nan_to_num(fill(value[None], unknown_HWC)[0])
    sigmas = (_DETAIL, _DETAIL, 0)
    fine = np.abs(value - ndimage.gaussian_filter(value, sigmas))
    known_HWC = ~unknown_HWC & (scale_HWC > 0)
    squares_C = np.sum(scale_HWC**2, axis=(0, 1), where=known_HWC)
    num_C = known_HWC.sum(axis=(0, 1))
    noise_C = np.sqrt(np.where(num_C > 0, squares_C / np.maximum(num_C, 1), 1.0))
    return ndimage.gaussian_filter(fine, sigmas) / noise_C


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Factors that turn the noise of an image into intervals and errors, for one model.

    Attributes:
      quantiles: by level, the quantile of |new capture - denoised| / noise scale.
      details_K: upper ends of the bins of `detail`; the last is infinite.
      errors_K: standard error / noise scale in these bins, ascending.
      step: training step of the calibrated weights.
      num_scenes: number of scenes used for calibration.
    """

    quantiles: dict[float, float]
    details_K: tuple[float, ...]
    errors_K: tuple[float, ...]
    step: int = 0
    num_scenes: int = 0

    def half_width(
        self, noisy_HWC: np.ndarray, denoised_HWC: np.ndarray, *, level: float = DEFAULT_LEVEL
    ) -> np.ndarray:
        """Returns half the width of the interval of a new capture, (H, W, C).

        Args:
          noisy_HWC: a capture.
          denoised_HWC: the same capture denoised, in the same units; also those of the result.
          level: probability that the interval contains the value of another capture.

        Raises:
          UserError: the level was not calibrated.
        """
        if level not in self.quantiles:
            levels = ', '.join(f'{known:g}' for known in self.quantiles)
            raise UserError(f'The level {level:g} was not calibrated: choose from {levels}.')
        return self.quantiles[level] * noise_scale(noisy_HWC, denoised_HWC)

    def standard_error(self, noisy_HWC: np.ndarray, denoised_HWC: np.ndarray) -> np.ndarray:
        """Returns the expected root mean square of denoised - clean, (H, W, C).

        Args:
          noisy_HWC: a capture.
          denoised_HWC: the same capture denoised, in the same units; also those of the result.
        """
        scale_HWC = noise_scale(noisy_HWC, denoised_HWC)
        bins = np.searchsorted(self.details_K[:-1], detail(denoised_HWC, scale_HWC))
        return np.asarray(self.errors_K)[bins] * scale_HWC

    def as_dict(self) -> dict[str, Any]:
        """Returns the calibration as JSON-compatible values."""
        return {
            'quantiles': {f'{level:g}': value for level, value in self.quantiles.items()},
            'details': self.details_K[:-1],
            'errors': self.errors_K,
            'step': self.step,
            'num_scenes': self.num_scenes,
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        """Builds a calibration from the result of `as_dict`."""
        return cls(
            quantiles={float(level): value for level, value in content['quantiles'].items()},
            details_K=(*content['details'], float('inf')),
            errors_K=tuple(content['errors']),
            step=content['step'],
            num_scenes=content['num_scenes'],
        )


def calibrate(scenes: Sequence[SceneCaptures], restore: Restore, *, step: int = 0) -> Calibration:
    """Calibrates a denoiser on captures that it was not trained on.

    Args:
      scenes: held-out scenes, in the range of the network.
      restore: the denoiser.
      step: training step of its weights.

    Raises:
      UserError: no scene has two different captures with measured pixels.
    """
    rng = np.random.default_rng(0)
    scores: list[np.ndarray] = []
    details: list[np.ndarray] = []
    squares: list[np.ndarray] = []
    with ProgressLine('calibrating intervals', len(scenes)) as progress:
        for k, scene in enumerate(scenes):
            x_NHWC, f_NHWC, scale_NHWC = _denoise_captures(scene, restore)
            scores.append(_subsampled(_conformity_scores(x_NHWC, f_NHWC, scale_NHWC), rng))
            known_NHWC = np.isfinite(f_NHWC)
            details += [
                detail(f_HWC, scale_HWC)[known_HWC]
                for f_HWC, scale_HWC, known_HWC in zip(f_NHWC, scale_NHWC, known_NHWC, strict=True)
            ]
            maps_NHWC = without_clean.error_maps(f_NHWC, x_NHWC)
            squares.append(maps_NHWC[known_NHWC] / scale_NHWC[known_NHWC] ** 2)
            progress.update(k + 1)
    pooled = np.sort(np.concatenate(scores))
    if not len(pooled):
        raise UserError(
            'There is nothing to calibrate on: no scene has two different captures with measured '
            'pixels.'
        )
    # The rank of split conformal prediction, which corrects for the finite number of scores.
    ranks = {level: int(np.ceil((len(pooled) + 1) * level)) - 1 for level in LEVELS}
    quantiles = {level: float(pooled[min(r, len(pooled) - 1)]) for level, r in ranks.items()}
    details_K, errors_K = _error_bins(np.concatenate(details), np.concatenate(squares))
    return Calibration(quantiles, details_K, errors_K, step, len(scenes))


def _denoise_captures(
    scene: SceneCaptures, restore: Restore
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the captures, their denoised images and noise scales, (N, H, W, C) each.

    Denoised values are NaN where nothing was measured, as they are when files are denoised.
    """
    x_NHWC = scene.captures_NHWC
    f_NHWC = np.stack([restore(capture) for capture in x_NHWC])
    if scene.measured_HWC is not None:
        f_NHWC = np.where(scene.measured_HWC, f_NHWC, np.nan)
    scale_NHWC = np.stack([noise_scale(*pair) for pair in zip(x_NHWC, f_NHWC, strict=True)])
    return x_NHWC, f_NHWC, scale_NHWC


def _conformity_scores(
    x_NHWC: np.ndarray, f_NHWC: np.ndarray, scale_NHWC: np.ndarray
) -> np.ndarray:
    """Returns |b - f(a)| / scale(a) of all pixels, for all pairs of different captures a and b."""
    known_NHWC = np.isfinite(f_NHWC)
    found = [
        np.abs(b - f_NHWC[i])[known_NHWC[i]] / scale_NHWC[i][known_NHWC[i]]
        for i, a in enumerate(x_NHWC)
        for b in x_NHWC
        if not np.array_equal(a, b)
    ]
    return np.concatenate(found) if found else np.zeros(0)


def _subsampled(scores: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return scores if len(scores) <= _MAX_SCORES else rng.choice(scores, _MAX_SCORES)


def _error_bins(
    details: np.ndarray, squares: np.ndarray
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns upper ends of bins of equally many values, and their RMS errors, made ascending."""
    order = np.argsort(details)
    parts = np.array_split(order, min(_ERROR_BINS, max(1, len(order) // 1000)))
    ends = [float(details[part[-1]]) for part in parts]
    means = _isotonic(np.array([squares[part].mean() for part in parts]))
    errors = np.sqrt(np.maximum(means, 0))
    return (*ends[:-1], float('inf')), tuple(float(error) for error in errors)


def _isotonic(values: np.ndarray) -> np.ndarray:
    """Returns the closest ascending sequence: isotonic regression by pooling (Ayer et al. 1955)."""
    pools: list[tuple[float, int]] = []
    for value in values:
        mean, num = float(value), 1
        while pools and pools[-1][0] >= mean:
            before, count = pools.pop()
            mean, num = (before * count + mean * num) / (count + num), count + num
        pools.append((mean, num))
    return np.concatenate([np.full(num, mean) for mean, num in pools])


def coverage(
    calibration: Calibration,
    scenes: Sequence[SceneCaptures],
    restore: Restore,
    *,
    level: float = DEFAULT_LEVEL,
) -> dict[str, float]:
    """Measures, for each scene, the share of new captures' values inside the interval.

    Args:
      calibration: a calibration made on other captures than these.
      scenes: the scenes, in the range of the network.
      restore: the denoiser.
      level: nominal probability of the interval.
    """
    shares = {}
    for scene in scenes:
        scores = _conformity_scores(*_denoise_captures(scene, restore))
        if len(scores):
            shares[scene.name] = float(np.mean(scores <= calibration.quantiles[level]))
    return shares


def coverage_in_words(shares: dict[str, float], *, level: float = DEFAULT_LEVEL) -> str:
    """Returns the result of `coverage` as a sentence."""
    if not shares:
        return 'The coverage of intervals cannot be measured: all captures are identical.'
    worst = max(shares, key=lambda name: abs(shares[name] - level))
    mean = float(np.mean(list(shares.values())))
    return (
        f'Intervals for a new capture, nominal {100 * level:g} %: they cover {100 * mean:.1f} % '
        f'of its values; farthest from nominal: {worst}, {100 * shares[worst]:.1f} %.'
    )


def load(run: Path, *, step: int) -> Calibration | None:
    """Loads the calibration of a run; None if there is none for the weights of `step`.

    Raises:
      UserError: the file is damaged.
    """
    file = run / FILE
    try:
        calibration = Calibration.from_dict(json_files.loads(file.read_bytes()))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f'{file} is damaged: remove it, and it will be created again.') from None
    return calibration if calibration.step == step else None


def held_out_captures(run: Path, denoiser: Denoiser) -> list[SceneCaptures]:
    """Loads the held-out regions that a run is evaluated on, in the range of the network.

    Args:
      run: folder of the run.
      denoiser: the denoiser loaded from it.

    Raises:
      UserError: the run held nothing out, or its captures are not where they were.
    """
    if not trained.is_run(run):
        raise UserError(
            f'{run} does not hold the captures that its errors are measured on: give the folder of '
            'a run of n2n train.'
        )
    with open_for_reading(run) as checkpoints:
        config = checkpoints.config(denoiser.step)
    if not config.captures.paths:
        raise UserError(f'{run} was not trained on captures.')
    if config.captures.single:
        raise UserError(f'{run} was trained on single images and held nothing out.')
    scenes = loading.load(trained_captures.located(run, config.captures)).fixed
    _, held_out = hold_out.split(scenes, config.captures.held_out, crop=config.data.crop)
    return evaluated_regions.in_range(dataclasses.replace(config, model=denoiser.config), held_out)


def calibrate_run(
    run: Path, denoiser: Denoiser, *, held_out: Sequence[SceneCaptures] | None = None
) -> Calibration:
    """Calibrates a run on its held-out captures, and saves the result in its folder.

    Args:
      run: folder of the run; if it cannot be written, the calibration is not saved.
      denoiser: the denoiser loaded from it.
      held_out: the result of `held_out_captures`, which is called if this is None.

    Raises:
      UserError: see `held_out_captures` and `calibrate`.
    """
    if held_out is None:
        held_out = held_out_captures(run, denoiser)
    calibration = calibrate(held_out, denoiser.denoise, step=denoiser.step)
    try:
        write_text(run / FILE, json_files.dumps(calibration.as_dict(), indent=1))
    except OSError as error:
        _log.info(
            'The calibration is not saved: %s cannot be written (%s).', run / FILE, error.strerror
        )
    return calibration
