"""Locks between programs that share a folder, on Linux, macOS and Windows.

The system holds a lock, not the file: it goes with its process, however that ends, and a file that
is left behind locks nothing.
"""

import contextlib
import errno
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import filelock

_POLL_SECONDS = 0.05
_ASKED_AGAIN = 5  # times, by `is_held`
_ASKED_EVERY = 0.01  # seconds
# No file, a folder, or on NFS a file that may only be read.
_NOT_LOCKED = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EBADF)


@contextlib.contextmanager
def held(path: Path, *, seconds: float = math.inf) -> Iterator[None]:
    """Inside, no other program has the lock of this file; it is made where there is none.

    Args:
      path: the file, which has no other use.
      seconds: how long to wait for a program that has the lock; `is_held` takes it for a moment.

    Raises:
      TimeoutError: it was not to be had.
      OSError: the file cannot be made, such as a folder of this name.
    """
    deadline = time.monotonic() + seconds
    with path.open('ab') as file:
        while not filelock.lock_descriptor(file.fileno(), blocking=False):
            if time.monotonic() >= deadline:
                raise TimeoutError(f'{path} is locked by another program')
            time.sleep(_POLL_SECONDS)
        yield


def is_held(path: Path) -> bool:
    """Whether a program has the lock of this file, on whatever machine that sees the folder.

    Not every system has locks that many can share, so this takes the lock and gives it back. Others
    who ask at the same moment are told apart from a holder by asking again. Where the file may be
    read and not locked, as on NFS by those who may not write, nobody is seen.
    """
    for attempt in range(_ASKED_AGAIN):
        if attempt:
            time.sleep(_ASKED_EVERY)
        try:
            with _opened(path) as file:
                if filelock.lock_descriptor(file.fileno(), blocking=False):
                    return False
        except OSError as error:
            if error.errno in _NOT_LOCKED:
                return False
            raise
    return True


def _opened(path: Path) -> BinaryIO:
    """For writing where that is allowed: on NFS, nothing else is locked."""
    try:
        return path.open('r+b')
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS) or path.is_dir():
            raise
        return path.open('rb')
