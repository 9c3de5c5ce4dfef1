"""One mesh over all devices, the two ways arrays lie on it, and several processes.

Batches are cut along their batch axis, everything else is whole on every device.
"""

import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from n2n_jax.runtime.errors import UserError


def initialize(spec: str) -> None:
    """Joins the processes of a run; call before anything asks for devices.

    Args:
      spec: 'off' (one process), 'auto' (SLURM, OpenMPI, Kubernetes and TPU pods are recognized), or
        'HOST:PORT,NUM_PROCESSES,PROCESS_ID'.

    Raises:
      UserError: the spec cannot be parsed, 'auto' finds no cluster, or the processes do not meet.
    """
    if spec == 'off':
        return
    arguments: tuple[Any, ...] = ()
    if spec != 'auto':
        try:
            address, num_processes, process_id = spec.split(',')
            arguments = (address, int(num_processes), int(process_id))
        except ValueError:
            raise UserError(
                f"train.distributed='{spec}' cannot be parsed: write off, auto or "
                'HOST:PORT,NUM_PROCESSES,PROCESS_ID.'
            ) from None
        if not 0 <= arguments[2] < arguments[1]:
            raise UserError(
                f"train.distributed='{spec}': PROCESS_ID counts from 0 to NUM_PROCESSES - 1, which "
                f'is {arguments[1] - 1}, not {arguments[2]}.'
            )
    try:
        jax.distributed.initialize(*arguments)
    except (ValueError, RuntimeError) as error:
        why = str(error).partition('\n')[0].rstrip('.')
        raise UserError(
            'train.distributed=auto finds no cluster here (SLURM, Open MPI, Kubernetes or a TPU '
            f'pod): {why}. Write off for one process, or HOST:PORT,NUM_PROCESSES,PROCESS_ID.'
            if spec == 'auto'
            else f"train.distributed='{spec}' did not work: {why}."
        ) from error


def is_main_process() -> bool:
    """True in the one process that prints and writes files; checkpoints are written by all."""
    return jax.process_index() == 0


def on_main_process(action: Callable[[], None]) -> None:
    """Does it in the main process alone, and lets none go on that would wait for it in vain.

    Raises:
      UserError: in all other processes, if the action raised anything in the main one.
    """
    error: BaseException | None = None
    if is_main_process():
        try:
            action()
        except BaseException as exception:  # Ctrl-C too; raised below, once the others know
            error = exception
    if jax.process_count() > 1:
        failed = multihost_utils.broadcast_one_to_all(np.array(error is not None))
        if failed and not is_main_process():
            raise UserError('Process 0 could not go on; its own message says why.')
    if error is not None:
        raise error


def from_main_process(make: Callable[[], Any]) -> Any:
    """What `make` returns in the main process, in every process.

    What decides whether a process enters a computation that all share is to be the same for all:
    files that each reads by itself need not be, on a network drive.

    Args:
      make: called in the main process alone; returns what JSON can hold.

    Raises:
      UserError: in all other processes, if `make` raised anything in the main one.
    """
    made: list[Any] = []
    on_main_process(lambda: made.append(make()))
    if jax.process_count() == 1:
        return made[0]
    text = json.dumps(made[0]).encode() if is_main_process() else b''
    length = int(multihost_utils.broadcast_one_to_all(np.array(len(text))))
    text_N = np.zeros(length, np.uint8)
    if is_main_process():
        text_N[:] = np.frombuffer(text, np.uint8)
    return json.loads(np.asarray(multihost_utils.broadcast_one_to_all(text_N)).tobytes())


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where arrays live."""

    mesh: Mesh

    @property
    def replicated(self) -> NamedSharding:
        """Whole on every device."""
        return NamedSharding(self.mesh, PartitionSpec())

    def by_batch(self, axis: int = 0) -> NamedSharding:
        """Cut along the batch, which is axis `axis`."""
        return NamedSharding(self.mesh, PartitionSpec(*[None] * axis, 'data'))

    @property
    def num_devices(self) -> int:
        """Devices of all processes together."""
        return self.mesh.size

    def local_rows(self, batch_size: int) -> np.ndarray:
        """The rows of a batch that this process's devices hold, ascending."""
        indices = self.by_batch().addressable_devices_indices_map((batch_size,))
        rows = {row for (cut,) in indices.values() for row in range(*cut.indices(batch_size))}
        return np.array(sorted(rows))

    def place(self, host_array: np.ndarray, *, batch_axis: int | None) -> jax.Array:
        """Puts an array that every process holds whole onto the devices."""
        return self.place_parts(
            host_array.shape, lambda index: host_array[index], batch_axis=batch_axis
        )

    def place_parts(
        self,
        shape: tuple[int, ...],
        part: Callable[[Any], np.ndarray],
        *,
        batch_axis: int | None,
    ) -> jax.Array:
        """A global array whose devices ask `part(index)` for what they hold."""
        sharding = self.replicated if batch_axis is None else self.by_batch(batch_axis)
        # With several processes this counts as an implicit transfer, which the loop forbids.
        with jax.transfer_guard('allow'):
            return jax.make_array_from_callback(shape, sharding, part)


def make_layout(batch_size: int, devices: Sequence[jax.Device] | None = None) -> Layout:
    """A ('data',) mesh over all devices, or over `devices`.

    Raises:
      UserError: the batch cannot be cut into equal parts.
    """
    devices = jax.devices() if devices is None else devices
    num_devices = len(devices)
    if batch_size % num_devices:
        lower = batch_size // num_devices * num_devices
        nearby = ' or '.join(str(n) for n in (lower, lower + num_devices) if n > 0)
        raise UserError(
            f'data.batch_size={batch_size} cannot be shared by {num_devices} devices: '
            f'write {nearby}.'
        )
    # Auto: with the default, Explicit, random.poisson and reshapes of sharded axes fail.
    auto = (AxisType.Auto,)
    return Layout(jax.make_mesh((num_devices,), ('data',), axis_types=auto, devices=devices))
