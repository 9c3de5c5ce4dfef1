"""Paired comparison of two runs, image by image.

Both denoised the same images with the same noise, so the interval of the paired differences is far
narrower than those of the two means.
"""

from pathlib import Path
from typing import Any

import numpy as np

from n2n_jax.evaluate.kept_scores import NAMES, PIXELS, Evaluation, last_evaluations
from n2n_jax.evaluate.metrics import PSNR, Metric, bootstrap_interval, in_tables
from n2n_jax.runtime.config import Config, flatten
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.workdir import Workdir

_Pair = tuple[Evaluation, Evaluation]


def compare(reference: Path, other: Path) -> list[dict[str, Any]]:
    """Compares the last evaluations of two runs on the images and noises they have in common.

    Images are matched by their pixels, whatever they and their sets are called.

    Args:
      reference: workdir of the run to compare with.
      other: workdir of the run to judge.

    Returns:
      One row per set and noise: the mean PSNR of both, 'psnr_reference' and 'psnr', 'difference'
      (other minus reference, dB) with its bootstrap interval 'ci95' over images; the same for the
      other metrics that both were evaluated by, as 'ssim_reference', 'ssim', 'difference_ssim' and
      'ci95_ssim'; 'metrics', the names of all these; 'n', the number of images in common, 'n_of',
      the numbers each run has, and 'paired_by', PIXELS or NAMES.

    Raises:
      UserError: a run has no evaluation, or the two have none in common.
    """
    found = [last_evaluations(Workdir(path)) for path in (reference, other)]
    best: dict[tuple[str, str, str], _Pair] = {}
    for a in found[0]:
        for b in found[1]:
            key = a.row['set'], a.row['noise'], a.row['protocol']
            rank = _match_rank(a, b)
            if rank[0] and (key not in best or rank > _match_rank(*best[key])):
                best[key] = a, b
    if not best:
        raise UserError(_explain_no_match(reference, other, *found))
    return [_comparison_row(*best[key]) for key in sorted(best)]


def _match_rank(a: Evaluation, b: Evaluation) -> tuple[int, bool]:
    """Ranks how well two evaluations match; (0, ...): not comparable."""
    same_set = a.row['set'] == b.row['set']
    by_names = NAMES in (a.paired_by, b.paired_by)
    if (
        any(a.row[key] != b.row[key] for key in ('noise', 'protocol'))
        or a.paired_by != b.paired_by
        or (by_names and not same_set)
    ):
        return 0, same_set
    return len(a.scores.keys() & b.scores.keys()), same_set


def _explain_no_match(
    reference: Path, other: Path, of_a: list[Evaluation], of_b: list[Evaluation]
) -> str:
    again = 'run `python -m n2n_jax.main --mode evaluate` on'
    by = [{evaluation.paired_by for evaluation in found} for found in (of_a, of_b)]
    for path, mine, others in ((reference, *by), (other, *by[::-1])):
        if mine == {NAMES} and others == {PIXELS}:
            return (
                f'{path} was evaluated by an early version, which derived the noise from file '
                f'names, and is not comparable: {again} it, with the config of the other run.'
            )
    return (
        f'{reference} and {other} were not evaluated on the same images under the same protocol: '
        f'{again} both with one config.'
    )


def _comparison_row(a: Evaluation, b: Evaluation) -> dict[str, Any]:
    images = sorted(a.scores.keys() & b.scores.keys())
    names = dict.fromkeys([a.row['set'], b.row['set']])
    row: dict[str, Any] = {
        'set': ' / '.join(names),
        'noise': a.row['noise'],
        'n': len(images),
        'n_of': [len(a.scores), len(b.scores)],
        'steps': [a.row['step'], b.row['step']],
        'protocol': a.row['protocol'],
        'paired_by': a.paired_by,
    }
    shown = {metric.name for metric in in_tables(a.metrics())} & set(b.metrics())
    same = [n for n in a.metrics() if n in shown and a.weights_of(n) == b.weights_of(n)]
    row |= {'metrics': same, 'other_weights': sorted(shown - set(same))}
    for name in same:
        ending = _ending(name)
        first, second = (np.array([one.scores[image][name] for image in images]) for one in (a, b))
        with np.errstate(invalid='ignore'):
            difference = np.where(first == second, 0.0, second - first)  # both may be infinite
        low, high = bootstrap_interval(difference)
        row |= {
            f'{name}_reference': float(first.mean()),
            name: float(second.mean()),
            f'difference{ending}': float(difference.mean()),
            f'ci95{ending}': [float(low), float(high)],
        }
    return row


def _ending(name: str) -> str:
    """Returns what the keys of a metric end with."""
    return '' if name == PSNR.name else f'_{name}'


def differences(reference: Config, other: Config) -> str:
    """Lists the settings that differ between two runs, except those of the evaluation."""
    a, b = flatten(reference), flatten(other)
    listed = [
        f'{key} {a[key]!r} and {b[key]!r}'
        for key in a
        if a[key] != b[key] and not key.startswith('eval.')
    ]
    return '; '.join(listed) or 'nothing'


def markdown_table(rows: list[dict[str, Any]]) -> str:
    """Formats comparisons as a Markdown table."""
    shown = in_tables(name for row in rows for name in row['metrics'])
    titles, bars = ['set', 'noise', 'images'], ['---', '---', '---:']
    for metric in shown:
        titles += [f'{metric.title}, reference', metric.title, 'difference (95 %)']
        bars += ['---:'] * 3
    lines = [f'| {" | ".join(titles)} |', f'|{"|".join(bars)}|']
    for row in rows:
        cells = [row['set'], row['noise'], _count_text(row)]
        cells += [cell for metric in shown for cell in _cells(metric, row)]
        lines.append(f'| {" | ".join(cells)} |')
    for better in ('smaller', 'nearer to 0'):
        titles = [metric.title for metric in shown if metric.better == better]
        if titles:
            lines += ['', f'{better.capitalize()} is better: {", ".join(titles)}.']
    other = in_tables(name for row in rows for name in row['other_weights'])
    if other:
        titles = [metric.title for metric in other]
        lines += ['', f'Not compared, as its weights differ: {", ".join(titles)}.']
    if any(row['paired_by'] == NAMES for row in rows):
        lines += [
            '',
            'Images are paired by their names: an early version evaluated these runs and kept no '
            'hashes of the pixels. Files with the same name count as the same image.',
        ]
    return '\n'.join(lines) + '\n'


def _cells(metric: Metric, row: dict[str, Any]) -> list[str]:
    if metric.name not in row['metrics']:
        return ['', '', '']
    ending, form = _ending(metric.name), metric.form
    low, high = row[f'ci95{ending}']
    difference = f'{row[f"difference{ending}"]:+{form}}'
    bold = '**' if metric == PSNR else ''
    return [
        metric.text(row[f'{metric.name}_reference']),
        metric.text(row[metric.name]),
        f'{bold}{difference}{bold} ({low:+{form}} to {high:+{form}})',
    ]


def _count_text(row: dict[str, Any]) -> str:
    most = max(row['n_of'])
    return str(row['n']) if row['n'] == most else f'{row["n"]} of {most}'
