"""Memory of the devices and of compiled programs."""

import os
from pathlib import Path

import jax

_CGROUP_LIMIT = Path('/sys/fs/cgroup/memory.max')  # of a container; 'max' where there is none


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
