"""Runs against each other, image by image: what a training choice gains, with its uncertainty.

The same images with the same noise were denoised by both, so the differences per image are paired
and their interval is far narrower than those of the two means.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from n2n_jax.config import Config, flatten
from n2n_jax.errors import UserError
from n2n_jax.metrics import bootstrap_interval
from n2n_jax.workdir import Workdir


def compare(reference: Path, other: Path) -> list[dict[str, Any]]:
    """Compares the last evaluations of two runs on the sets and noises that both have.

    Args:
      reference: workdir of the run to compare with.
      other: workdir of the run to be judged.

    Returns:
      One row per set and noise: means of both in dB, 'difference' (other minus reference, dB) with
      the bootstrap interval 'ci95' over images, the same for SSIM, and 'n', the number of images.

    Raises:
      UserError: a run has no evaluation, or the two have none in common.
    """
    workdirs = Workdir(reference), Workdir(other)
    rows_a, rows_b = (_last_rows(workdir) for workdir in workdirs)
    rows = []
    for key in rows_a.keys() & rows_b.keys():
        pair = rows_a[key], rows_b[key]
        if pair[0]['protocol'] != pair[1]['protocol']:
            continue
        scores = [_scores(workdir, row) for workdir, row in zip(workdirs, pair, strict=True)]
        images = sorted(scores[0].keys() & scores[1].keys())
        if images:
            rows.append(_row(key, pair, *([s[name] for name in images] for s in scores)))
    if not rows:
        raise UserError(
            f'{reference} and {other} were not evaluated on the same images under the same '
            'protocol: run `python -m n2n_jax.main --mode evaluate` on both with one config.'
        )
    return sorted(rows, key=lambda row: (row['set'], row['noise']))


def _last_rows(workdir: Workdir) -> dict[tuple[str, str], dict[str, Any]]:
    last = {(row['set'], row['noise']): row for row in workdir.rows()}  # steps ascend
    if not last:
        raise UserError(f'{workdir.path} holds no evaluation: results.json is missing.')
    return last


def _scores(workdir: Workdir, row: dict[str, Any]) -> dict[str, dict[str, float]]:
    """PSNR and SSIM of each image, the mean of its noisy versions: those are no new images."""
    file = workdir.scores_file(row)
    try:
        captures = json.loads(file.read_text())['images']
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f'{file} cannot be read: {error}') from None
    names = {capture['image'] for capture in captures}
    return {
        name: {
            metric: float(np.mean([c[metric] for c in captures if c['image'] == name]))
            for metric in ('psnr', 'ssim')
        }
        for name in names
    }


def _row(
    key: tuple[str, str],
    pair: tuple[dict[str, Any], dict[str, Any]],
    images_a: list[dict[str, float]],
    images_b: list[dict[str, float]],
) -> dict[str, Any]:
    row: dict[str, Any] = {
        'set': key[0],
        'noise': key[1],
        'n': len(images_a),
        'steps': [row['step'] for row in pair],
        'protocol': pair[0]['protocol'],
    }
    for name, ending in (('psnr', ''), ('ssim', '_ssim')):
        a, b = (np.array([image[name] for image in images]) for images in (images_a, images_b))
        low, high = bootstrap_interval(b - a)
        row |= {
            f'{name}_reference': float(a.mean()),
            name: float(b.mean()),
            f'difference{ending}': float((b - a).mean()),
            f'ci95{ending}': [float(low), float(high)],
        }
    return row


def differences(reference: Config, other: Config) -> str:
    """The settings in which two runs differ, evaluation aside, in words."""
    a, b = flatten(reference), flatten(other)
    listed = [
        f'{key} {a[key]!r} and {b[key]!r}'
        for key in a
        if a[key] != b[key] and not key.startswith('eval.')
    ]
    return '; '.join(listed) or 'nothing'


def markdown_table(rows: list[dict[str, Any]]) -> str:
    """Comparisons for people."""
    lines = [
        '| set | noise | images | PSNR, reference | PSNR | difference (95 %) | SSIM, reference '
        '| SSIM | difference (95 %) |',
        '|---|---|---:|---:|---:|---:|---:|---:|---:|',
    ]
    lines += [
        f'| {row["set"]} | {row["noise"]} | {row["n"]} '
        f'| {row["psnr_reference"]:.2f} | {row["psnr"]:.2f} '
        f'| **{row["difference"]:+.2f}** ({row["ci95"][0]:+.2f} to {row["ci95"][1]:+.2f}) '
        f'| {row["ssim_reference"]:.4f} | {row["ssim"]:.4f} '
        f'| {row["difference_ssim"]:+.4f} '
        f'({row["ci95_ssim"][0]:+.4f} to {row["ci95_ssim"][1]:+.4f}) |'
        for row in rows
    ]
    return '\n'.join(lines) + '\n'
