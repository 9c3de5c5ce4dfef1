"""Strict JSON, which every other program can read, and errors for damaged files.

JSON has no infinity and no NaN. Such a number is written as null, and the object that holds it
records the number under `NOT_FINITE`: {"psnr": null, "not_finite": {"psnr": "Infinity"}}.
"""

import json
import math
from pathlib import Path
from typing import Any

from n2n_jax.runtime.errors import UserError

NOT_FINITE = 'not_finite'


def dumps(content: Any, *, indent: int | None = None) -> str:
    """Returns the JSON of `content`, without the Infinity and NaN that `json` writes by default."""
    return json.dumps(_strict(content), indent=indent, allow_nan=False)


def loads(text: str | bytes) -> Any:
    """Parses JSON.

    Raises:
      ValueError: the text is not JSON, or its brackets are nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError('nested too deeply') from None


def read(file: Path, *, way_out: str) -> Any:
    """Reads a JSON file.

    Args:
      file: the file to read.
      way_out: what to do about a damaged file, as the end of a sentence.

    Raises:
      FileNotFoundError: there is no such file.
      UserError: it is a folder, or damaged.
    """
    try:
        return loads(file.read_bytes())
    except IsADirectoryError:
        raise UserError(f'{file} is a folder where a file belongs: {way_out}') from None
    except ValueError:
        raise UserError(f'{file} is damaged: {way_out}') from None


def restored(content: Any) -> Any:
    """Returns content that was read, with the infinities and NaNs of all its objects restored.

    Raises:
      ValueError, TypeError: what an object records under `NOT_FINITE` is damaged.
    """
    if isinstance(content, list):
        return [restored(item) for item in content]
    if not isinstance(content, dict):
        return content
    texts = content.get(NOT_FINITE, {})
    kept = {key: restored(value) for key, value in content.items() if key != NOT_FINITE}
    if not isinstance(texts, dict):
        raise TypeError
    return kept | {key: json.loads(text) for key, text in texts.items()}


def _strict(value: Any) -> Any:
    if isinstance(value, dict):
        strict = {key: _strict(item) for key, item in value.items()}
        texts = {key: json.dumps(item) for key, item in value.items() if _holds_not_finite(item)}
        return {**strict, NOT_FINITE: texts} if texts else strict
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    return None if _holds_not_finite(value) else value


def _holds_not_finite(value: Any) -> bool:
    """Checks for an infinity or NaN, alone or in a list."""
    if isinstance(value, list | tuple):
        return any(isinstance(item, float) and not math.isfinite(item) for item in value)
    return isinstance(value, float) and not math.isfinite(value)
