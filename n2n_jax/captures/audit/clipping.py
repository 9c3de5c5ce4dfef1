"""Check whether values are cut off at an end of their range.

N captures of a scene, H height, W width, C channels, B bins.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from n2n_jax.captures.audit.findings import FINE, UNUSABLE, WARNING, Finding, finding_of
from n2n_jax.captures.audit.view import View

_MOST_CLIPPED = 0.01  # share of values: at the ends they move the mean of everything around them
_LOST = {'highest': 0.5, 'lowest': 0.9}  # share of values from which on the scene is gone
_PILE = 1.5  # times the count of the value next to it: more at the end is a pile


@dataclasses.dataclass
class _Ends:
    """The ends of the values of a channel.

    Attributes:
      where: the channel; '' of one.
      shares: of the values that are at an end, and which that is, by the end's name.
      clipped: share, name and number of the end that is clipped more; share 0: none is.
      notes: why many values at an end are all right: share, number and words.
    """

    where: str
    shares: dict[str, dict[str, float]]
    clipped: tuple[float, str, float] = (0.0, '', 0.0)
    notes: list[tuple[float, float, str]] = dataclasses.field(default_factory=list)


def saturation(scene: np.ndarray | View) -> Finding:
    """The share of values piled up at an end of their range, whatever number that end is.

    Noise runs out towards its ends; where it is cut off, values pile up. Photon counts pile up at 0
    as well, and rightly so: there their variance goes to 0 in proportion to the signal, which that
    of clipped noise does not. Each channel has ends of its own.
    """
    view = View.of(scene)
    channels = [_ends(view, c) for c in range(view.num_channels)]
    worst = max(channels, key=lambda ends: ends.clipped[0])
    numbers: dict[str, Any] = dict(worst.shares)
    if view.num_channels > 1:
        numbers['channels'] = [{'channel': ends.where, **ends.shares} for ends in channels]
    share, name, number = worst.clipped
    if not name:
        value = max(end['share'] for ends in channels for end in ends.shares.values())
        notes = [constant.in_words() for constant in view.constants]
        notes += _notes(channels)
        text = '; '.join(notes) or 'none'
        return finding_of('saturation', value, text, FINE, numbers=numbers)
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
    clipped = ', '.join(ends.where for ends in channels if ends.where and ends.clipped[0])
    text = f'{share:.1%} at {number:g}' + (f' ({clipped})' if clipped else '')
    return finding_of('saturation', share, text, verdict, advice, numbers)


def _ends(view: View, channel: int) -> _Ends:
    x = view.captures_NHWC[..., channel : channel + 1]
    values, counts = np.unique(x, return_counts=True)
    found = _Ends(view.channels[channel], {})
    for name, k, beside in (('lowest', 0, 1), ('highest', -1, -2)):
        share, number = float(counts[k] / x.size), float(values[k])
        found.shares[name] = {'value': number, 'share': share}
        if len(values) < 3 or share < _MOST_CLIPPED or counts[k] <= _PILE * counts[beside]:
            continue
        if name == 'lowest':
            everywhere = np.all(x == values[0], axis=0).mean()
            if everywhere > 0.9 * share:
                found.notes.append((share, number, ' in all captures, a border or mask'))
                continue
            if _counts_photons(view, channel, values):
                found.notes.append((share, number, ', as counts of few photons are'))
                continue
        found.clipped = max(found.clipped, (share, name, number))
    return found


def _notes(channels: Sequence[_Ends]) -> list[str]:
    """In words; what is so in all channels once, with the mean of their shares."""
    alike: dict[tuple[float, str], list[tuple[float, str]]] = {}
    for ends in channels:
        for share, number, words in ends.notes:
            alike.setdefault((number, words), []).append((share, ends.where))
    notes = []
    for (number, words), rows in alike.items():
        share = float(np.mean([row[0] for row in rows]))
        of = '' if len(rows) == len(channels) else f' of {", ".join(row[1] for row in rows)}'
        notes.append(f'{share:.1%}{of} are {number:g}{words}')
    return notes


def counting_channels(scene: np.ndarray | View) -> tuple[bool, ...]:
    """Whether each channel counts photons: 0 of them is no value that was cut off, (C,)."""
    view = View.of(scene)
    return tuple(
        _counts_photons(view, c, np.unique(view.captures_NHWC[..., c]))
        for c in range(view.num_channels)
    )


def _counts_photons(view: View, channel: int, values: np.ndarray) -> bool:
    """Whether variance is proportional to what is above the lowest value."""
    low = float(values[0])
    model = view.model_of(channel)
    signal, variance = model.signal_B - low, model.variance_B
    seen = signal > 0
    signal, variance = signal[seen], variance[seen]
    if len(signal) and signal.max() > 3 * signal.min():
        line = signal * np.median(variance / signal)
        allowed = line / 3 + 4 * model.error_B[seen] + 1e-3 * line.max()
        return bool(np.all(np.abs(variance - line) < allowed))
    if values.dtype.kind not in 'iu' or not len(signal):
        return False
    # A flat scene has one signal only; but counts are multiples of the gain.
    step = float(np.gcd.reduce(values.astype(np.int64) - int(values[0])))
    return bool(abs(variance.mean() / (step * signal.mean()) - 1) < 0.1)
