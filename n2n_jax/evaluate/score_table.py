"""Formats scores without a clean image: tables and their interpretation."""

from collections.abc import Sequence
from typing import Any

from n2n_jax.evaluate import truth_noise, validity
from n2n_jax.evaluate.methods import MODEL, ON_THE_MEAN
from n2n_jax.evaluate.truth_noise import TruthNoise
from n2n_jax.runtime import result_rows

_AVERAGED = {
    'dB': 'over scenes, dB are averaged',
    'mse': (
        'over scenes, squared errors are averaged, because the error of a scene is too small to be '
        'measured in dB'
    ),
}
_NEGLIGIBLE = 0.005  # dB, printed as 0.00

# The `--fix` that corrects a failed audit check.
_FIX_OF_CHECK = {'shift': 'shift', 'brightness': 'gain'}
_LEAST_CHANNEL_SPREAD = 1.0  # dB between channels to report


def markdown(rows: Sequence[dict[str, Any]], *, held_out: bool = False, fix: str = '') -> str:
    """Formats a table of methods over all scenes, one per scene, and their interpretation.

    Args:
      rows: see `n2n_jax.evaluate.score.score`.
      held_out: whether only held-out parts were scored.
      fix: corrections applied to the captures (`--fix`).
    """
    overall = [row for row in rows if not row['scene']]
    per_scene = [row for row in rows if row['scene']]
    of_model = [row for row in per_scene if row['method'] == MODEL]
    with_truth = any(row['psnr_true_all'] is not None for row in overall)
    lines = _method_table(overall, with_truth)
    lines += ['', *_scene_table(per_scene, [row['method'] for row in overall], with_truth), '']
    used = f'{overall[0]["n"]} of {len(of_model)} scenes{_scene_counts_text(overall)}'
    lines.append(f'First table: over {used}.')
    for row in of_model:
        if row['why']:
            lines.append(f'Not trusted: {row["scene"]} ({row["why"]}).')
        for key, text in (('clipped', 'clipped'), ('unmeasured', 'not measured')):
            if row[key]:
                share = f'{row[key]:.1%}' if row[key] >= 0.001 else 'under 0.1%'
                lines.append(f'{row["scene"]}: {share} left out, {text}.')
    lines += validity.explanations([row['why'] for row in per_scene])
    lines += suggested_fixes([row['why'] for row in of_model], fix)
    lines += _channels_text(overall)
    lines += _drift_text(of_model)
    if with_truth:
        lines += _truth_text(of_model)
    lines += ['', protocol(overall, held_out=held_out), '', combining_text(overall)]
    return '\n'.join(lines)


def protocol(overall: Sequence[dict[str, Any]], *, held_out: bool) -> str:
    """Describes how the numbers were computed.

    Args:
      overall: the rows over all scenes.
      held_out: whether only held-out parts were scored.
    """
    text = (
        f'Protocol: {"Held-out parts" if held_out else "Whole images"}, peak 1 = white - black of '
        'the model, no clipping or rounding. Each method is applied to each capture separately; '
        'its squared error is averaged over the captures of a scene and converted to dB; '
        f'{_AVERAGED[overall[0]["mean_of"]]}. The estimate uses no clean image (see '
        'docs/own-captures.md) and leaves out neighborhoods where captures are clipped. 95 % '
        'intervals hold for these scenes and captures, not for others: patches are resampled, and '
        'so is the brightness where it drifts between captures.'
    )
    if overall[0]['psnr_true_all'] is not None:
        text += (
            ' PSNR against the clean image: the same average over the same pixels; SSIM: over all '
            'measured pixels.'
        )
    return text


def suggested_fixes(whys: Sequence[str], fix: str) -> list[str]:
    """Suggests the `--fix` that would make estimates valid, one line for each failed check.

    Args:
      whys: see `validity.why_not_trusted`.
      fix: corrections already applied.
    """
    reasons = [reason for why in whys for reason in why.split('; ')]
    return [
        f'{check}: n2n score --fix {option} corrects that.'
        for check, option in _FIX_OF_CHECK.items()
        if option not in fix and any(reason.startswith(f'{check} ') for reason in reasons)
    ]


def _scene_counts_text(overall: Sequence[dict[str, Any]]) -> str:
    """Lists what is averaged over fewer scenes than the rest; '' if nothing is."""
    num = overall[0]['n']
    text = [f'{row["method"]} over {row["n"]}' for row in overall if row['n'] != num]
    corrected = overall[0]['n_true_corrected']
    if overall[0]['psnr_true_all'] is not None and corrected != num:
        text.append(f'less its noise over {corrected}, where it can be measured for all methods')
    return f' ({"; ".join(text)})' if text else ''


def _channels_text(overall: Sequence[dict[str, Any]]) -> list[str]:
    """Lists the gain of the model in each channel, if they differ."""
    row = next(row for row in overall if row['method'] == MODEL)
    gains = {c['channel']: c.get('over_captures') for c in row['channels'] or ()}
    known = [gain for gain in gains.values() if gain is not None]
    if len(known) < 2 or max(known) - min(known) < _LEAST_CHANNEL_SPREAD:
        return []
    listed = ', '.join(
        f'{name} {"too good to measure" if gain is None else f"{gain:+.1f}"}'
        for name, gain in gains.items()
    )
    return [f'Gain of the model over the unprocessed captures, by channel, in dB: {listed}.']


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
            line += ''.join(f' {_number_text(value, digits)} |' for value, digits in numbers)
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
                cell += f', true {_number_text(row["psnr_true"], 2)}'
                cell += f' ({_number_text(row["psnr_true_corrected"], 2)})'
            cells.append(cell)
        mark = ' (!)' if any(row['why'] for row in found.values()) else ''
        mark += ' (trained on)' if any(row.get('trained_on') for row in found.values()) else ''
        lines.append(f'| {scene}{mark} | ' + ' | '.join(cells) + ' |')
    return lines


def _drift_text(of_model: Sequence[dict[str, Any]]) -> list[str]:
    drifting = [row for row in of_model if row['gain_spread'] or row['offset_spread']]
    if not drifting:
        return []
    listed = [
        f'{row["scene"]} by {_spread_text(row)} (interval of the model from noise alone: '
        f'{_noise_interval_text(row)})'
        for row in drifting
    ]
    return [
        'Brightness drifts between captures, and this few captures cannot determine how bright the '
        f'clean image is; intervals include that uncertainty: {"; ".join(listed)}.'
    ]


def _spread_text(row: dict[str, Any]) -> str:
    if row['gain_spread']:
        return f'{row["gain_spread"]:.1%}'
    return f'an offset of {row["offset_spread"]:.2g} (peak 1)'


def _noise_interval_text(row: dict[str, Any]) -> str:
    return ' to '.join(_number_text(end, 2) or '?' for end in row['ci95_noise'])


def _truth_text(of_model: Sequence[dict[str, Any]]) -> list[str]:
    found = {
        row['scene']: None
        if row['truth_mean_of'] is None
        else TruthNoise(row['truth_mean_of'], row['truth_has_captures'])
        for row in of_model
    }
    text = truth_noise.in_words(found)
    return [text] if text else []


def combining_text(overall: Sequence[dict[str, Any]]) -> str:
    """Says in a sentence which way of combining two captures is better.

    Args:
      overall: the rows over all scenes.
    """
    row = next((row for row in overall if row['method'] == ON_THE_MEAN), None)
    if row is None:
        return (
            'Judging whether to combine two captures before or after denoising requires a third '
            'capture of the scene.'
        )
    value, ci95 = row['over_mean_of_results'], row['over_mean_of_results_ci95']
    if value is None or None in ci95:
        return 'Which way of combining two captures is better cannot be measured here.'
    low, high = ci95
    if max(abs(low), abs(high)) < _NEGLIGIBLE:
        return (
            'The mean of two results and the result on the mean of two captures are equally good.'
        )
    if low <= 0 <= high or abs(value) < _NEGLIGIBLE:
        return (
            'The mean of two results and the result on the mean of two captures do not differ '
            f'significantly: {value:+.2f} dB ({low:+.2f} to {high:+.2f}) for the latter.'
        )
    better, worse = 'the model on the mean of both', 'the mean of both results'
    if value < 0:
        better, worse, value, low, high = worse, better, -value, -high, -low
    return (
        f'With two captures of a scene, {better} is better than {worse}, by {value:.2f} dB '
        f'({low:.2f} to {high:.2f}).'
    )


def _number_text(value: float | None, digits: int) -> str:
    return '' if value is None else f'{value:.{digits}f}'
