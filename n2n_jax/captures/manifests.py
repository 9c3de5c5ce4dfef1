"""Lists of captures by scene: CSV files with columns scene and path, and JSON files."""

import collections
import csv
import functools
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.name_list import listed

SUFFIXES = ('.csv', '.json')


def read(path: Path) -> dict[str, list[Path]]:
    """Returns the files of each scene, in the order of the list.

    Args:
      path: a .csv or .json file; paths in it are relative to its folder.

    Raises:
      UserError: it cannot be parsed, lists nothing, or a name or a file in it is not valid.
    """
    try:
        text = path.read_text(encoding='utf-8-sig')
    except UnicodeDecodeError:
        raise UserError(f'{path} is not UTF-8 text: save it as UTF-8.') from None
    listing = _parse_csv(path, text) if path.suffix.lower() == '.csv' else _parse_json(path, text)
    for name in listing:
        _check_name(path, name)
    groups = {name: [path.parent / file for file in files] for name, files in listing.items()}
    missing = [file for group in groups.values() for file in group if not os.path.isfile(file)]
    if missing:
        raise UserError(f'{path} lists files that do not exist: {listed(missing)}.')
    if not groups:
        raise UserError(f'{path} lists no captures.')
    return groups


def _check_name(manifest: Path, name: str) -> None:
    """Checks that a scene name is a valid relative path, as outputs are named after scenes.

    Raises:
      UserError: it is not.
    """
    path = PurePath(name)
    if path.anchor or '..' in path.parts:
        why = 'it points outside the output folder'
    elif not path.name:
        why = 'it is empty'
    elif '\0' in name:
        why = 'it contains a null byte'
    elif any(0xD800 <= ord(letter) < 0xE000 for letter in name):
        why = 'it contains half of a character (a lone surrogate)'
    else:
        return
    raise UserError(f'{manifest}: {name!r} is not a valid scene name: {why}.')


def _parse_csv(path: Path, text: str) -> dict[str, list[str]]:
    rows = csv.DictReader(io.StringIO(text, newline=''))
    groups: dict[str, list[str]] = collections.defaultdict(list)
    try:
        if not {'scene', 'path'} <= set(rows.fieldnames or ()):
            raise UserError(
                f'{path} cannot be parsed: its first line must be scene,path (with a comma), and '
                'every other line must give a scene and a file.'
            )
        for row in rows:
            if not (row['scene'] and row['path']):
                raise UserError(f'{path}, line {rows.line_num}: scene or path is missing.')
            groups[row['scene']].append(row['path'])
    except csv.Error as error:
        raise UserError(f'{path}, line {rows.line_num + 1}: not valid CSV ({error}).') from None
    return groups


def _parse_json(path: Path, text: str) -> dict[str, list[str]]:
    try:
        content = json.loads(text, object_pairs_hook=functools.partial(_unique_names, path))
    except UserError:
        raise
    except (ValueError, RecursionError) as error:
        raise UserError(f'{path} is not valid JSON ({error}).') from None
    if not isinstance(content, dict) or not all(
        isinstance(files, list) and all(isinstance(file, str) for file in files)
        for files in content.values()
    ):
        raise UserError(
            f'{path} has the wrong structure: it must be {{"scene": ["path", ...], ...}}, with a '
            'list of paths for every scene.'
        )
    return content


def _unique_names(path: Path, pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Refuses duplicate names, of which the JSON parser would silently keep the last."""
    counts = collections.Counter(name for name, _ in pairs)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise UserError(f'{path} lists scenes twice: {listed(twice)}. Merge their paths.')
    return dict(pairs)
