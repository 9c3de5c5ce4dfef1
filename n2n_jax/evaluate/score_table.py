"""Scores without a clean image for people: tables, and what to make of them."""

from collections.abc import Sequence
from typing import Any

from n2n_jax.evaluate import truth_noise, validity
from n2n_jax.evaluate.score import MODEL, ON_THE_MEAN
from n2n_jax.evaluate.truth_noise import TruthNoise
from n2n_jax.evaluate.verdict import Verdict, surely_below
from n2n_jax.runtime import result_rows

_AVERAGED = {
    'dB': 'over scenes, dB are averaged',
    'mse': (
        'over scenes, squared errors are averaged, as a scene is too good for its own dB to be '
        'measured'
    ),
}
_ALIKE = 0.005  # dB, that are printed as 0.00


# What of `n2n score --fix` puts right what an estimate cannot be trusted for.
_CURES = {'shift': 'shift', 'brightness': 'gain'}
_UNLIKE = 1.0  # dB between channels that are told


def markdown(rows: Sequence[dict[str, Any]], *, held_out: bool = False, fix: str = '') -> str:
    """A row per method over all scenes, one per scene, and what to make of them.

    Args:
      rows: see `n2n_jax.evaluate.score.score`.
      held_out: whether only what a run held out was scored.
      fix: what was put right before.
    """
    overall = [row for row in rows if not row['scene']]
    per_scene = [row for row in rows if row['scene']]
    of_model = [row for row in per_scene if row['method'] == MODEL]
    with_truth = any(row['psnr_true_all'] is not None for row in overall)
    lines = _method_table(overall, with_truth)
    lines += ['', *_scene_table(per_scene, [row['method'] for row in overall], with_truth), '']
    lines.append(f'First table: over {overall[0]["n"]} of {len(of_model)} scenes{_fewer(overall)}.')
    for row in of_model:
        if row['why']:
            lines.append(f'Not to be trusted: {row["scene"]} ({row["why"]}).')
        for key, words in (('clipped', 'clipped'), ('unmeasured', 'not measured')):
            if row[key]:
                share = f'{row[key]:.1%}' if row[key] >= 0.001 else 'under 0.1%'
                lines.append(f'{row["scene"]}: {share} left out, {words}.')
    lines += validity.explanations([row['why'] for row in per_scene])
    lines += cures([row['why'] for row in of_model], fix)
    lines += _channels_in_words(overall)
    lines += _drift_in_words(of_model)
    if with_truth:
        lines += _truth_in_words(of_model)
    lines += ['', protocol(overall, held_out=held_out), '', combining_in_words(overall)]
    return '\n'.join(lines)


def protocol(overall: Sequence[dict[str, Any]], *, held_out: bool) -> str:
    """How the numbers came about.

    Args:
      overall: the rows over all scenes.
      held_out: whether only what a run held out was scored.
    """
    words = (
        f'Protocol: {"What was held out" if held_out else "Whole images"}, peak 1 = white - black '
        'of the model, nothing clipped or rounded. Each method is applied to each capture by '
        'itself; its squared error is averaged over the captures of a scene and then turned into '
        f'dB; {_AVERAGED[overall[0]["mean_of"]]}. The estimate uses no clean image (see '
        'docs/own-captures.md) and leaves out neighborhoods where captures are clipped. Intervals, '
        '95 %: for these scenes and captures, patches drawn again, and the brightness where it '
        'drifts from capture to capture; they do not speak of other scenes.'
    )
    if overall[0]['psnr_true_all'] is not None:
        words += (
            ' PSNR against the clean image: the same average, over the same pixels; SSIM: over all '
            'that was measured.'
        )
    return words


def verdict(rows: Sequence[dict[str, Any]]) -> Verdict:
    """Whether the model is worth using.

    Args:
      rows: see `n2n_jax.evaluate.score.score`.
    """
    row = next(row for row in rows if row['method'] == MODEL and not row['scene'])
    if row['why']:
        return Verdict(None, None, unknown=row['why'])
    names = ('over_captures', 'over_nlm', 'over_captures_ci95', 'over_nlm_ci95')
    worse = tuple(
        channel['channel']
        for channel in row['channels'] or ()
        if surely_below(0, channel.get('over_captures'), channel.get('over_captures_ci95'))
    )
    return Verdict(*(row.get(name) for name in names), worse_channels=worse)


def cures(whys: Sequence[str], fix: str) -> list[str]:
    """What puts right captures whose estimates are not to be trusted, a line for each.

    Args:
      whys: see `trust.why_not_trusted`.
      fix: what was put right already.
    """
    reasons = [reason for why in whys for reason in why.split('; ')]
    return [
        f'{check}: n2n score --fix {cure} puts that right.'
        for check, cure in _CURES.items()
        if cure not in fix and any(reason.startswith(f'{check} ') for reason in reasons)
    ]


def _fewer(overall: Sequence[dict[str, Any]]) -> str:
    """What is over fewer scenes than the rest, in words; '' if nothing is."""
    num = overall[0]['n']
    words = [f'{row["method"]} over {row["n"]}' for row in overall if row['n'] != num]
    corrected = overall[0]['n_true_corrected']
    if overall[0]['psnr_true_all'] is not None and corrected != num:
        words.append(f'less its noise over {corrected}, where all methods have it')
    return f' ({"; ".join(words)})' if words else ''


def _channels_in_words(overall: Sequence[dict[str, Any]]) -> list[str]:
    """How much the model gains in each channel, if that is not about the same."""
    row = next(row for row in overall if row['method'] == MODEL)
    gains = {c['channel']: c.get('over_captures') for c in row['channels'] or ()}
    known = [gain for gain in gains.values() if gain is not None]
    if len(known) < 2 or max(known) - min(known) < _UNLIKE:
        return []
    listed = ', '.join(
        f'{name} {"too good to measure" if gain is None else f"{gain:+.1f}"}'
        for name, gain in gains.items()
    )
    return [f'The model over the captures as they are, by channel, in dB: {listed}.']


def _method_table(overall: Sequence[dict[str, Any]], with_truth: bool) -> list[str]:
    header = '| method | PSNR, estimated (95 %) |'
    header += ' PSNR against the clean image | less its noise | SSIM |' if with_truth else ''
    lines = [header, '|---|---:|' + ('---:|---:|---:|' if with_truth else '')]
    for row in overall:
        line = f'| {row["method"]} | {result_rows.in_words(row)} |'
        if with_truth:
            numbers = [
                (row['psnr_true'], 2),
                (row['psnr_true_corrected'], 2),
                (row['ssim_true'], 3),
            ]
            line += ''.join(f' {_number(value, digits)} |' for value, digits in numbers)
        lines.append(line)
    return lines


def _scene_table(
    rows: Sequence[dict[str, Any]], methods: Sequence[str], with_truth: bool
) -> list[str]:
    lines = ['| scene | ' + ' | '.join(methods) + ' |', '|---|' + '---:|' * len(methods)]
    for scene in dict.fromkeys(row['scene'] for row in rows):
        found = {row['method']: row for row in rows if row['scene'] == scene}
        cells = []
        for method in methods:
            row = found.get(method)
            cell = '' if row is None else result_rows.in_words(row).replace('*', '')
            if row is not None and with_truth:
                cell += f', true {_number(row["psnr_true"], 2)}'
                cell += f' ({_number(row["psnr_true_corrected"], 2)})'
            cells.append(cell)
        mark = ' (!)' if any(row['why'] for row in found.values()) else ''
        mark += ' (trained on)' if any(row.get('trained_on') for row in found.values()) else ''
        lines.append(f'| {scene}{mark} | ' + ' | '.join(cells) + ' |')
    return lines


def _drift_in_words(of_model: Sequence[dict[str, Any]]) -> list[str]:
    drifting = [row for row in of_model if row['gain_spread'] or row['offset_spread']]
    if not drifting:
        return []
    listed = [
        f'{row["scene"]} by {_spread(row)} (the model by noise alone: {_ends(row)})'
        for row in drifting
    ]
    return [
        'Brightness drifts from capture to capture, and so few do not tell which one the clean '
        f'image has; intervals are wider for that: {"; ".join(listed)}.'
    ]


def _spread(row: dict[str, Any]) -> str:
    if row['gain_spread']:
        return f'{row["gain_spread"]:.1%}'
    return f'an offset of {row["offset_spread"]:.2g} (peak 1)'


def _ends(row: dict[str, Any]) -> str:
    return ' to '.join(_number(end, 2) or '?' for end in row['ci95_noise'])


def _truth_in_words(of_model: Sequence[dict[str, Any]]) -> list[str]:
    found = {
        row['scene']: None
        if row['truth_mean_of'] is None
        else TruthNoise(row['truth_mean_of'], row['truth_has_captures'])
        for row in of_model
    }
    words = truth_noise.in_words(found)
    return [words] if words else []


def combining_in_words(overall: Sequence[dict[str, Any]]) -> str:
    """Which way of using two captures is better, in a sentence.

    Args:
      overall: the rows over all scenes.
    """
    row = next((row for row in overall if row['method'] == ON_THE_MEAN), None)
    if row is None:
        return (
            'Which way of combining two captures is better, before or after denoising, takes a '
            'third capture of a scene to judge.'
        )
    value, ci95 = row['over_mean_of_results'], row['over_mean_of_results_ci95']
    if value is None or None in ci95:
        return 'Which way of combining two captures is better cannot be measured here.'
    low, high = ci95
    if max(abs(low), abs(high)) < _ALIKE:
        return (
            'The mean of two results and the result on the mean of two captures are equally good.'
        )
    if low <= 0 <= high or abs(value) < _ALIKE:
        return (
            'The mean of two results and the result on the mean of two captures cannot be told '
            f'apart: {value:+.2f} dB ({low:+.2f} to {high:+.2f}) for the latter.'
        )
    better, worse = 'the model on the mean of both', 'the mean of both results'
    if value < 0:
        better, worse, value, low, high = worse, better, -value, -high, -low
    return (
        f'With two captures of a scene, {better} is better than {worse}, by {value:.2f} dB '
        f'({low:.2f} to {high:.2f}).'
    )


def _number(value: float | None, digits: int) -> str:
    return '' if value is None else f'{value:.{digits}f}'
