"""Evaluates the checkpoints of a run from another process: the last one, or each as it is saved."""

import dataclasses
import logging
import shlex
import time
from pathlib import Path

import jax

from n2n_jax.evaluate.report import Report, origin, record
from n2n_jax.evaluate.with_clean import Evaluator
from n2n_jax.models import weights
from n2n_jax.runtime import path_list, user_code
from n2n_jax.runtime.checkpoint import Checkpoints, open_for_reading
from n2n_jax.runtime.config import CapturesConfig, Config
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.parallel import make_layout
from n2n_jax.runtime.workdir import Workdir

_log = logging.getLogger(__name__)

_POLL_SECONDS = 2.0
_GRACE_SECONDS = 60.0  # a scheduler may restart the run, which then resumes


def evaluate_checkpoint(config: Config, path: Path) -> Report:
    """Scores the last checkpoint of a workdir with the evaluation settings of `config`.

    Returns:
      The report, which is also written to the workdir.
    """
    workdir = Workdir(path)
    layout = make_layout(batch_size=jax.device_count())
    with open_for_reading(path) as checkpoints:
        step = checkpoints.newest_step
        config = _of_run(checkpoints.config(step), config)
        check_has_clean_images(config, path)
        evaluator = Evaluator(config, layout)
        variables = weights.shipped_variables(checkpoints, step, layout.replicated)
    report = evaluator(variables, step)
    record(report, step, workdir, origin(config, variables))
    return report


def follow(config: Config, path: Path, *, grace_seconds: float = _GRACE_SECONDS) -> bool:
    """Scores each new checkpoint of a workdir until the run is complete.

    Waits for a run that has not started yet. Skips checkpoints already scored by the same protocol.

    Args:
      config: supplies the evaluation settings; all others come from the run.
      path: the workdir.
      grace_seconds: how long an incomplete run may have no training process before this gives up.

    Returns:
      True if the run is complete, False if it failed or was abandoned.
    """
    workdir = Workdir(path)
    _wait_for_start(workdir)
    layout = make_layout(batch_size=jax.device_count())
    of_run = workdir.config()
    user_code.run_kept(of_run, path)
    config = _of_run(of_run, config)
    check_has_clean_images(config, path)
    evaluator = Evaluator(config, layout)
    abandoned = _Abandoned(workdir, grace_seconds)
    with Checkpoints(path) as checkpoints:
        steps = checkpoints.follow(
            finished=lambda: workdir.done or bool(workdir.failure) or abandoned(),
            first_after=-1,
            poll_seconds=_POLL_SECONDS,
        )
        for step in steps:
            abandoned.seen()  # the lock of a run on another machine may be invisible
            if evaluator.has_scored(workdir.rows(), step):  # by an earlier start of this program
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
        'error: The run in %s ended %s, of %d steps, without being complete: rerun its training '
        'command to resume it, then start this evaluation again.',
        path,
        'before its first checkpoint' if last_step is None else f'at step {last_step}',
        config.train.steps,
    )
    return False


def _of_run(of_run: Config, config: Config) -> Config:
    """Returns the config of a run with the evaluation settings of another, whose code it runs."""
    user_code.run_others(config, of_run)
    return dataclasses.replace(of_run, eval=config.eval)


def _wait_for_start(workdir: Workdir) -> None:
    said = False
    while not workdir.started:
        if not said:
            _log.info('Waiting for a run to start in %s. Press Ctrl-C to quit.', workdir.path)
        said = True
        time.sleep(_POLL_SECONDS)


class _Abandoned:
    """Checks whether no process has trained a run for the grace period."""

    def __init__(self, workdir: Workdir, grace_seconds: float):
        self._workdir, self._grace_seconds = workdir, grace_seconds
        self._last_seen = time.monotonic()

    def __call__(self) -> bool:
        if self._workdir.in_training:
            self.seen()
        return time.monotonic() - self._last_seen >= self._grace_seconds

    def seen(self) -> None:
        """Records a sign of life, such as a new checkpoint."""
        self._last_seen = time.monotonic()


def check_has_clean_images(config: Config, path: Path) -> None:
    """Checks whether the run in `path` can be evaluated on clean images.

    Raises:
      UserError: it was trained on captures, without clean images.
    """
    if config.captures.single:
        raise UserError(
            f'{path} was trained on single images: without a second capture or a clean image it '
            'cannot be scored. If you have several captures of a scene, run n2n score.'
        )
    if config.captures.paths:
        raise UserError(
            f'{path} was trained on captures, without clean images: run '
            f'{shlex.join(_score_command(config.captures, path))}'
        )


def _score_command(captures: CapturesConfig, path: Path) -> list[str]:
    """Builds the command that scores a run on its held-out captures."""
    command = ['n2n', 'score', *map(str, path_list.parted(captures.paths)), '--model', str(path)]
    for option, value in (
        ('--pattern', captures.pattern),
        ('--interleaved', captures.interleaved),
        ('--fix', captures.fix),
    ):
        command += [option, str(value)] if value else []
    return [*command, '--held-out']
