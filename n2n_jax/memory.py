"""Memory of the devices and of compiled programs."""

import os
from pathlib import Path

import jax

_CGROUP = Path('/sys/fs/cgroup')  # of a container
_CGROUP_LIMIT = _CGROUP / 'memory.max'  # 'max' where there is none


def device_bytes() -> int:
    """Bytes that a device of this process has; virtual devices of a CPU share the machine's."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if 'bytes_limit' in stats:
        return stats['bytes_limit']
    machine = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    limit = _CGROUP_LIMIT.read_text().strip() if _CGROUP_LIMIT.exists() else 'max'
    if limit.isdigit():
        machine = min(machine, int(limit))
    return machine // jax.local_device_count()


def available_bytes() -> int:
    """Bytes of a device that are free now; of a CPU, those of the machine or the container."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if 'bytes_limit' in stats:
        return stats['bytes_limit'] - stats['bytes_in_use']
    available = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    try:
        for line in Path('/proc/meminfo').read_text().splitlines():
            if line.startswith('MemAvailable:'):
                available = int(line.split()[1]) * 1024
        limit = _CGROUP_LIMIT.read_text().strip()
        if limit.isdigit():
            used = int((_CGROUP / 'memory.current').read_text())
            # Files that are kept in memory only as long as nobody else needs it.
            for line in (_CGROUP / 'memory.stat').read_text().splitlines():
                if line.startswith('inactive_file '):
                    used -= int(line.split()[1])
            available = min(available, int(limit) - used)
    except OSError:  # not Linux, or no container
        pass
    return available


def program_bytes(compiled: jax.stages.Compiled) -> int:
    """Bytes that a compiled program takes of a device, its arguments and results included."""
    analysis = compiled.memory_analysis()
    if analysis is None:  # not all backends know
        return 0
    return (
        analysis.argument_size_in_bytes
        + analysis.output_size_in_bytes
        - analysis.alias_size_in_bytes
        + analysis.temp_size_in_bytes
    )


def readable(num_bytes: float) -> str:
    """'512 MiB', '23.4 GiB'."""
    mebibytes = num_bytes / 2**20
    return f'{mebibytes:.0f} MiB' if mebibytes < 1024 else f'{mebibytes / 1024:.1f} GiB'
