"""Checks captures for clipped values.

N captures of a scene, H height, W width, C channels, B bins.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from n2n_jax.captures.audit.findings import FINE, UNUSABLE, WARNING, Finding, finding_of
from n2n_jax.captures.audit.view import View

_MOST_CLIPPED = 0.01  # share of clipped values; they shift the means of everything around them
_LOST = {'highest': 0.5, 'lowest': 0.9}  # share of clipped values at which the scene is lost
_PILE = 1.5  # a value at an end is piled up if this much more frequent than the one next to it


@dataclasses.dataclass
class _RangeEnds:
    """The values at both ends of the range of a channel.

    Attributes:
      where: the channel; '' for a single one.
      shares: value and share of values at each end, by name ('lowest', 'highest').
      clipped: share, name and value of the end that is clipped more; share 0 if none is.
      notes: why frequent values at an end are not clipped: share, value and explanation.
    """

    where: str
    shares: dict[str, dict[str, float]]
    clipped: tuple[float, str, float] = (0.0, '', 0.0)
    notes: list[tuple[float, float, str]] = dataclasses.field(default_factory=list)


def saturation(scene: np.ndarray | View) -> Finding:
    """Finds the share of values piled up at an end of their range, whatever value that end has.

    The tails of noise are thin; where it is clipped, values pile up. Photon counts also pile up at
    0, legitimately: their variance goes to 0 in proportion to the signal, unlike that of clipped
    noise. Each channel has its own range.
    """
    view = View.of(scene)
    channels = [_range_ends(view, c) for c in range(view.num_channels)]
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
        'use less light or a shorter exposure'
        if name == 'highest'
        else "raise the camera's offset, or save without clipping values below black"
    )
    advice = (
        f'values are clipped at the {name} value, so their noise does not have mean 0 and training '
        f'on them is biased: {way_out}'
    )
    clipped = ', '.join(ends.where for ends in channels if ends.where and ends.clipped[0])
    text = f'{share:.1%} at {number:g}' + (f' ({clipped})' if clipped else '')
    return finding_of('saturation', share, text, verdict, advice, numbers)


def _range_ends(view: View, channel: int) -> _RangeEnds:
    x = view.captures_NHWC[..., channel : channel + 1]
    values, counts = np.unique(x, return_counts=True)
    found = _RangeEnds(view.channels[channel], {})
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
                found.notes.append((share, number, ', as expected of low photon counts'))
                continue
        found.clipped = max(found.clipped, (share, name, number))
    return found


def _notes(channels: Sequence[_RangeEnds]) -> list[str]:
    """Formats the notes; one that all channels share appears once, with their mean share."""
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
    """Returns for each channel whether it counts photons, whose zeros are not clipped."""
    view = View.of(scene)
    return tuple(
        _counts_photons(view, c, np.unique(view.captures_NHWC[..., c]))
        for c in range(view.num_channels)
    )


def _counts_photons(view: View, channel: int, values: np.ndarray) -> bool:
    """Returns whether the variance is proportional to the signal above the lowest value."""
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
    # A flat scene has only one signal level; but counts are multiples of the gain.
    step = float(np.gcd.reduce(values.astype(np.int64) - int(values[0])))
    return bool(abs(variance.mean() / (step * signal.mean()) - 1) < 0.1)
