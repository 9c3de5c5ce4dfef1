"""Scores without a clean image for people: tables, and what to make of them."""

from collections.abc import Sequence
from typing import Any

from n2n_jax import pair_metrics, trust, truth_noise
from n2n_jax.score import MODEL, ON_THE_MEAN
from n2n_jax.truth_noise import TruthNoise
from n2n_jax.verdict import Verdict

_AVERAGED = {
    'dB': 'over scenes, dB are averaged',
    'mse': (
        'over scenes, squared errors are averaged, as a scene is too good for its own dB to be '
        'measured'
    ),
}
_ALIKE = 0.005  # dB, that are printed as 0.00


def markdown(rows: Sequence[dict[str, Any]], *, held_out: bool = False) -> str:
    """A row per method over all scenes, one per scene, and what to make of them.

    Args:
      rows: see `n2n_jax.score.score`.
      held_out: whether only what a run held out was scored.
    """
    overall = [row for row in rows if not row['scene']]
    per_scene = [row for row in rows if row['scene']]
    of_model = [row for row in per_scene if row['method'] == MODEL]
    with_truth = any(row['psnr_true_all'] is not None for row in overall)
    lines = _method_table(overall, with_truth)
    lines += ['', *_scene_table(per_scene, [row['method'] for row in overall], with_truth), '']
    lines.append(f'First table: over {overall[0]["n"]} of {len(of_model)} scenes.')
    for row in of_model:
        if row['why']:
            lines.append(f'Not to be trusted: {row["scene"]} ({row["why"]}).')
        if row['masked']:
            share = row['masked']
            words = f'{share:.1%}' if share >= 0.001 else 'under 0.1%'
            lines.append(f'{row["scene"]}: {words} left out, clipped.')
    lines += trust.explanations([row['why'] for row in per_scene])
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
        'n2n_jax.pair_metrics) and leaves out neighborhoods where captures are clipped. Intervals, '
        '95 %: for these scenes and captures, patches drawn again, and the brightness where it '
        'drifts from capture to capture; they do not speak of other scenes.'
    )
    if overall[0]['psnr_true_all'] is not None:
        words += (
            ' PSNR against the clean image: the same average, over the same pixels; SSIM: over all '
            'pixels.'
        )
    return words


def verdict(rows: Sequence[dict[str, Any]]) -> Verdict:
    """Whether the model is worth using.

    Args:
      rows: see `n2n_jax.score.score`.
    """
    row = next(row for row in rows if row['method'] == MODEL and not row['scene'])
    return Verdict(row.get('over_captures'), row.get('over_nlm'))


def _method_table(overall: Sequence[dict[str, Any]], with_truth: bool) -> list[str]:
    header = '| method | PSNR, estimated (95 %) |'
    header += ' PSNR against the clean image | less its noise | SSIM |' if with_truth else ''
    lines = [header, '|---|---:|' + ('---:|---:|---:|' if with_truth else '')]
    for row in overall:
        line = f'| {row["method"]} | {pair_metrics.in_words(row)} |'
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
            cell = '' if row is None else pair_metrics.in_words(row).replace('*', '')
            if row is not None and with_truth:
                cell += f', true {_number(row["psnr_true"], 2)}'
                cell += f' ({_number(row["psnr_true_corrected"], 2)})'
            cells.append(cell)
        mark = ' (!)' if any(row['why'] for row in found.values()) else ''
        lines.append(f'| {scene}{mark} | ' + ' | '.join(cells) + ' |')
    return lines


def _drift_in_words(of_model: Sequence[dict[str, Any]]) -> list[str]:
    drifting = [row for row in of_model if row['gain_spread']]
    if not drifting:
        return []
    listed = [
        f'{row["scene"]} by {row["gain_spread"]:.1%} (the model by noise alone: {_ends(row)})'
        for row in drifting
    ]
    return [
        'Brightness drifts from capture to capture, and so few do not tell which one the clean '
        f'image has; intervals are wider for that: {"; ".join(listed)}.'
    ]


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
