"""Memory of the devices and of compiled programs."""

import jax

from n2n_jax.runtime import host_memory
from n2n_jax.runtime.host_memory import readable

__all__ = ['available_bytes', 'device_bytes', 'program_bytes', 'readable']


def device_bytes() -> int:
    """Returns the bytes of one device; virtual devices of a CPU share the machine's memory."""
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
    """Returns the bytes of one device that are free now; on a CPU, of machine or container."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if 'bytes_limit' in stats:
        return stats['bytes_limit'] - stats['bytes_in_use']
    return host_memory.available_bytes()


def program_bytes(compiled: jax.stages.Compiled) -> int:
    """Returns the bytes that a compiled program needs on a device, with arguments and results."""
    analysis = compiled.memory_analysis()
    if analysis is None:  # not every backend reports it
        return 0
    return (
        analysis.argument_size_in_bytes
        + analysis.output_size_in_bytes
        - analysis.alias_size_in_bytes
        + analysis.temp_size_in_bytes
    )
