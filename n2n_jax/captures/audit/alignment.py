"""Checks whether captures show the scene alike: shift, brightness, what is left of both.

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

_BLOCK = 16  # pixels a side over which brightness is averaged for the contrast of a scene
_SMALL_BLOCK = 8  # likewise where neighboring blocks are held against each other
MOST_SHIFT = 0.25  # pixels; half a pixel costs 0.3 to 0.8 dB, and the loss goes with its square
_MOST_BIAS = 0.1  # of the noise's standard deviation, see the head of the file
_FAR_SHIFT = 2.0  # pixels: edges come out double
_SURE = 6.0  # standard errors of brightness: of 2,000 clean sets of many kinds none went beyond
_MOST_DRIFT, _LARGE_DRIFT = 0.02, 0.5  # of gain, or of offset over contrast


def shift(scene: np.ndarray | View) -> Finding:
    """The largest shift of a capture against the mean of the others, in pixels.

    See `n2n_jax.captures.measure.registration`; only directions in which it can be measured count.
    """
    found = registration.register(View.of(scene).whole_NHWC)
    shifts_N2, errors_N2 = registration.as_arrays(found)
    numbers = {'shifts': shifts_N2.tolist(), 'standard_errors': errors_N2.tolist()}
    known = [(i, *pair) for i, one in enumerate(found) for pair in one.measurable()]
    if not known:
        text = 'not measurable'
        return finding_of('shift', float('nan'), text, FINE, numbers=numbers)
    # A shift beyond chance comes before a larger one that may be none; of two captures, the second.
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
        advice = 'something moved between captures: n2n train --fix shift, or edges come out ' + (
            'double' if verdict == UNUSABLE else 'blurred'
        )
    return finding_of('shift', value, text, verdict, advice, numbers)


@dataclasses.dataclass(frozen=True)
class _Drift:
    """The capture that differs most in brightness, in a channel."""

    found: brightness_of.Brightness
    value: float
    capture: int
    gain: float
    offset: float

    @property
    def matters(self) -> bool:
        return self.found.exceeds(_SURE) and self.value > _MOST_DRIFT


def brightness(scene: np.ndarray | View) -> Finding:
    """The largest relative difference of brightness between a capture and the mean of the others.

    See `n2n_jax.captures.measure.brightness`. An offset is taken relative to the contrast of the
    scene, or to the noise where that is larger. Of colors, each is looked at by itself, and all as
    one.
    """
    view = View.of(scene)
    x = view.captures_NHWC
    found = brightness_of.compare_channels(x)
    together = _drift(found.together, x)
    channels = [together]
    if view.num_channels > 1:
        channels = [_drift(one, x[..., c : c + 1]) for c, one in enumerate(found.channels)]
    where, worst = _to_report(channels, together, view)
    text = f'gain {worst.gain:.3f}, offset {worst.offset:+.3g} ({_of(where, worst.capture)})'
    numbers = _numbers(found.together)
    if view.num_channels > 1:
        numbers['channels'] = [
            {'channel': view.channels[c], **_numbers(one)} for c, one in enumerate(found.channels)
        ]
    if not worst.matters:
        return finding_of('brightness', worst.value, text, FINE, numbers=numbers)
    what = 'light changed between captures (lamp, exposure, bleaching)'
    if where:
        named = ' and '.join(view.channels[c] for c, one in enumerate(channels) if one.matters)
        what = f'brightness of {named} changed between captures (lamp, white balance, bleaching)'
    advice = f'the {what}: n2n train --fix gain'
    verdict = WARNING if worst.value < _LARGE_DRIFT else UNUSABLE
    return finding_of('brightness', worst.value, text, verdict, advice, numbers)


def _to_report(channels: list[_Drift], together: _Drift, view: View) -> tuple[str, _Drift]:
    """The channel that drifts most and its drift; '' if none does by itself, or all do alike."""
    c, worst = max(enumerate(channels), key=lambda one: (one[1].matters, one[1].value))
    alike = all(one.matters for one in channels) and worst.value < 1.5 * together.value
    if view.num_channels == 1 or not worst.matters or (alike and together.matters):
        return '', together
    return view.channels[c], worst


def _of(where: str, capture: int) -> str:
    return f'{where} of capture {capture}' if where else f'capture {capture}'


def _drift(found: brightness_of.Brightness, captures_NHWC: np.ndarray) -> _Drift:
    contrast = np.ptp(means(captures_NHWC, _BLOCK).mean(axis=0))
    noise = np.std(captures_NHWC[0].astype(np.float64) - captures_NHWC[1]) / np.sqrt(2)
    gain_N, offset_N = found.against_others()
    by_offset_N = np.abs(offset_N) / max(contrast, noise, 1e-300)
    drift_N = np.maximum(np.abs(gain_N - 1), by_offset_N)
    i = int(np.argmax(drift_N))
    return _Drift(found, float(drift_N[i]), i + 1, float(gain_N[i]), float(offset_N[i]))


def _numbers(found: brightness_of.Brightness) -> dict[str, Any]:
    return {
        'gains': found.gain_N.tolist(),
        'gain_errors': found.gain_error_N.tolist(),
        'offsets': found.offset_N.tolist(),
        'offset_errors': found.offset_error_N.tolist(),
    }


@dataclasses.dataclass(frozen=True)
class _Left:
    """What is left of a capture in its difference to the others, in units of the noise."""

    where: str  # the channel; '' of all as one
    capture: int
    mean: block_statistics.Ratio
    signal: block_statistics.Ratio
    tests: int

    @property
    def size(self) -> float:
        """Of what matters and is not chance; 0 if nothing does."""
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
    """What is left of captures in their difference besides noise: its mean, and the signal.

    In units of the noise's standard deviation. The signal is that of the neighboring block, as the
    noise of a block, if one capture has more of it, would be correlated with their difference. Of
    colors, each is looked at by itself, and all as one.
    """
    view = View.of(scene)
    x, num = view.captures_NHWC, view.num_channels
    if num == 1:
        rows = _left(x, '', 1)
    else:
        rows = _left(x, '', num + 1)
        for c in range(num):
            rows += _left(x[..., c : c + 1], view.channels[c], num + 1)
    if not rows:
        return finding_of('residual', 0.0, 'no difference', FINE)
    worst = max(rows, key=lambda row: row.size)
    mean, signal = worst.mean, worst.signal
    text = (
        f'{_of(worst.where, worst.capture)}: mean {mean.value:+.2f} σ, with the signal '
        f'{signal.value:+.2f} σ'
    )
    value = max(mean.value, signal.value, key=abs)
    numbers = {'captures': [row.as_dict() for row in rows]}
    if not worst.size:
        return finding_of('residual', value, text, FINE, numbers=numbers)
    advice = (
        'a capture is brighter or darker than the others by a part of the noise that matters'
        + (f', in {worst.where}' if worst.where else '')
        + (', the more so where the scene is bright' if signal.exceeds(_MOST_BIAS) else '')
        + ': lamp, exposure or bleaching. n2n train --fix gain matches them'
    )
    return finding_of('residual', value, text, WARNING, advice, numbers)


def _left(captures_NHWC: np.ndarray, where: str, tests: int) -> list[_Left]:
    """Of each capture against the mean of the others; of two, of the first."""
    num = len(captures_NHWC)
    means_NHW = means(captures_NHWC, _SMALL_BLOCK)
    gray_sum_HW = sum(_gray(capture) for capture in captures_NHWC)
    side = block_statistics.block_side(*captures_NHWC.shape[1:3])
    coarse = max(1, min(means_NHW.shape[1:]) // 6)
    rows = []
    for i in range(1 if num == 2 else num):
        own_HW = _gray(captures_NHWC[i])
        # Of two, the other itself: a sum and back again would round.
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
        left_HW = (means_NHW[i] - of_others_HW) / sigma
        left_HW = left_HW - left_HW.mean()
        signal_HW = (means_NHW[i] + of_others_HW) / 2
        signal_HW = signal_HW - signal_HW.mean()
        follows = left_HW[:, 1:] * signal_HW[:, :-1] + left_HW[:, :-1] * signal_HW[:, 1:]
        of_signal = 2 * signal_HW[:, 1:] * signal_HW[:, :-1]
        slope = block_statistics.ratio(
            block_statistics.block_sums(follows, coarse),
            block_statistics.block_sums(of_signal, coarse),
        )
        spread = np.sqrt(max(float(of_signal.mean()) / 2, 0.0))
        rows.append(_Left(where, i + 1, mean, slope.times(spread), tests))
    return rows


def _gray(capture_HWC: np.ndarray) -> np.ndarray:
    return capture_HWC.mean(axis=-1, dtype=np.float64)
