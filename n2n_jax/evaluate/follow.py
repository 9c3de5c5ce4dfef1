"""Scores checkpoints of a run from outside it: the last one, or each as it is saved."""

import dataclasses
import logging
import shlex
import time
from pathlib import Path

import jax

from n2n_jax.evaluate.report import origin, record
from n2n_jax.evaluate.with_clean import Evaluator
from n2n_jax.models import weights
from n2n_jax.runtime import path_list
from n2n_jax.runtime.checkpoint import Checkpoints, open_for_reading
from n2n_jax.runtime.config import CapturesConfig, Config
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.parallel import make_layout
from n2n_jax.runtime.workdir import Workdir

_log = logging.getLogger(__name__)

_POLL_SECONDS = 2.0
_GRACE_SECONDS = 60.0  # a scheduler may start a run again, which then resumes


def evaluate_checkpoint(config: Config, path: Path) -> None:
    """Scores the last checkpoint of a workdir with the evaluation settings of `config`."""
    workdir = Workdir(path)
    layout = make_layout(batch_size=jax.device_count())
    with open_for_reading(path) as checkpoints:
        step = checkpoints.last_step
        config = dataclasses.replace(checkpoints.config(step), eval=config.eval)
        needs_clean_images(config, path)
        evaluator = Evaluator(config, layout)
        variables = weights.shipped_variables(checkpoints, step, layout.replicated)
    record(evaluator(variables, step), step, workdir, origin(config, variables))


def follow(config: Config, path: Path, *, grace_seconds: float = _GRACE_SECONDS) -> bool:
    """Scores each new checkpoint of a workdir until the run is complete.

    A run that does not exist yet is waited for. What was scored by the same protocol is not scored
    again.

    Args:
      config: its evaluation settings are used.
      path: the workdir.
      grace_seconds: how long a run that is not complete may go without anybody training it.

    Returns:
      True if the run is complete, False if it was given up on.
    """
    workdir = Workdir(path)
    _wait_for_start(workdir)
    layout = make_layout(batch_size=jax.device_count())
    config = dataclasses.replace(workdir.config(), eval=config.eval)
    needs_clean_images(config, path)
    evaluator = Evaluator(config, layout)
    abandoned = _Abandoned(workdir, grace_seconds)
    with Checkpoints(path) as checkpoints:
        steps = checkpoints.follow(
            finished=lambda: workdir.done or bool(workdir.failure) or abandoned(),
            first_after=-1,
            poll_seconds=_POLL_SECONDS,
        )
        for step in steps:
            abandoned.seen()  # of a run on another machine no lock may be seen
            if evaluator.has_scored(workdir.rows(), step):  # this program was started again
                continue
            try:
                variables = weights.shipped_variables(checkpoints, step, layout.replicated)
            except FileNotFoundError:  # deleted by the run before its turn
                _log.warning('Checkpoint %d was deleted before it could be evaluated.', step)
                continue
            of = origin(config, variables)
            record(evaluator(variables, step), step, workdir, of)
            abandoned.seen()
        last_step = checkpoints.last_step
    if workdir.done:
        return True
    if workdir.failure:
        _log.error('error: The run in %s failed: %s', path, workdir.failure)
        return False
    _log.error(
        'error: The run in %s ended %s, of %d steps, without being complete: the command that '
        'trained it resumes it, and this one can be started beside it again.',
        path,
        'before its first checkpoint' if last_step is None else f'at step {last_step}',
        config.train.steps,
    )
    return False


def _wait_for_start(workdir: Workdir) -> None:
    said = False
    while not workdir.started:
        if not said:
            _log.info('Waiting for a run to start in %s. Ctrl-C ends this.', workdir.path)
        said = True
        time.sleep(_POLL_SECONDS)


class _Abandoned:
    """Tells a run that nobody trains any more, nor has for a while."""

    def __init__(self, workdir: Workdir, grace_seconds: float):
        self._workdir, self._grace_seconds = workdir, grace_seconds
        self._last_seen = time.monotonic()

    def __call__(self) -> bool:
        if self._workdir.in_training:
            self.seen()
        return time.monotonic() - self._last_seen >= self._grace_seconds

    def seen(self) -> None:
        """Takes note of a sign of life, such as a new checkpoint."""
        self._last_seen = time.monotonic()


def needs_clean_images(config: Config, path: Path) -> None:
    """Looks whether the run in `path` can be scored on clean images.

    Raises:
      UserError: it was trained on captures, without any.
    """
    if config.captures.single:
        raise UserError(
            f'{path} was trained on single images: without a second capture or a clean image there '
            'is nothing to score it on. With captures of a scene: n2n score.'
        )
    if config.captures.paths:
        raise UserError(
            f'{path} was trained on captures, without clean images: write '
            f'{shlex.join(_score_command(config.captures, path))}'
        )


def _score_command(captures: CapturesConfig, path: Path) -> list[str]:
    """The command that scores a run on what it held out of its captures."""
    words = ['n2n', 'score', *map(str, path_list.parted(captures.paths)), '--model', str(path)]
    for option, value in (
        ('--pattern', captures.pattern),
        ('--interleaved', captures.interleaved),
        ('--fix', captures.fix),
    ):
        words += [option, str(value)] if value else []
    return [*words, '--held-out']
