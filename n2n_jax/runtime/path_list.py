"""Several paths as one text, as a config keeps them.

Paths are separated by commas, as people write them, with or without spaces around. Paths that this
would change - with a comma inside, or a space at an end - are kept as a JSON list of all.
"""

import json
from collections.abc import Sequence
from pathlib import Path


def joined(paths: Sequence[Path]) -> str:
    """The text that `parted` turns back into the paths."""
    texts = [str(path) for path in paths]
    plain = ','.join(texts)
    return plain if [str(path) for path in parted(plain)] == texts else json.dumps(texts)


def parted(text: str) -> list[Path]:
    """The paths in a text."""
    try:
        listed = json.loads(text) if text.startswith('[') else None
    except ValueError:  # a path that begins with a bracket
        listed = None
    if isinstance(listed, list) and all(isinstance(path, str) for path in listed):
        return [Path(path) for path in listed]
    return [Path(path.strip()) for path in text.split(',')]
