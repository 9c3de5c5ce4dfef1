"""Self-contained checkpoints. The only module that uses Orbax.

A checkpoint holds the weights, their running average, the rest of the training state, and as JSON
the resolved config and the provenance: nothing else is needed to resume, evaluate or denoise.
Orbax writes it to a temporary folder and renames that when it is complete, so a half-written
checkpoint is never visible.
"""

import contextlib
import errno
import logging
import re
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

from n2n_jax.runtime import interrupts, user_code
from n2n_jax.runtime.config import Config, from_saved
from n2n_jax.runtime.errors import CheckpointError, UserError

FOLDER = 'checkpoints'  # inside the workdir
BEST_FOLDER = 'best'  # the checkpoint with the best score, if a run selects by score

_META = 'meta'

_DRIVE_ERRORS = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT)  # of the drive, not of the files
_DELETION_SECONDS = 0.2  # a checkpoint that is being deleted loses a file within this time
_NEVER_BEGUN = r"coroutine '.*' was never awaited"  # Python's warning of a read dropped unstarted
# How TensorStore's errors begin when a file cannot be written: 'RESOURCE_EXHAUSTED: Error ...'
_STORAGE_STATUS = re.compile(r'[A-Z]+(_[A-Z]+)*: ')


class Checkpoints:
    """The checkpoints of one workdir.

    Args:
      workdir: folder of the run.
      keep: how many to keep besides the last one; None opens them for reading only.
      folder: folder of the checkpoints inside the workdir.
    """

    def __init__(self, workdir: Path, *, keep: int | None = None, folder: str = FOLDER):
        self._workdir, self._path = workdir, workdir / folder
        self._read_only = keep is None
        with _orbax_notices_hidden():
            options = ocp.CheckpointManagerOptions(
                create=not self._read_only,
                read_only=self._read_only,
                preservation_policy=(
                    None if keep is None else preservation_policy.LatestN(keep + 1)
                ),
            )
            self._manager = ocp.CheckpointManager(self._path.absolute(), options=options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        if kind is None or not issubclass(kind, CheckpointError):
            self.close()

    def close(self) -> None:
        """Waits for a save under way, and ends Orbax's threads.

        Raises:
          CheckpointError: the checkpoint could not be written.
        """
        with _signals_deferred(), self._write_errors_named():
            self._manager.close()

    @property
    def last_step(self) -> int | None:
        """Step of the newest complete checkpoint, None if there is none."""
        return self._manager.latest_step()

    @property
    def newest_step(self) -> int:
        """Step of the newest complete checkpoint, of a run that has had one.

        Raises:
          FileNotFoundError: it was deleted.
        """
        step = self.last_step
        if step is None:
            raise FileNotFoundError(f'{self._path} holds no checkpoint any more.')
        return step

    def save(self, step: int, items: dict[str, Any], meta: dict[str, Any]) -> None:
        """Starts to write a checkpoint; every process must call this.

        Args:
          step: number of updates that the items hold.
          items: pytrees of arrays by name.
          meta: JSON-serializable values, among them `config.to_saved` of the resolved config.

        Raises:
          CheckpointError: the disk is too full for it, or the previous save failed.
        """
        self.check_room(items)
        arguments = {name: ocp.args.StandardSave(item) for name, item in items.items()}
        arguments[_META] = ocp.args.JsonSave(meta)
        with _signals_deferred(), self._write_errors_named():
            self._manager.save(step, args=ocp.args.Composite(**arguments), force=True)

    def check_room(self, items: dict[str, Any]) -> None:
        """Checks whether a checkpoint of these items fits on the disk.

        Raises:
          CheckpointError: it does not.
        """
        num_bytes = sum(x.nbytes for x in jax.tree.leaves(items))
        free = shutil.disk_usage(self._workdir).free
        if free < num_bytes:
            raise self._write_error(
                f'it needs {_megabytes(num_bytes)}, but only {_megabytes(free)} are free'
            )

    def delete(self, step: int) -> None:
        """Deletes the checkpoint of `step`; every process must call this."""
        with self._write_errors_named():
            self._manager.delete(step)

    def wait(self) -> None:
        """Waits until the last save is complete on disk.

        Raises:
          CheckpointError: it could not be written.
        """
        with _signals_deferred(), self._write_errors_named():
            self._manager.wait_until_finished()

    @contextlib.contextmanager
    def _write_errors_named(self) -> Iterator[None]:
        """Turns failed writes into CheckpointErrors.

        Orbax reports a failed write as one of several exceptions, often only at the next save.
        Other errors, such as our own bugs, are raised unchanged.
        """
        try:
            yield
        except OSError as error:
            raise self._write_error(error.strerror or str(error)) from error
        except (ValueError, RuntimeError) as error:
            message = str(error)
            if not _STORAGE_STATUS.match(message):
                raise
            full = message.startswith('RESOURCE_EXHAUSTED') or 'No space left' in message
            raise self._write_error('the disk is full' if full else message[:200]) from error

    def _write_error(self, reason: str) -> CheckpointError:
        saved = self._workdir / FOLDER  # runs resume from these, even if writing `best` failed
        steps = [int(path.name) for path in saved.glob('*') if path.name.isdecimal()]
        return CheckpointError(
            f'A checkpoint could not be written to {self._path}: {reason}. '
            + (
                f'Fix that and rerun the same command: it resumes at step {max(steps)}.'
                if steps
                else 'None has been saved so far.'
            )
        )

    def preempted(self, step: int) -> bool:
        """Checks whether the cluster has asked all processes to stop (needs jax.distributed)."""
        return self._manager.reached_preemption(step)

    def meta(self, step: int) -> dict[str, Any]:
        """Returns the values that were saved as JSON.

        Raises:
          UserError: the checkpoint is damaged.
          FileNotFoundError: the checkpoint was deleted.
        """
        arguments = ocp.args.Composite(**{_META: ocp.args.JsonRestore()})
        with self._read_errors_named(step):
            meta = self._manager.restore(step, args=arguments)[_META]
            if not (isinstance(meta, dict) and isinstance(meta.get('config'), dict)):
                raise TypeError('no config in it')
            return meta

    def config(self, step: int) -> Config:
        """Returns the resolved config of the run, after running the code that it imports.

        Raises:
          UserError: see `meta` and `user_code.run_kept`.
        """
        config = from_saved(self.meta(step))
        user_code.run_kept(config, self._workdir)
        return config

    def restore(self, step: int, abstract: dict[str, Any]) -> dict[str, Any]:
        """Returns the items named in `abstract`.

        Args:
          step: step of the checkpoint.
          abstract: for each item a pytree of `jax.ShapeDtypeStruct` with shardings.

        Raises:
          UserError: the checkpoint is damaged, or of another network.
          FileNotFoundError: the checkpoint was deleted.
        """
        arguments = {name: ocp.args.StandardRestore(item) for name, item in abstract.items()}
        with self._read_errors_named(step):
            restored = self._manager.restore(step, args=ocp.args.Composite(**arguments))
            return {name: restored[name] for name in abstract}

    @contextlib.contextmanager
    def _read_errors_named(self, step: int) -> Iterator[None]:
        """Names the checkpoint in errors; a damaged one may raise anything, even Exception."""
        folder = self._path / str(step)
        try:
            with _AbandonedReadsSilenced():
                yield
        except MemoryError:
            raise
        except Exception as error:
            if self._is_being_deleted(folder):
                raise FileNotFoundError(f'{folder} was deleted.') from error
            message = str(error)
            if 'RESOURCE_EXHAUSTED' in message:
                raise MemoryError(f'{folder} does not fit.') from error
            if isinstance(error, PermissionError) or 'PERMISSION_DENIED' in message:
                raise UserError(
                    f'{folder} cannot be read: ask its owner for permission to read it.'
                ) from error
            if isinstance(error, OSError) and error.errno in _DRIVE_ERRORS:
                raise UserError(f'{folder} cannot be read: {error.strerror}. Try again.') from error
            raise UserError(
                f'{folder} cannot be read ({type(error).__name__}): it is damaged, incomplete or '
                f'of another network. If it is a copy, copy the run again; else move that folder '
                f'away{self._describe_fallback(step)}.'
            ) from error

    def _describe_fallback(self, step: int) -> str:
        if self._path.name == BEST_FOLDER:
            return ', and the last weights are used'
        earlier = [other for other in self._manager.all_steps() if other < step]
        return f', and that of step {max(earlier)} is used' if earlier else ''

    @staticmethod
    def _is_being_deleted(folder: Path) -> bool:
        """Checks whether the run is deleting the checkpoint, which takes a moment."""
        before = sum(1 for _ in folder.rglob('*'))
        time.sleep(_DELETION_SECONDS)
        return not folder.exists() or sum(1 for _ in folder.rglob('*')) < before

    def follow(
        self, *, finished: Callable[[], bool], first_after: int, poll_seconds: float = 2.0
    ) -> Iterator[int]:
        """Yields the step of each new checkpoint until the run is finished.

        A checkpoint that is deleted before its turn is skipped; the newest is always yielded.

        Args:
          finished: tells whether the run is finished.
          first_after: only checkpoints after this step are yielded.
          poll_seconds: how long to wait before looking again.
        """
        seen = first_after
        while True:
            done = finished()  # before listing, or the last checkpoint could be missed
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
    """Opens the checkpoints of a finished or running run: the best if the run selects, else all.

    Raises:
      UserError: the folder is missing or holds no complete checkpoint.
    """
    if not workdir.is_dir():
        raise UserError(f'There is no run in {workdir}: no such folder.')
    for folder in (BEST_FOLDER, FOLDER):
        if (workdir / folder).is_dir():
            checkpoints = Checkpoints(workdir, folder=folder)
            if checkpoints.last_step is not None:
                return checkpoints
            checkpoints.close()
    raise UserError(
        f'{workdir} holds no complete checkpoint: give the --workdir of a run that has saved one.'
    )


def abstract_like(tree: Any, sharding: jax.sharding.Sharding) -> Any:
    """Returns the shapes and types of `tree` with `sharding`, as `Checkpoints.restore` takes."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)


class _AbandonedReadsSilenced:
    """Hides asyncio's messages about reads that nobody waits for any more.

    Once one read has failed, TensorStore's threads report the others to an event loop that is
    closed, at any later time, and those that failed, or were never begun, are reported when they
    are garbage-collected. So after a failure this stays in place, as `sys.unraisablehook` and as
    filters of asyncio's log and of warnings.
    """

    def __init__(self) -> None:
        self._previous = sys.unraisablehook

    def __enter__(self) -> None:
        if not isinstance(sys.unraisablehook, _AbandonedReadsSilenced):
            sys.unraisablehook = self
            logging.getLogger('asyncio').addFilter(_is_worth_logging)

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        if kind is None and sys.unraisablehook is self:
            sys.unraisablehook = self._previous
            logging.getLogger('asyncio').removeFilter(_is_worth_logging)
        else:
            warnings.filterwarnings('ignore', _NEVER_BEGUN, RuntimeWarning)

    def __call__(self, unraisable: 'sys.UnraisableHookArgs') -> None:
        message = str(unraisable.exc_value)
        if message != 'Event loop is closed' and not re.match(_NEVER_BEGUN, message):
            self._previous(unraisable)


@contextlib.contextmanager
def _orbax_notices_hidden() -> Iterator[None]:
    """Hides the warning that Orbax prints whenever a folder is opened read-only."""
    logger = logging.getLogger('absl')
    level = logger.level
    logger.setLevel(max(level, logging.ERROR))
    try:
        yield
    finally:
        logger.setLevel(level)


def _is_worth_logging(record: logging.LogRecord) -> bool:
    return 'exception was never retrieved' not in record.getMessage()


def _signals_deferred() -> contextlib.AbstractContextManager[None]:
    """Lets no signal end a save halfway. With several processes SIGTERM is left to JAX."""
    alone = jax.process_count() == 1
    return interrupts.deferred(*(interrupts.NUMBERS if alone else (signal.SIGINT,)))


def _megabytes(num_bytes: int) -> str:
    return f'{num_bytes / 1e6:.1f} MB' if num_bytes >= 1e6 else f'{num_bytes / 1e3:.1f} kB'
