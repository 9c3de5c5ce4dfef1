"""Checkpoints that describe themselves. The only module that knows Orbax.

A checkpoint holds the weights, their running average, the rest of the training state, and as JSON
the resolved config and the provenance: nothing else is needed to resume, evaluate or denoise.
Orbax writes it to a temporary folder and renames that when it is whole, so a half-written one is
never seen.
"""

import contextlib
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

from n2n_jax import interrupts
from n2n_jax.config import Config, from_config_dict
from n2n_jax.errors import CheckpointError, UserError

FOLDER = 'checkpoints'  # inside the workdir
BEST_FOLDER = 'best'  # the one with the best score, if a run selects by score

_META = 'meta'


class Checkpoints:
    """The checkpoints of one workdir.

    Args:
      workdir: of the run.
      keep: how many to keep besides the last one; None opens them for reading only.
      folder: inside the workdir.
    """

    def __init__(self, workdir: Path, *, keep: int | None = None, folder: str = FOLDER):
        self._workdir, self._folder = workdir, folder
        self._read_only = keep is None
        options = ocp.CheckpointManagerOptions(
            create=not self._read_only,
            read_only=self._read_only,
            preservation_policy=(
                None if self._read_only else preservation_policy.LatestN(keep + 1)
            ),
        )
        self._manager = ocp.CheckpointManager((workdir / folder).absolute(), options=options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        if kind is None or not issubclass(kind, CheckpointError):
            with interrupts.deferred(signal.SIGINT), self._errors_named():
                self._manager.close()  # waits for a save under way

    @property
    def last_step(self) -> int | None:
        """Step of the newest whole checkpoint, None if there is none."""
        return self._manager.latest_step()

    @interrupts.deferred(signal.SIGINT)  # of many, the second ends the program at once
    def save(self, step: int, items: dict[str, Any], meta: dict[str, Any]) -> None:
        """Starts to write a checkpoint; every process calls this.

        Args:
          step: number of updates that the items hold.
          items: pytrees of arrays by name.
          meta: what JSON can hold, with the resolved config under 'config'.

        Raises:
          CheckpointError: the disk is too full for it, or the save before it failed.
        """
        self.check_room(items)
        arguments = {name: ocp.args.StandardSave(item) for name, item in items.items()}
        arguments[_META] = ocp.args.JsonSave(meta)
        with self._errors_named():
            self._manager.save(step, args=ocp.args.Composite(**arguments), force=True)

    def check_room(self, items: dict[str, Any]) -> None:
        """Looks whether a checkpoint of these items fits on the disk.

        Raises:
          CheckpointError: it does not.
        """
        num_bytes = sum(x.nbytes for x in jax.tree.leaves(items))
        free = shutil.disk_usage(self._workdir).free
        if free < num_bytes:
            raise self._error(f'it needs {num_bytes / 1e6:.1f} MB and {free / 1e6:.1f} MB are free')

    def delete(self, step: int) -> None:
        """Deletes the checkpoint of `step`; every process calls this."""
        with self._errors_named():
            self._manager.delete(step)

    @interrupts.deferred(signal.SIGINT)
    def wait(self) -> None:
        """Returns when the last save is whole on disk.

        Raises:
          CheckpointError: it could not be written.
        """
        with self._errors_named():
            self._manager.wait_until_finished()

    @contextlib.contextmanager
    def _errors_named(self) -> Iterator[None]:
        """A failed write comes as one of many errors, often with the save after it."""
        try:
            yield
        except (OSError, ValueError, RuntimeError) as error:
            full = 'RESOURCE_EXHAUSTED' in str(error) or 'No space left' in str(error)
            raise self._error('the disk is full' if full else str(error)[:200]) from error

    def _error(self, reason: str) -> CheckpointError:
        last = self.last_step
        return CheckpointError(
            f'A checkpoint could not be written to {self._workdir / self._folder}: {reason}. '
            + (
                'None has been saved so far.'
                if last is None
                else f'Once that is mended, the same command goes on from step {last} or later.'
            )
        )

    def preempted(self, step: int) -> bool:
        """True once the cluster has asked all processes to leave (needs jax.distributed)."""
        return self._manager.reached_preemption(step)

    def meta(self, step: int) -> dict[str, Any]:
        """What was saved as JSON."""
        arguments = ocp.args.Composite(**{_META: ocp.args.JsonRestore()})
        with self._damage_named(step):
            return self._manager.restore(step, args=arguments)[_META]

    def config(self, step: int) -> Config:
        """The resolved config of the run."""
        return from_config_dict(self.meta(step)['config'], saved=True)

    def restore(self, step: int, abstract: dict[str, Any]) -> dict[str, Any]:
        """The items named in `abstract`: pytrees of `jax.ShapeDtypeStruct` with shardings."""
        arguments = {name: ocp.args.StandardRestore(item) for name, item in abstract.items()}
        with self._damage_named(step):
            restored = self._manager.restore(step, args=ocp.args.Composite(**arguments))
            return {name: restored[name] for name in abstract}

    @contextlib.contextmanager
    def _damage_named(self, step: int) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:  # deleted by the run, see `follow`
            raise
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            folder = self._workdir / self._folder / str(step)
            raise UserError(
                f'{folder} cannot be read ({type(error).__name__}): it is damaged or of another '
                'network. Delete that folder, and the run goes on from the checkpoint before it.'
            ) from error

    def follow(
        self, *, finished: Callable[[], bool], first_after: int, poll_seconds: float = 2.0
    ) -> Iterator[int]:
        """Yields the step of each new checkpoint until the run is finished.

        A checkpoint that is deleted before its turn is skipped: the newest one always comes.
        """
        seen = first_after
        while True:
            done = finished()  # before the look, or the last checkpoint could slip through
            self._manager.reload()
            steps = [step for step in self._manager.all_steps() if step > seen]
            for step in sorted(steps):
                seen = step
                yield step
            if done and not steps:
                return
            if not steps:
                time.sleep(poll_seconds)


def open_for_reading(workdir: Path) -> Checkpoints:
    """The checkpoints of a finished or running run: the best one if the run selects, else all.

    Raises:
      UserError: the folder is missing or holds no whole checkpoint.
    """
    if not workdir.is_dir():
        raise UserError(f'There is no run in {workdir}: no such folder.')
    for folder in (BEST_FOLDER, FOLDER):
        if (workdir / folder).is_dir():
            checkpoints = Checkpoints(workdir, folder=folder)
            if checkpoints.last_step is not None:
                return checkpoints
    raise UserError(
        f'{workdir} holds no whole checkpoint: give the --workdir of a run that has saved one.'
    )


def abstract_like(tree: Any, sharding: jax.sharding.Sharding) -> Any:
    """Shapes and types of `tree`, to be restored onto `sharding`."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)
