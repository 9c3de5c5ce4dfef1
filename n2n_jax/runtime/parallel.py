"""The mesh over all devices, the two placements of arrays on it, and runs of several processes.

Batches are sharded along their batch axis, everything else is replicated on every device.
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
    """Connects the processes of a run; call before anything uses devices.

    Args:
      spec: 'off' (one process), 'auto' (SLURM, OpenMPI, Kubernetes and TPU pods are recognized), or
        'HOST:PORT,NUM_PROCESSES,PROCESS_ID'.

    Raises:
      UserError: the spec cannot be parsed, 'auto' finds no cluster, or connecting fails.
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
                f"train.distributed='{spec}': PROCESS_ID counts from 0 to NUM_PROCESSES - 1, here "
                f'{arguments[1] - 1}, and cannot be {arguments[2]}.'
            )
    try:
        jax.distributed.initialize(*arguments)
    except (ValueError, RuntimeError) as error:
        why = str(error).partition('\n')[0].rstrip('.')
        raise UserError(
            'train.distributed=auto finds no cluster here (SLURM, Open MPI, Kubernetes or a TPU '
            f'pod): {why}. Write off for one process, or HOST:PORT,NUM_PROCESSES,PROCESS_ID.'
            if spec == 'auto'
            else f"train.distributed='{spec}' failed: {why}. Start all processes with the same "
            'HOST:PORT, which they must be able to reach.'
        ) from error


def is_main_process() -> bool:
    """Checks whether this is the process that logs and writes files; all write checkpoints."""
    return jax.process_index() == 0


def on_main_process(action: Callable[[], None]) -> None:
    """Runs `action` in the main process; if it fails, all other processes fail too, not hang.

    Raises:
      UserError: in all other processes, if the action raised anything in the main process.
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
            raise UserError('Process 0 failed: see its own message.')
    if error is not None:
        raise error


def from_main_process(make: Callable[[], Any]) -> Any:
    """Returns in every process the value that `make` returns in the main process.

    All processes must make the same decision to enter a shared computation. Files that each reads
    by itself may differ, on a network drive.

    Args:
      make: called in the main process only; returns JSON-serializable values.

    Raises:
      UserError: in all other processes, if `make` raised anything in the main process.
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
    """The placement of arrays on the devices.

    Attributes:
      mesh: mesh of all devices with one axis, 'data'.
    """

    mesh: Mesh

    @property
    def replicated(self) -> NamedSharding:
        """The sharding of arrays that every device holds whole."""
        return NamedSharding(self.mesh, PartitionSpec())

    def by_batch(self, axis: int = 0) -> NamedSharding:
        """Returns the sharding of arrays that are cut along `axis`, their batch axis."""
        return NamedSharding(self.mesh, PartitionSpec(*[None] * axis, 'data'))

    @property
    def num_devices(self) -> int:
        """The number of devices of all processes together."""
        return self.mesh.size

    def local_rows(self, batch_size: int) -> np.ndarray:
        """Returns the rows of a batch that the devices of this process hold, ascending."""
        indices = self.by_batch().addressable_devices_indices_map((batch_size,))
        cuts = [index[0] for index in indices.values() if index is not None]
        rows = {row for cut in cuts for row in range(*cut.indices(batch_size))}
        return np.array(sorted(rows))

    def place(self, host_array: np.ndarray, *, batch_axis: int | None) -> jax.Array:
        """Places an array on the devices; every process must hold all of it.

        Args:
          host_array: the array.
          batch_axis: axis along which it is cut; None to replicate it.
        """
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
        """Returns a global array of which each device holds `part(index)`.

        Args:
          shape: shape of the whole array.
          part: returns the part at an index, a tuple of slices.
          batch_axis: axis along which the array is cut; None to replicate it.
        """
        sharding = self.replicated if batch_axis is None else self.by_batch(batch_axis)
        # With several processes this counts as an implicit transfer, which the loop forbids.
        with jax.transfer_guard('allow'):
            return jax.make_array_from_callback(shape, sharding, part)


def make_layout(batch_size: int, devices: Sequence[jax.Device] | None = None) -> Layout:
    """Returns the layout of a ('data',) mesh over `devices`, by default all.

    Raises:
      UserError: the batch cannot be divided equally among the devices.
    """
    devices = jax.devices() if devices is None else devices
    num_devices = len(devices)
    if batch_size % num_devices:
        lower = batch_size // num_devices * num_devices
        nearby = ' or '.join(str(n) for n in (lower, lower + num_devices) if n > 0)
        raise UserError(
            f'data.batch_size={batch_size} cannot be divided equally among {num_devices} devices: '
            f'write {nearby}.'
        )
    # With the default axis type, Explicit, random.poisson and reshapes of sharded axes fail.
    auto = (AxisType.Auto,)
    return Layout(jax.make_mesh((num_devices,), ('data',), axis_types=auto, devices=devices))
