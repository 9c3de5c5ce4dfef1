"""Rows of results.json: their identity, and reading them.

A row is one set under one noise at one step: {'step': 500, 'set': 'kodak24', 'noise':
'gaussian:25', 'metrics': {'psnr': {'in': 20.17, 'out': 31.2}}, 'protocol': ..., 'id': ...}; 'in' is
the score of the noisy image, 'out' that of the output. Rows of estimates have 'psnr_estimate' and
other keys instead of 'metrics'. Rows of early versions have no 'id', and keys such as 'psnr' and
'psnr_input': `upgraded` reads them as today's. Rows of baselines, which `n2n baselines` writes to a
file of their own, have step 0, a 'method' and its 'tuning'.
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

# Scores that early versions wrote as keys of the row, with '_input' behind those of the input.
_EARLY_METRICS = ('psnr', 'psnr_float', 'ssim', 'mse')

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


def _identity(row: Row) -> tuple[int, str, str, str, str]:
    return row['step'], row['set'], row['noise'], row.get('id', ''), row.get('method', '')


def upgraded(content: Row) -> Row:
    """Returns a row, or the scores of one image, that any version wrote, in today's form.

    Infinities and NaNs are restored, see `n2n_jax.runtime.json_files`.

    Raises:
      ValueError, TypeError: the content is damaged.
    """
    content = json_files.restored(content)
    if not any(name in content for name in _EARLY_METRICS):
        return content
    scores: dict[str, dict[str, float]] = {}
    for name in _EARLY_METRICS:
        # The noisy image is not rounded, so that both kinds of PSNR have the same for it.
        keys = {'in': f'{name.removesuffix("_float")}_input', 'out': name}
        found = {end: content[key] for end, key in keys.items() if key in content}
        if 'out' in found:
            scores[name] = {end: _not_null(value) for end, value in found.items()}
    flat = {key for name in _EARLY_METRICS for key in (name, f'{name}_input')}
    kept = {key: value for key, value in content.items() if key not in flat}
    if 'ci95' in kept:
        kept['ci95'] = [_not_null(end) for end in kept['ci95']]
    return {**kept, 'metrics': scores}


def _not_null(value: float | None) -> float:
    """Returns a score; early versions wrote null for the PSNR of an exact image."""
    return math.inf if value is None else float(value)


def _parsed(value: Any) -> Row | None:
    """Returns a row that was read, in today's form; None if it is not one."""
    if not isinstance(value, dict):
        return None
    try:
        row = upgraded(value)
        is_row = (
            type(row.get('step')) is int
            and all(isinstance(row.get(key), str) for key in ('set', 'noise', 'protocol'))
            and ('psnr_estimate' in row or {'in', 'out'} <= row['metrics']['psnr'].keys())
            and type(row.get('n')) is int
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return row if is_row else None


def read(file: Path, evaluations: Path) -> list[Row]:
    """Reads the rows of results.json; if it is gone, those in the files of per-image scores.

    Rows of early versions are returned in today's form, see `upgraded`.

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
    found = [_parsed(row) for row in rows] if isinstance(rows, list) else [None]
    if None in found:
        raise UserError(f'{file} is damaged, it is not a list of evaluations: {way_out}')
    return [row for row in found if row is not None]


def _collected(evaluations: Path) -> list[Row]:
    rows: list[Row] = []
    for folder in sorted(evaluations.glob('step_*')):
        found = []
        for file in sorted(folder.glob('*.json')):
            try:
                row = _parsed(json_files.loads(file.read_bytes()))
            except (OSError, ValueError):
                row = None
            if row is not None:
                found.append(row)
            else:
                _log.warning('%s is not a file of scores: it is ignored.', file)
        # With fewer rows than were evaluated together it was interrupted, and will be repeated.
        if len(found) >= max((row.get('num_rows', 0) for row in found), default=0):
            rows += found
    return merged(rows, [])


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
