"""JSON as the standard has it, which every other program can read, and files of it that may be bad.

JSON has no infinity and no NaN. Such a number is written as null, and the object that holds it
says under `NOT_FINITE` what it was: {"psnr": null, "not_finite": {"psnr": "Infinity"}}.
"""

import json
import math
from pathlib import Path
from typing import Any

from n2n_jax.runtime.errors import UserError

NOT_FINITE = 'not_finite'


def dumps(content: Any, *, indent: int | None = None) -> str:
    """The text of `content`, without the Infinity and NaN that `json` writes by default."""
    return json.dumps(_strict(content), indent=indent, allow_nan=False)


def loads(text: str | bytes) -> Any:
    """What a text of JSON holds.

    Raises:
      ValueError: it is none, or its brackets are nested too deeply to be read.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError('nested too deeply') from None


def read(file: Path, *, way_out: str) -> Any:
    """What a file of JSON holds.

    Args:
      file: to be read.
      way_out: what to do about a damaged one, to end the sentence.

    Raises:
      FileNotFoundError: there is none.
      UserError: it is a folder, or damaged.
    """
    try:
        return loads(file.read_bytes())
    except IsADirectoryError:
        raise UserError(f'{file} is a folder where a file belongs: {way_out}') from None
    except ValueError:
        raise UserError(f'{file} is damaged: {way_out}') from None


def restored(content: dict[str, Any]) -> dict[str, Any]:
    """An object that was read, with the numbers that JSON has no word for."""
    texts = content.get(NOT_FINITE)
    if not isinstance(texts, dict):
        return content
    kept = {key: value for key, value in content.items() if key != NOT_FINITE}
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
    """True of a number that JSON has no word for, and of a list of numbers with one."""
    if isinstance(value, list | tuple):
        return any(isinstance(item, float) and not math.isfinite(item) for item in value)
    return isinstance(value, float) and not math.isfinite(value)
