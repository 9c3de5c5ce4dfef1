"""Paired comparison of two runs, image by image.

Both denoised the same images with the same noise, so the interval of the paired differences is far
narrower than those of the two means.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from n2n_jax.evaluate.metrics import bootstrap_interval
from n2n_jax.runtime import json_files
from n2n_jax.runtime.config import Config, flatten
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.result_rows import decibels
from n2n_jax.runtime.workdir import Workdir

PIXELS, NAMES = 'pixels', 'names'  # how images of two runs are matched


@dataclasses.dataclass(frozen=True)
class _Evaluation:
    """A row of results.json and its per-image scores.

    Attributes:
      row: the row of results.json.
      paired_by: PIXELS, or NAMES in files of early versions.
      scores: PSNR and SSIM of each image, by the hash of its pixels or by its name.
    """

    row: dict[str, Any]
    paired_by: str
    scores: dict[str, dict[str, float]]


_Pair = tuple[_Evaluation, _Evaluation]


def compare(reference: Path, other: Path) -> list[dict[str, Any]]:
    """Compares the last evaluations of two runs on the images and noises they have in common.

    Images are matched by their pixels, whatever they and their sets are called.

    Args:
      reference: workdir of the run to compare with.
      other: workdir of the run to judge.

    Returns:
      One row per set and noise: both means in dB, 'difference' (other minus reference, dB) with its
      bootstrap interval 'ci95' over images, the same for SSIM, 'n', the number of images in
      common, 'n_of', the numbers each run has, and 'paired_by', PIXELS or NAMES.

    Raises:
      UserError: a run has no evaluation, or the two have none in common.
    """
    found = [_last_evaluations(Workdir(path)) for path in (reference, other)]
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


def _match_rank(a: _Evaluation, b: _Evaluation) -> tuple[int, bool]:
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
    reference: Path, other: Path, of_a: list[_Evaluation], of_b: list[_Evaluation]
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


def _last_evaluations(workdir: Workdir) -> list[_Evaluation]:
    """Reads the evaluations of the last step of each set and noise."""
    rows = [row for row in workdir.rows() if 'psnr' in row]
    last = {(row['set'], row['noise']): row['step'] for row in rows}  # steps ascend
    if not last:
        raise UserError(
            f'{workdir.path} holds no evaluation on clean images: run '
            '`python -m n2n_jax.main --mode evaluate` on it.'
        )
    return [
        _read_evaluation(workdir, row)
        for row in rows
        if row['step'] == last[row['set'], row['noise']]
    ]


def _read_evaluation(workdir: Workdir, row: dict[str, Any]) -> _Evaluation:
    """Reads PSNR and SSIM of each image, averaged over its noisy versions.

    Noisy versions of one image are not independent samples for the bootstrap over images.
    """
    file = workdir.scores_file(row)
    way_out = f'evaluate {workdir.path} again.'
    try:
        captures = [
            json_files.restored(c) for c in json_files.read(file, way_out=way_out)['images']
        ]
        paired_by = PIXELS if all('sha256' in capture for capture in captures) else NAMES
        by_image: dict[str, list[dict[str, Any]]] = {}
        for capture in captures:
            key = capture['sha256' if paired_by == PIXELS else 'image']
            by_image.setdefault(key, []).append(capture)
        scores = {
            image: {
                metric: float(np.mean([_score_from_json(c[metric]) for c in versions]))
                for metric in ('psnr', 'ssim')
            }
            for image, versions in by_image.items()
        }
    except FileNotFoundError:
        raise UserError(f'{file} is missing: {way_out}') from None
    except (KeyError, TypeError, AttributeError):
        raise UserError(f'{file} is damaged: {way_out}') from None
    return _Evaluation(row, paired_by, scores)


def _score_from_json(value: float | None) -> float:
    """Converts a score from JSON; early versions wrote null for the PSNR of an exact image."""
    return float('inf') if value is None else float(value)


def _comparison_row(a: _Evaluation, b: _Evaluation) -> dict[str, Any]:
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
    for name, ending in (('psnr', ''), ('ssim', '_ssim')):
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
    lines = [
        '| set | noise | images | PSNR, reference | PSNR | difference (95 %) | SSIM, reference '
        '| SSIM | difference (95 %) |',
        '|---|---|---:|---:|---:|---:|---:|---:|---:|',
    ]
    lines += [
        f'| {row["set"]} | {row["noise"]} | {_count_text(row)} '
        f'| {decibels(row["psnr_reference"])} | {decibels(row["psnr"])} '
        f'| **{row["difference"]:+.2f}** ({row["ci95"][0]:+.2f} to {row["ci95"][1]:+.2f}) '
        f'| {row["ssim_reference"]:.4f} | {row["ssim"]:.4f} '
        f'| {row["difference_ssim"]:+.4f} '
        f'({row["ci95_ssim"][0]:+.4f} to {row["ci95_ssim"][1]:+.4f}) |'
        for row in rows
    ]
    if any(row['paired_by'] == NAMES for row in rows):
        lines += [
            '',
            'Images are paired by their names: an early version evaluated these runs and kept no '
            'hashes of the pixels. Files with the same name count as the same image.',
        ]
    return '\n'.join(lines) + '\n'


def _count_text(row: dict[str, Any]) -> str:
    most = max(row['n_of'])
    return str(row['n']) if row['n'] == most else f'{row["n"]} of {most}'
