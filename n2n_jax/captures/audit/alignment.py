"""Checks the alignment of captures: shift, brightness and residual signal.

N captures of a scene, H height, W width, C channels.
"""

import dataclasses
from typing import Any

import numpy as np

from n2n_jax.captures.audit.block_means import means, without_local_mean
from n2n_jax.captures.audit.findings import FINE, UNUSABLE, WARNING, Finding, finding_of
from n2n_jax.captures.audit.view import View
from n2n_jax.captures.measure import block_statistics, registration
from n2n_jax.captures.measure import brightness as brightness_of

_BLOCK = 16  # pixels a side, for the contrast of a scene
_SMALL_BLOCK = 8  # pixels a side, for comparing neighboring blocks
MOST_SHIFT = 0.25  # pixels; half a pixel costs 0.3 to 0.8 dB, and the loss grows quadratically
_MOST_BIAS = 0.1  # noise standard deviations, see the docstring of this package
_FAR_SHIFT = 2.0  # pixels, beyond which edges are doubled
_SURE = 6.0  # standard errors of brightness, which none of 2,000 clean sets of many kinds exceeded
_MOST_DRIFT, _LARGE_DRIFT = 0.02, 0.5  # of gain, or of offset relative to contrast


def shift(scene: np.ndarray | View) -> Finding:
    """Finds the largest shift of a capture relative to the mean of the others, in pixels.

    See `n2n_jax.captures.measure.registration`; only measurable directions count.
    """
    found = registration.register(View.of(scene).whole_NHWC)
    shifts_N2, errors_N2 = registration.as_arrays(found)
    numbers = {'shifts': shifts_N2.tolist(), 'standard_errors': errors_N2.tolist()}
    known = [(i, *pair) for i, one in enumerate(found) for pair in one.measurable()]
    if not known:
        text = 'not measurable'
        return finding_of('shift', float('nan'), text, FINE, numbers=numbers)
    # A significant shift precedes a larger one that is not; ties go to the later capture.
    sure_N = [one.significant() for one in found]
    i, value, error = max(
        known, key=lambda row: (sure_N[row[0]] == max(sure_N), abs(row[1]), row[0])
    )
    value = abs(value)
    if sure_N[i] > 0:
        value = float(np.linalg.norm([t for t, _ in found[i].measurable()]))
    text = f'{value:.2f} ± {error:.2f} px'
    if all(len(one.measurable()) < 2 for one in found):
        text += ', in one direction'
    verdict = FINE if sure_N[i] < MOST_SHIFT else WARNING if value < _FAR_SHIFT else UNUSABLE
    advice = ''
    if verdict != FINE:
        down, right = shifts_N2[i]
        text += (
            f' (capture {i + 1}: {abs(down):.2f} {"down" if down > 0 else "up"}, '
            f'{abs(right):.2f} {"right" if right > 0 else "left"})'
        )
        advice = (
            'something moved between captures: use n2n train --fix shift, or edges will be '
            + ('doubled' if verdict == UNUSABLE else 'blurred')
        )
    return finding_of('shift', value, text, verdict, advice, numbers)


@dataclasses.dataclass(frozen=True)
class _Drift:
    """The capture with the largest brightness difference in a channel."""

    found: brightness_of.Brightness
    value: float
    capture: int
    gain: float
    offset: float

    @property
    def matters(self) -> bool:
        return self.found.exceeds(_SURE) and self.value > _MOST_DRIFT


def brightness(scene: np.ndarray | View) -> Finding:
    """Finds the largest relative brightness difference of a capture to the mean of the others.

    See `n2n_jax.captures.measure.brightness`. Offsets are relative to the contrast of the scene, or
    to the noise if that is larger. Colors are checked one by one and together.
    """
    view = View.of(scene)
    x = view.captures_NHWC
    found = brightness_of.compare_channels(x)
    together = _largest_drift(found.together, x)
    channels = [together]
    if view.num_channels > 1:
        channels = [_largest_drift(one, x[..., c : c + 1]) for c, one in enumerate(found.channels)]
    where, worst = _to_report(channels, together, view)
    text = f'gain {worst.gain:.3f}, offset {worst.offset:+.3g} ({_label(where, worst.capture)})'
    numbers = _brightness_numbers(found.together)
    if view.num_channels > 1:
        numbers['channels'] = [
            {'channel': view.channels[c], **_brightness_numbers(one)}
            for c, one in enumerate(found.channels)
        ]
    if not worst.matters:
        return finding_of('brightness', worst.value, text, FINE, numbers=numbers)
    what = 'the light changed between captures (lamp, exposure, bleaching)'
    if where:
        named = ' and '.join(view.channels[c] for c, one in enumerate(channels) if one.matters)
        what = (
            f'the brightness of {named} changed between captures (lamp, white balance, bleaching)'
        )
    advice = f'{what}: use n2n train --fix gain'
    verdict = WARNING if worst.value < _LARGE_DRIFT else UNUSABLE
    return finding_of('brightness', worst.value, text, verdict, advice, numbers)


def _to_report(channels: list[_Drift], together: _Drift, view: View) -> tuple[str, _Drift]:
    """Returns the worst channel and its drift; '' and the common drift if all channels drift alike.

    The same if no channel drifts enough by itself.
    """
    c, worst = max(enumerate(channels), key=lambda one: (one[1].matters, one[1].value))
    alike = all(one.matters for one in channels) and worst.value < 1.5 * together.value
    if view.num_channels == 1 or not worst.matters or (alike and together.matters):
        return '', together
    return view.channels[c], worst


def _label(channel: str, capture: int) -> str:
    return f'{channel} of capture {capture}' if channel else f'capture {capture}'


def _largest_drift(found: brightness_of.Brightness, captures_NHWC: np.ndarray) -> _Drift:
    contrast = np.ptp(means(captures_NHWC, _BLOCK).mean(axis=0))
    noise = np.std(captures_NHWC[0].astype(np.float64) - captures_NHWC[1]) / np.sqrt(2)
    gain_N, offset_N = found.against_others()
    by_offset_N = np.abs(offset_N) / max(contrast, noise, 1e-300)
    drift_N = np.maximum(np.abs(gain_N - 1), by_offset_N)
    i = int(np.argmax(drift_N))
    return _Drift(found, float(drift_N[i]), i + 1, float(gain_N[i]), float(offset_N[i]))


def _brightness_numbers(found: brightness_of.Brightness) -> dict[str, Any]:
    return {
        'gains': found.gain_N.tolist(),
        'gain_errors': found.gain_error_N.tolist(),
        'offsets': found.offset_N.tolist(),
        'offset_errors': found.offset_error_N.tolist(),
    }


@dataclasses.dataclass(frozen=True)
class _Residual:
    """Mean and signal left in the difference of a capture to the others, in units of the noise."""

    where: str  # the channel; '' for all together
    capture: int
    mean: block_statistics.Ratio
    signal: block_statistics.Ratio
    tests: int

    @property
    def size(self) -> float:
        """The larger of the parts that matter and are significant; 0 if none is."""
        parts = [p for p in (self.mean, self.signal) if p.exceeds(_MOST_BIAS, self.tests)]
        return max((abs(part.value) for part in parts), default=0.0)

    def as_dict(self) -> dict[str, Any]:
        named = {'channel': self.where} if self.where else {}
        return named | {
            'capture': self.capture,
            'mean': self.mean.value,
            'signal': self.signal.value,
        }


def residual(scene: np.ndarray | View) -> Finding:
    """Measures what is left in the difference of captures besides noise: its mean, and the signal.

    In units of the noise standard deviation. The signal is taken from neighboring blocks: in the
    same block, a capture with more noise would correlate with its own difference. Colors are
    checked one by one and together.
    """
    view = View.of(scene)
    x, num = view.captures_NHWC, view.num_channels
    if num == 1:
        rows = _residuals(x, '', 1)
    else:
        rows = _residuals(x, '', num + 1)
        for c in range(num):
            rows += _residuals(x[..., c : c + 1], view.channels[c], num + 1)
    if not rows:
        return finding_of('residual', 0.0, 'no difference', FINE)
    worst = max(rows, key=lambda row: row.size)
    mean, signal = worst.mean, worst.signal
    text = (
        f'{_label(worst.where, worst.capture)}: mean {mean.value:+.2f} σ, signal '
        f'{signal.value:+.2f} σ'
    )
    value = max(mean.value, signal.value, key=abs)
    numbers = {'captures': [row.as_dict() for row in rows]}
    if not worst.size:
        return finding_of('residual', value, text, FINE, numbers=numbers)
    advice = (
        'a capture is brighter or darker than the others by a relevant fraction of the noise'
        + (f', in {worst.where}' if worst.where else '')
        + (', more so where the scene is bright' if signal.exceeds(_MOST_BIAS) else '')
        + ' (lamp, exposure or bleaching): use n2n train --fix gain'
    )
    return finding_of('residual', value, text, WARNING, advice, numbers)


def _residuals(captures_NHWC: np.ndarray, where: str, tests: int) -> list[_Residual]:
    """Returns the residual of each capture to the mean of the others; of two, only of the first."""
    num = len(captures_NHWC)
    means_NHW = means(captures_NHWC, _SMALL_BLOCK)
    gray_sum_HW = sum(_gray(capture) for capture in captures_NHWC)
    side = block_statistics.block_side(*captures_NHWC.shape[1:3])
    coarse = max(1, min(means_NHW.shape[1:]) // 6)
    rows = []
    for i in range(1 if num == 2 else num):
        own_HW = _gray(captures_NHWC[i])
        # With two captures, the other one itself, to avoid rounding in the sum.
        others_HW = _gray(captures_NHWC[1]) if num == 2 else (gray_sum_HW - own_HW) / (num - 1)
        difference_HW = own_HW - others_HW
        sigma = float(np.std(without_local_mean(difference_HW)))
        if sigma == 0:
            continue
        mean = block_statistics.ratio(
            block_statistics.block_sums(difference_HW / sigma, side),
            block_statistics.block_sums(np.ones_like(difference_HW), side),
        )
        of_others_HW = np.delete(means_NHW, i, axis=0).mean(axis=0)
        residual_HW = (means_NHW[i] - of_others_HW) / sigma
        residual_HW = residual_HW - residual_HW.mean()
        signal_HW = (means_NHW[i] + of_others_HW) / 2
        signal_HW = signal_HW - signal_HW.mean()
        cross = residual_HW[:, 1:] * signal_HW[:, :-1] + residual_HW[:, :-1] * signal_HW[:, 1:]
        of_signal = 2 * signal_HW[:, 1:] * signal_HW[:, :-1]
        slope = block_statistics.ratio(
            block_statistics.block_sums(cross, coarse),
            block_statistics.block_sums(of_signal, coarse),
        )
        spread = np.sqrt(max(float(of_signal.mean()) / 2, 0.0))
        rows.append(_Residual(where, i + 1, mean, slope.times(spread), tests))
    return rows


def _gray(capture_HWC: np.ndarray) -> np.ndarray:
    return capture_HWC.mean(axis=-1, dtype=np.float64)
