"""Rows of results.json: what makes two of them the same, how they are read, and their table.

A row is one set under one noise at one step: {'step': 500, 'set': 'kodak24', 'noise':
'gaussian:25', 'psnr': ..., 'protocol': ..., 'id': ...}. Rows of early versions have no 'id'.
"""

import hashlib
import json
import logging
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from n2n_jax.runtime import json_files
from n2n_jax.runtime.errors import UserError

_log = logging.getLogger(__name__)

Row = dict[str, Any]

# What only the file of per-image scores holds beside the row itself: results.json is the same for
# a run that was killed and resumed as for an undisturbed one.
_IN_SCORES_ONLY = ('images', 'seconds', 'num_rows')

# The key of the error in units of the noise; rows of one channel lack it.
IN_NOISE = 'mse_in_noise'


def row_id(set_name: str, noise: str, protocol: str, images: Iterable[str]) -> str:
    """Twelve digits that tell evaluations of one step apart.

    Args:
      set_name: of the images.
      noise: spec string.
      protocol: in words.
      images: hash of the pixels of each, in any order.
    """
    parts = [set_name, noise, protocol, sorted(images)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def merged(rows: Iterable[Row], new: Iterable[Row]) -> list[Row]:
    """Both, in order; a new row takes the place of an old one of the same step and identity."""
    by_identity = {
        _identity(row): {key: row[key] for key in row if key not in _IN_SCORES_ONLY}
        for row in [*rows, *new]
    }
    return [by_identity[key] for key in sorted(by_identity)]


def _identity(row: Row) -> tuple[int, str, str, str]:
    return row['step'], row['set'], row['noise'], row.get('id', '')


def _is_row(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and type(value.get('step')) is int
        and all(isinstance(value.get(key), str) for key in ('set', 'noise', 'protocol'))
        and any(key in value for key in ('psnr', 'psnr_estimate'))
        and type(value.get('n')) is int
    )


def read(file: Path, evaluations: Path) -> list[Row]:
    """The rows of results.json; if it is gone, those that the files of per-image scores hold.

    Args:
      file: results.json.
      evaluations: the folder of all evaluations.

    Raises:
      UserError: the file is damaged.
    """
    way_out = f'move it away, and its rows are collected again from {evaluations}.'
    try:
        rows = json_files.read(file, way_out=way_out)
    except FileNotFoundError:
        return _collected(evaluations)
    if not (isinstance(rows, list) and all(map(_is_row, rows))):
        raise UserError(f'{file} is damaged, it is no list of evaluations: {way_out}')
    return rows


def _collected(evaluations: Path) -> list[Row]:
    rows: list[Row] = []
    for folder in sorted(evaluations.glob('step_*')):
        found = []
        for file in sorted(folder.glob('*.json')):
            try:
                row = json_files.loads(file.read_bytes())
            except (OSError, ValueError):
                row = None
            if _is_row(row):
                found.append(row)
            else:
                _log.warning('%s is no file of scores: it is left out.', file)
        # Fewer than were evaluated together: it was cut short, and is done again.
        if len(found) >= max((row.get('num_rows', 0) for row in found), default=0):
            rows += found
    return merged(rows, [])


def markdown_table(rows: list[Row]) -> str:
    """Evaluation rows for people; the protocol under the tables."""
    tables = []
    rows = [json_files.restored(row) for row in rows]
    measured = [row for row in rows if 'psnr' in row]
    estimated = [row for row in rows if 'psnr_estimate' in row]
    protocols = list(dict.fromkeys(row['protocol'] for row in rows))
    if measured:
        tables.append(_measured_table(measured, protocols))
    if estimated:
        lines = [
            '| step | scenes held out | PSNR in, estimated | PSNR out, estimated (95 %) | gain |',
            '|---:|---:|---:|---:|---:|',
        ]
        for row in estimated:
            raw = row['psnr_estimate_input']
            lines.append(
                f'| {row["step"]} | {row["n"]} | {"" if raw is None else f"{raw:.2f}"} '
                f'| {in_words(row)} | {gain_in_words(row)} |'
            )
        tables.append('\n'.join(lines))
    # Early versions wrote 'realisations'.
    fixed = [row.get('realizations', row.get('realisations', 0)) for row in rows]
    for num in dict.fromkeys(fixed):
        if num:
            tables.append(f'Trained on {num} fixed noisy version{"s" * (num > 1)} of each image.')
    for k, protocol in enumerate(protocols):
        number = f' {k + 1}' if len(protocols) > 1 else ''
        tables.append(f'Protocol{number}: {protocol}.')
    return '\n\n'.join(tables) + '\n'


def _measured_table(rows: list[Row], protocols: list[str]) -> str:
    """Rows that the other columns do not tell apart get one with their protocol or their id."""
    titles = ['step', 'set', 'noise', 'images', 'PSNR in', 'PSNR out (95 %)', 'gain', 'SSIM in',
              'SSIM out']  # fmt: skip
    bars = ['---:', '---', '---', *['---:'] * 6]
    several = len(protocols) > 1
    alike = [(r['step'], r['set'], r['noise'], r['n'], r['protocol']) for r in rows]
    by_id = len(set(alike)) < len(alike)
    titles += ['protocol'] * several + ['id'] * by_id
    bars += ['---:'] * several + ['---'] * by_id
    lines = [f'| {" | ".join(titles)} |', f'|{"|".join(bars)}|']
    for row in rows:
        cells = [str(row['step']), row['set'], row['noise'], str(row['n']), *_scores(row)]
        cells += [str(protocols.index(row['protocol']) + 1)] * several
        cells += [row.get('id', '')] * by_id
        lines.append(f'| {" | ".join(cells)} |')
    return '\n'.join(lines)


def _scores(row: Row) -> list[str]:
    low, high = map(decibels, row['ci95'])
    return [
        decibels(row['psnr_input']),
        f'**{decibels(row["psnr"])}** ({low} to {high})',
        gain(row),
        f'{row["ssim_input"]:.4f}',
        f'{row["ssim"]:.4f}',
    ]


def decibels(value: float | None) -> str:
    """'31.11', 'exact' where there is no error, 'NaN' where a network has no finite output.

    In files of early versions null stands for an image that is exact.
    """
    if value is None or value == math.inf:
        return 'exact'
    return f'{value:.2f}' if math.isfinite(value) else 'NaN'


def gain(row: Row) -> str:
    """'+9.39' dB of a row over its input, '' where one of the two is no number."""
    ends = row['psnr'], row['psnr_input']
    if any(end is None or not math.isfinite(end) for end in ends):
        return ''
    return f'{ends[0] - ends[1]:+.2f}'


def gain_in_words(row: dict[str, Any]) -> str:
    """'+3.42' dB over the captures as they are, '' if either is not known."""
    ends = row['psnr_estimate'], row['psnr_estimate_input']
    return '' if None in ends else f'{ends[0] - ends[1]:+.2f}'


def with_gain_in_words(row: dict[str, Any]) -> str:
    """'31.20 (30.90 to 31.60) dB, gain +3.42' of an evaluation."""
    if row['psnr_estimate'] is None:
        return 'not measurable: the error is too small'
    words = f'{in_words(row).replace("*", "")} dB'
    gain = gain_in_words(row)
    return f'{words}, gain {gain}' if gain else words


def in_words(row: dict[str, Any]) -> str:
    """'**31.2** (30.9 to 31.6)' from `pair_metrics.Estimate.as_dict`, in dB."""
    if row['psnr_estimate'] is None:
        return 'not measurable'
    low, high = ('?' if end is None else f'{end:.2f}' for end in row['ci95'])
    return f'**{row["psnr_estimate"]:.2f}** ({low} to {high})'
