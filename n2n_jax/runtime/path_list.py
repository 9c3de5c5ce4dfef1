"""Converts between a list of paths and the text that a config holds.

Paths are separated by commas, with or without spaces around them. If that would change a path,
because it contains a comma or has a space at an end, the text is a JSON list of all paths.
"""

import json
from collections.abc import Sequence
from pathlib import Path


def joined(paths: Sequence[Path]) -> str:
    """Returns the text from which `parted` restores the paths."""
    texts = [str(path) for path in paths]
    plain = ','.join(texts)
    return plain if [str(path) for path in parted(plain)] == texts else json.dumps(texts)


def parted(text: str) -> list[Path]:
    """Returns the paths in a text."""
    try:
        listed = json.loads(text) if text.startswith('[') else None
    except ValueError:  # a path that begins with a bracket
        listed = None
    if isinstance(listed, list) and all(isinstance(path, str) for path in listed):
        return [Path(path) for path in listed]
    return [Path(path.strip()) for path in text.split(',')]
