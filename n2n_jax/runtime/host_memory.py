"""Memory of the machine; known without JAX, which takes seconds to load."""

import os
import sys
from pathlib import Path

from n2n_jax.runtime.errors import UserError

CGROUP = Path('/sys/fs/cgroup')  # of a container
CGROUP_LIMIT = CGROUP / 'memory.max'  # 'max' where there is none
_SMALL = 1 << 26  # bytes that are not worth a look


def total_bytes() -> int:
    """Bytes of the machine; more than any has where the system does not say, as Windows."""
    if not hasattr(os, 'sysconf'):
        return sys.maxsize
    return os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')


def available_bytes() -> int:
    """Bytes of the machine or the container that are free now."""
    available = total_bytes()
    try:
        for line in Path('/proc/meminfo').read_text().splitlines():
            if line.startswith('MemAvailable:'):
                available = int(line.split()[1]) * 1024
        limit = CGROUP_LIMIT.read_text().strip()
        if limit.isdigit():
            used = int((CGROUP / 'memory.current').read_text())
            # Files that are kept in memory only as long as nobody else needs it.
            for line in (CGROUP / 'memory.stat').read_text().splitlines():
                if line.startswith('inactive_file '):
                    used -= int(line.split()[1])
            available = min(available, int(limit) - used)
    except OSError:  # not Linux, or no container
        pass
    return available


def check_fits(num_bytes: int) -> None:
    """For what a file makes of its bytes at once, before it does.

    A system that promises more memory than it has ends the program when that is used.

    Raises:
      UserError: with a predicate: it is more than there is.
    """
    if num_bytes > _SMALL and num_bytes > (free := available_bytes()):
        raise UserError(
            f'needs {readable(num_bytes)} of memory at once, and {readable(free)} are free: save '
            'it in parts, such as a TIFF file with strips or tiles, or a .npy file.'
        )


def readable(num_bytes: float) -> str:
    """'512 MiB', '23.4 GiB'."""
    mebibytes = num_bytes / 2**20
    return f'{mebibytes:.0f} MiB' if mebibytes < 1024 else f'{mebibytes / 1024:.1f} GiB'
