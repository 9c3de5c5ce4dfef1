"""Memory of the machine. Does not import JAX, which takes seconds to load."""

import os
import sys
from pathlib import Path

from n2n_jax.runtime.errors import UserError

CGROUP = Path('/sys/fs/cgroup')  # of a container
CGROUP_LIMIT = CGROUP / 'memory.max'  # 'max' if there is no limit
_SMALL = 1 << 26  # bytes that are not worth checking


def total_bytes() -> int:
    """Returns the bytes of the machine; `sys.maxsize` if unknown, as on Windows."""
    if not hasattr(os, 'sysconf'):
        return sys.maxsize
    return os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')


def available_bytes() -> int:
    """Returns the bytes of the machine or the container that are free now."""
    available = total_bytes()
    try:
        for line in Path('/proc/meminfo').read_text().splitlines():
            if line.startswith('MemAvailable:'):
                available = int(line.split()[1]) * 1024
        limit = CGROUP_LIMIT.read_text().strip()
        if limit.isdigit():
            used = int((CGROUP / 'memory.current').read_text())
            # Cached files, which the kernel drops when memory is needed.
            for line in (CGROUP / 'memory.stat').read_text().splitlines():
                if line.startswith('inactive_file '):
                    used -= int(line.split()[1])
            available = min(available, int(limit) - used)
    except OSError:  # not Linux, or no container
        pass
    return available


def check_fits(num_bytes: int) -> None:
    """Checks whether a file can be decoded at once, before that is tried.

    A system that overcommits memory would kill the program when it uses the memory.

    Raises:
      UserError: there is not enough memory; the message is a predicate for the file's name.
    """
    if num_bytes > _SMALL and num_bytes > (free := available_bytes()):
        raise UserError(
            f'needs {readable(num_bytes)} of memory at once, and {readable(free)} are free: save '
            'it so that it can be read in parts, as a TIFF with strips or tiles or as a .npy file.'
        )


def readable(num_bytes: float) -> str:
    """Formats a number of bytes: '512 MiB', '23.4 GiB'."""
    mebibytes = num_bytes / 2**20
    return f'{mebibytes:.0f} MiB' if mebibytes < 1024 else f'{mebibytes / 1024:.1f} GiB'
