"""Writes a file completely or not at all.

The content goes to a temporary file beside it, which then takes its name. Several files that must
appear together: `n2n_jax.runtime.staged_files`.
"""

import contextlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from n2n_jax.runtime.errors import UserError

_TEMPORARY = re.compile(r'\..+\.[0-9a-f]{8}\.tmp')


def is_temporary(path: Path) -> bool:
    """Whether this is a file that `write_text` has left because it was killed."""
    return _TEMPORARY.fullmatch(path.name) is not None


def write_text(path: Path, text: str) -> None:
    """Writes a text file, with the permissions of the umask, and its folder if there is none.

    Raises:
      UserError: a folder has the name of the file, or a file that of its folder.
      OSError: it cannot be written; nothing was changed.
    """
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file; see `write_text`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with renamed_when_complete(path) as file:
            file.write(content)
    except (FileExistsError, IsADirectoryError, NotADirectoryError):
        raise wrong_kind(path) from None
    except OSError as error:  # the error of a full disk names no file, or the temporary one
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextlib.contextmanager
def renamed_when_complete(path: Path) -> Iterator[BinaryIO]:
    """Yields a temporary file that replaces `path` if the body succeeds; removed otherwise.

    Raises:
      OSError: it cannot be written; nothing was changed.
    """
    temporary = path.with_name(f'.{path.name}.{uuid.uuid4().hex[:8]}.tmp')
    try:
        with temporary.open('xb') as file:
            yield file
        os.replace(temporary, path)
    finally:
        _remove(temporary)


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[BinaryIO]:
    """As `renamed_when_complete`, for the user's own files.

    A link stays a link, permissions stay, and the content is on the disk before the old one goes.

    Raises:
      UserError: it cannot be written; nothing was changed.
    """
    target = Path(path).resolve()
    temporary = target.with_name(f'.n2n-{uuid.uuid4().hex}.tmp')
    try:
        with temporary.open('xb') as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f'{path} cannot be written: {reason}. Nothing was changed.') from error
    finally:
        _remove(temporary)


def _remove(temporary: Path) -> None:
    with contextlib.suppress(OSError):  # it exists only if writing has failed
        temporary.unlink()


def wrong_kind(path: Path) -> UserError:
    """Returns the error for a folder where a file belongs, or the reverse."""
    if path.is_dir():
        return UserError(f'{path} is a folder where a file belongs: move it away.')
    parents = [parent for parent in path.absolute().parents if parent.is_file()]
    blocking = parents[0] if parents else path
    return UserError(f'{blocking} is a file where a folder belongs: move it away.')
