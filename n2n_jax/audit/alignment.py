"""Checks whether captures show the scene alike: shift, brightness, what is left of both.

N captures of a scene, H height, W width, C channels.
"""

import numpy as np

from n2n_jax import blocks, registration
from n2n_jax import brightness as brightness_of
from n2n_jax.audit.block_means import means, without_local_mean
from n2n_jax.audit.findings import FINE, UNUSABLE, WARNING, Finding, finding_of

_BLOCK = 16  # pixels a side over which brightness is averaged for the contrast of a scene
_SMALL_BLOCK = 8  # likewise where neighbouring blocks are held against each other
_MOST_SHIFT = 0.25  # pixels; half a pixel costs 0.3 to 0.8 dB, and the loss goes with its square
_MOST_BIAS = 0.1  # of the noise's standard deviation, see the head of the file
_FAR_SHIFT = 2.0  # pixels: edges come out double
_SURE = 6.0  # standard errors of brightness: of 2,000 clean sets of many kinds none went beyond
_MOST_DRIFT, _LARGE_DRIFT = 0.02, 0.5  # of gain, or of offset over contrast


def shift(captures_NHWC: np.ndarray) -> Finding:
    """The largest shift of a capture against the mean of the others, in pixels.

    See `n2n_jax.registration`; only directions in which it can be measured count.
    """
    found = registration.register(captures_NHWC)
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
    verdict = FINE if sure_N[i] < _MOST_SHIFT else WARNING if value < _FAR_SHIFT else UNUSABLE
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


def brightness(captures_NHWC: np.ndarray) -> Finding:
    """The largest relative difference of brightness between a capture and the mean of the others.

    See `n2n_jax.brightness`. An offset is taken relative to the contrast of the scene, or to the
    noise where that is larger.
    """
    found = brightness_of.compare(captures_NHWC)
    contrast = np.ptp(means(captures_NHWC, _BLOCK).mean(axis=0))
    noise = np.std(captures_NHWC[0].astype(np.float64) - captures_NHWC[1]) / np.sqrt(2)
    gain_N, offset_N = found.against_others()
    by_offset_N = np.abs(offset_N) / max(contrast, noise, 1e-12)
    drift_N = np.maximum(np.abs(gain_N - 1), by_offset_N)
    i = int(np.argmax(drift_N))
    value = float(drift_N[i])
    text = f'gain {gain_N[i]:.3f}, offset {offset_N[i]:+.3g} (capture {i + 1})'
    verdict = FINE
    if found.beyond(_SURE) and value > _MOST_DRIFT:
        verdict = WARNING if value < _LARGE_DRIFT else UNUSABLE
    advice = (
        ''
        if verdict == FINE
        else 'the light changed between captures (lamp, exposure, bleaching): n2n train --fix gain'
    )
    numbers = {
        'gains': found.gain_N.tolist(),
        'gain_errors': found.gain_error_N.tolist(),
        'offsets': found.offset_N.tolist(),
        'offset_errors': found.offset_error_N.tolist(),
    }
    return finding_of('brightness', value, text, verdict, advice, numbers)


def residual(captures_NHWC: np.ndarray) -> Finding:
    """What is left of captures in their difference besides noise: its mean, and the signal.

    In units of the noise's standard deviation. The signal is that of the neighbouring block, as the
    noise of a block, if one capture has more of it, would be correlated with their difference.
    """
    n = len(captures_NHWC)
    gray_NHW = captures_NHWC.mean(axis=-1, dtype=np.float64)
    means_NHW = means(captures_NHWC, _SMALL_BLOCK)
    side = blocks.block_side(*gray_NHW.shape[1:])
    worst_row: tuple[float, int, blocks.Ratio, blocks.Ratio] | None = None
    rows = []
    for i in range(1 if n == 2 else n):
        difference_HW = gray_NHW[i] - np.delete(gray_NHW, i, axis=0).mean(axis=0)
        sigma = float(np.std(without_local_mean(difference_HW)))
        if sigma == 0:
            continue
        mean = blocks.ratio(
            blocks.block_sums(difference_HW / sigma, side),
            blocks.block_sums(np.ones_like(difference_HW), side),
        )
        others_HW = np.delete(means_NHW, i, axis=0).mean(axis=0)
        left_HW = (means_NHW[i] - others_HW) / sigma
        left_HW = left_HW - left_HW.mean()
        signal_HW = (means_NHW[i] + others_HW) / 2
        signal_HW = signal_HW - signal_HW.mean()
        follows = left_HW[:, 1:] * signal_HW[:, :-1] + left_HW[:, :-1] * signal_HW[:, 1:]
        of_signal = 2 * signal_HW[:, 1:] * signal_HW[:, :-1]
        coarse = max(1, min(left_HW.shape) // 6)
        slope = blocks.ratio(
            blocks.block_sums(follows, coarse), blocks.block_sums(of_signal, coarse)
        )
        spread = np.sqrt(max(float(of_signal.mean()) / 2, 0.0))
        signal = slope.times(spread)
        rows.append({'capture': i + 1, 'mean': mean.value, 'signal': signal.value})
        size = max(
            (abs(part.value) for part in (mean, signal) if part.beyond(_MOST_BIAS)), default=0.0
        )
        if worst_row is None or size > worst_row[0]:
            worst_row = (size, i + 1, mean, signal)
    if worst_row is None:
        return finding_of('residual', 0.0, 'no difference', FINE)
    size, i, mean, signal = worst_row
    text = f'capture {i}: mean {mean.value:+.2f} σ, with the signal {signal.value:+.2f} σ'
    value = max(mean.value, signal.value, key=abs)
    if not size:
        return finding_of('residual', value, text, FINE, numbers={'captures': rows})
    advice = (
        'a capture is brighter or darker than the others by a part of the noise that matters'
        + (', the more so where the scene is bright' if signal.beyond(_MOST_BIAS) else '')
        + ': lamp, exposure or bleaching. n2n train --fix gain matches them'
    )
    return finding_of('residual', value, text, WARNING, advice, {'captures': rows})
