"""Rows of results.json: their identity, reading them, and their table.

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

# Keys that are only in the files of per-image scores, so that results.json is the same for a run
# that was killed and resumed as for an uninterrupted one.
_IN_SCORES_ONLY = ('images', 'seconds', 'num_rows')

# The key of the error in units of the noise; rows of one channel lack it.
IN_NOISE = 'mse_in_noise'


def row_id(set_name: str, noise: str, protocol: str, images: Iterable[str]) -> str:
    """Returns twelve hexadecimal digits that tell evaluations of one step apart.

    Args:
      set_name: name of the image set.
      noise: spec string of the noise.
      protocol: description of the protocol.
      images: hash of the pixels of each image, in any order.
    """
    parts = [set_name, noise, protocol, sorted(images)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def merged(rows: Iterable[Row], new: Iterable[Row]) -> list[Row]:
    """Returns all rows, sorted; a new row replaces an old one of the same step and identity."""
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
    """Reads the rows of results.json; if it is gone, those in the files of per-image scores.

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
        raise UserError(f'{file} is damaged, it is not a list of evaluations: {way_out}')
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
                _log.warning('%s is not a file of scores: it is ignored.', file)
        # With fewer rows than were evaluated together it was interrupted, and will be repeated.
        if len(found) >= max((row.get('num_rows', 0) for row in found), default=0):
            rows += found
    return merged(rows, [])


def markdown_table(rows: list[Row]) -> str:
    """Returns evaluation rows as Markdown tables, followed by their protocols."""
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
    """Returns a table, with columns for protocol and id only where rows would look the same."""
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
    """Formats dB: '31.11'; 'exact' if there is no error, 'NaN' if the output is not finite.

    In files of early versions null means that the image is exact.
    """
    if value is None or value == math.inf:
        return 'exact'
    return f'{value:.2f}' if math.isfinite(value) else 'NaN'


def gain(row: Row) -> str:
    """Formats the gain of a row over its input in dB: '+9.39'; '' if either is not finite."""
    ends = row['psnr'], row['psnr_input']
    if any(end is None or not math.isfinite(end) for end in ends):
        return ''
    return f'{ends[0] - ends[1]:+.2f}'


def gain_in_words(row: dict[str, Any]) -> str:
    """Formats the estimated gain over the captures in dB: '+3.42'; '' if either is unknown."""
    ends = row['psnr_estimate'], row['psnr_estimate_input']
    return '' if None in ends else f'{ends[0] - ends[1]:+.2f}'


def with_gain_in_words(row: dict[str, Any]) -> str:
    """Formats the estimate of a row with its gain: '31.20 (30.90 to 31.60) dB, gain +3.42'."""
    if row['psnr_estimate'] is None:
        return 'not measurable: the error is too small'
    estimate = f'{in_words(row).replace("*", "")} dB'
    gain = gain_in_words(row)
    return f'{estimate}, gain {gain}' if gain else estimate


def in_words(row: dict[str, Any]) -> str:
    """Formats the estimate of a row and its interval in dB: '**31.20** (30.90 to 31.60)'."""
    if row['psnr_estimate'] is None:
        return 'not measurable'
    low, high = ('?' if end is None else f'{end:.2f}' for end in row['ci95'])
    return f'**{row["psnr_estimate"]:.2f}** ({low} to {high})'
