"""Memory of the devices and of compiled programs."""

import jax

from n2n_jax.runtime import host_memory
from n2n_jax.runtime.host_memory import readable

__all__ = ['available_bytes', 'device_bytes', 'program_bytes', 'readable']


def device_bytes() -> int:
    """Bytes that a device of this process has; virtual devices of a CPU share the machine's."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if 'bytes_limit' in stats:
        return stats['bytes_limit']
    machine = host_memory.total_bytes()
    cgroup = host_memory.CGROUP_LIMIT
    limit = cgroup.read_text().strip() if cgroup.exists() else 'max'
    if limit.isdigit():
        machine = min(machine, int(limit))
    return machine // jax.local_device_count()


def available_bytes() -> int:
    """Bytes of a device that are free now; of a CPU, those of the machine or the container."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if 'bytes_limit' in stats:
        return stats['bytes_limit'] - stats['bytes_in_use']
    return host_memory.available_bytes()


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
