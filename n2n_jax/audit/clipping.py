"""Check whether values are cut off at an end of their range.

N captures of a scene, H height, W width, C channels, B bins.
"""

import numpy as np

from n2n_jax.audit.findings import FINE, UNUSABLE, WARNING, Finding, finding_of
from n2n_jax.noise_model import noise_model

_MOST_CLIPPED = 0.01  # share of values: at the ends they move the mean of everything around them
_LOST = {'highest': 0.5, 'lowest': 0.9}  # share of values from which on the scene is gone
_PILE = 1.5  # times the count of the value next to it: more at the end is a pile


def saturation(captures_NHWC: np.ndarray) -> Finding:
    """The share of values piled up at an end of their range, whatever number that end is.

    Noise runs out towards its ends; where it is cut off, values pile up. Photon counts pile up at 0
    as well, and rightly so: there their variance goes to 0 in proportion to the signal, which that
    of clipped noise does not.
    """
    values, counts = np.unique(captures_NHWC, return_counts=True)
    total = captures_NHWC.size
    numbers, worst_end = {}, (0.0, '', '')
    notes = []
    for name, k, beside in (('lowest', 0, 1), ('highest', -1, -2)):
        share = float(counts[k] / total)
        numbers[name] = {'value': float(values[k]), 'share': share}
        if len(values) < 3 or share < _MOST_CLIPPED or counts[k] <= _PILE * counts[beside]:
            continue
        if name == 'lowest':
            everywhere = np.all(captures_NHWC == values[0], axis=0).mean()
            if everywhere > 0.9 * share:
                notes.append(f'{share:.1%} are {values[0]:g} in all captures, a border or mask')
                continue
            if _counts_photons(captures_NHWC, values):
                notes.append(f'{share:.1%} are {values[0]:g}, as counts of few photons are')
                continue
        worst_end = max(worst_end, (share, name, f'{values[k]:g}'))
    share, name, number = worst_end
    value = max(end['share'] for end in numbers.values()) if not name else share
    if not name:
        return finding_of('saturation', value, '; '.join(notes) or 'none', FINE, numbers=numbers)
    verdict = UNUSABLE if share >= _LOST[name] else WARNING
    way_out = (
        'expose less, or shorter'
        if name == 'highest'
        else "raise the camera's offset, or save without cutting off what is below black"
    )
    advice = (
        f'values are cut off at the {name} there is, so their noise has no mean of 0, and what is '
        f'learned there is wrong: {way_out}'
    )
    return finding_of('saturation', share, f'{share:.1%} at {number}', verdict, advice, numbers)


def _counts_photons(captures_NHWC: np.ndarray, values: np.ndarray) -> bool:
    """Whether variance is proportional to what is above the lowest value."""
    low = float(values[0])
    model = noise_model(captures_NHWC)
    signal, variance = model.signal_B - low, model.variance_B
    seen = signal > 0
    signal, variance = signal[seen], variance[seen]
    if len(signal) and signal.max() > 3 * signal.min():
        line = signal * np.median(variance / signal)
        allowed = line / 3 + 4 * model.error_B[seen] + 1e-3 * line.max()
        return bool(np.all(np.abs(variance - line) < allowed))
    if captures_NHWC.dtype.kind not in 'iu' or not len(signal):
        return False
    # A flat scene has one signal only; but counts are multiples of the gain.
    step = float(np.gcd.reduce((values - values[0]).astype(np.int64)))
    return bool(abs(variance.mean() / (step * signal.mean()) - 1) < 0.1)
