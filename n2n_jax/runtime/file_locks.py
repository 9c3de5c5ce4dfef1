"""Locks between programs that share a folder, on Linux, macOS and Windows.

The operating system holds a lock, not the file: it is released with its process, however that ends,
and a lock file that is left behind locks nothing.
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
_ATTEMPTS = 5  # of `is_held`
_ATTEMPT_SECONDS = 0.01  # between attempts
# No such file, a folder, or on NFS a file that may only be read.
_NOT_LOCKED = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EBADF)


@contextlib.contextmanager
def held(path: Path, *, seconds: float = math.inf) -> Iterator[None]:
    """Holds the lock of a file inside the context; creates the file if it is missing.

    Args:
      path: the lock file, which has no other use.
      seconds: how long to wait if another program has the lock; even `is_held` takes it briefly.

    Raises:
      TimeoutError: another program kept the lock for that long.
      OSError: the file cannot be created, for example because it is a folder.
    """
    deadline = time.monotonic() + seconds
    with path.open('ab') as file:
        while not filelock.lock_descriptor(file.fileno(), blocking=False):
            if time.monotonic() >= deadline:
                raise TimeoutError(f'{path} is locked by another program')
            time.sleep(_POLL_SECONDS)
        yield


def is_held(path: Path) -> bool:
    """Checks whether any program has the lock of a file, on any machine that shares the folder.

    Not every system has shared locks, so this takes the lock and releases it. Repeated attempts
    tell a holder from other programs that check at the same moment. Returns False if the file can
    be read but not locked, as on NFS without permission to write.
    """
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_ATTEMPT_SECONDS)
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
    """Opens a file for writing if allowed, else for reading: NFS locks only writable files."""
    try:
        return path.open('r+b')
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS) or path.is_dir():
            raise
        return path.open('rb')
