"""The training loop: what a run does, and in which order."""

import contextlib
import logging
from pathlib import Path
from typing import Any

import jax
from clu import parameter_overview

from n2n_jax.captures import trained_captures
from n2n_jax.runtime import user_code
from n2n_jax.runtime.atomic_files import write_text
from n2n_jax.runtime.checkpoint import BEST_FOLDER, Checkpoints
from n2n_jax.runtime.config import Config
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.parallel import Layout, from_main_process, on_main_process
from n2n_jax.runtime.progress import ProgressLine
from n2n_jax.runtime.workdir import Workdir
from n2n_jax.train.curves import Writer, make_writers
from n2n_jax.train.fine_tuning import check_start
from n2n_jax.train.pace import Pace
from n2n_jax.train.prepared import Prepared, prepare
from n2n_jax.train.restore import items, starting_state
from n2n_jax.train.run import Output, Run, next_stop
from n2n_jax.train.run_checks import check_new
from n2n_jax.train.step_profile import StepProfile
from n2n_jax.train.stop_request import StopRequest
from n2n_jax.train.tasks import Task

_log = logging.getLogger(__name__)


def train(
    config: Config, path: Path, *, prepared: Prepared | None = None, pace: Pace | None = None
) -> bool:
    """Trains in a workdir, or resumes the run that is there.

    Args:
      config: the experiment.
      path: the workdir. A run of the same config in it is resumed; a complete one is extended if
        the config has more steps.
      prepared: the result of `prepare` for the config; None to prepare it here.
      pace: adapts the number of steps to a time limit; None for no limit.

    Returns:
      True if the run is complete, False if it was interrupted (and saved).

    Raises:
      UserError: the config cannot be run, or files cannot be read.
      FloatingPointError: the loss or a gradient was not finite; see `n2n_jax.train.divergence`.
    """
    workdir = Workdir(path)

    def check(resolved: Config) -> None:
        on_main_process(lambda: workdir.check(resolved))
        if not from_main_process(lambda: workdir.has_checkpoints):  # a run that resumes was checked
            check_new(resolved)
            check_start(resolved)

    on_main_process(workdir.check_free)
    if prepared is None:
        config = user_code.resolved(config, path)
        prepared = prepare(config, check=check)
        prepared = prepared.settled(prepared.config)  # drops captures that are not needed again
    else:
        check(prepared.config)
    config = prepared.config
    _log.info('Data: %s', prepared.feed.description)
    if not from_main_process(lambda: workdir.done):
        # Compiled here, so that a step that does not fit into memory leaves no workdir behind.
        prepared.step_of(min(prepared.per_dispatch, next_stop(0, config)))
    with contextlib.ExitStack() as stack:
        on_main_process(lambda: stack.enter_context(workdir.claimed(config)))
        on_main_process(lambda: stack.enter_context(workdir.failure_marked()))
        on_main_process(lambda: _keep_captures(prepared, workdir))
        _describe(config, prepared.task, prepared.layout)
        stop_request = stack.enter_context(StopRequest())
        checkpoints = stack.enter_context(
            Checkpoints(path, keep=max(1, config.train.keep_checkpoints))
        )
        state = starting_state(config, checkpoints, prepared.layout)
        checkpoints.check_room(items(state))
        best = None
        if config.captures.paths and config.eval.in_loop and not config.captures.single:
            best = stack.enter_context(Checkpoints(path, keep=0, folder=BEST_FOLDER))
        writers: list[Writer] = []

        def write_overview_and_open_writers() -> None:
            first_step = int(state.step)
            _write_overview(state.variables, path / 'parameters.txt')
            made = make_writers(path, first_step=first_step, tensorboard=config.train.tensorboard)
            writers.extend(made)

        on_main_process(write_overview_and_open_writers)
        progress = stack.enter_context(ProgressLine('step', config.train.steps))
        profile = StepProfile(config.train.profile_steps, path / 'profile')
        output = Output(workdir, checkpoints, best, writers, stack.enter_context(profile))
        run = Run(prepared, state, output, progress=progress, stop_request=stop_request, pace=pace)
        return _loop(run)


def _loop(run: Run) -> bool:
    """Trains until the run is complete (returns True) or is asked to stop (returns False).

    The order is a contract. At step i the state holds i updates, and the log, the checkpoint and
    the evaluation of step i all refer to that state:

    1. The interval of the log ends first, so that saving, which waits for all steps, writes it.
       There a loss that is not finite is noticed, before anything is saved.
    2. The checkpoint precedes the evaluation, which may fail and must not cost the run.
    3. A run that is asked to stop does so once it is saved; the evaluation follows on resuming.
    4. The end comes last: whether to stop early depends on the evaluation.
    """
    while True:
        run.end_log_interval()
        leaving = run.should_leave()
        if leaving or run.save_is_due():
            run.save()
        if leaving and not run.complete:
            run.leave()
            return False
        if run.evaluation_is_due():
            run.evaluate()
        early = '' if run.complete else run.early_stop_reason()
        if run.complete or early:
            run.finish(early)
            return True
        run.advance()


def _keep_captures(prepared: Prepared, workdir: Workdir) -> None:
    """Records the captures that the run is trained on; a run is not resumed with other pixels.

    Raises:
      UserError: the pixels of a scene have changed since the run was started.
    """
    if not prepared.config.captures.paths:
        return
    if workdir.has_checkpoints:
        changed = trained_captures.changed(workdir.path, prepared.trained)
        if changed:
            raise UserError(
                f'The captures of {changed[0]} are not those that the run in {workdir.path} was '
                'trained on: restore the original files, or choose another --workdir.'
            )
    trained_captures.write(workdir.path, prepared.trained, prepared.config)


def _describe(config: Config, task: Task, layout: Layout) -> None:
    _log.info(
        'Training %s on %d x %s: %s, loss %s, %d steps of %d crops of %dx%d',
        config.model.name,
        layout.num_devices,
        jax.devices()[0].device_kind,
        task.description,
        task.loss_name,
        config.train.steps,
        config.data.batch_size,
        config.data.crop,
        config.data.crop,
    )
    if task.target_is_noisy:
        _log.info('The loss will not fall to 0: the noise of the targets is its lower bound.')


def _write_overview(variables: Any, file: Path) -> None:
    overview = parameter_overview.get_parameter_overview(variables, include_stats=False)
    write_text(file, overview + '\n')
    num_parameters = sum(x.size for x in jax.tree.leaves(variables['params']))
    _log.info('%s parameters, listed in %s', f'{num_parameters:,}', file)
