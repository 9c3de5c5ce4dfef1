"""The training loop: steps, logs, checkpoints and evaluations, in that order."""

import contextlib
import dataclasses
import functools
import logging
import os
import signal
import time
from pathlib import Path
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from clu import parameter_overview

from n2n_jax import models
from n2n_jax.captures import trained_captures
from n2n_jax.evaluate.report import Report, origin, record
from n2n_jax.models.weights import weights_hash
from n2n_jax.runtime import interrupts
from n2n_jax.runtime.checkpoint import BEST_FOLDER, Checkpoints, abstract_like
from n2n_jax.runtime.config import Config
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.parallel import Layout, from_main_process, is_main_process, on_main_process
from n2n_jax.runtime.progress import ProgressLine, duration
from n2n_jax.runtime.result_rows import IN_NOISE
from n2n_jax.runtime.workdir import Workdir, provenance, write_text
from n2n_jax.train import early_stopping
from n2n_jax.train.curves import Writer, make_writers
from n2n_jax.train.divergence import LossWatch, give_up
from n2n_jax.train.fine_tuning import check_start, starting_weights
from n2n_jax.train.pace import Pace
from n2n_jax.train.prepared import Prepared, new_state, placed_plan, prepare
from n2n_jax.train.run_checks import check_new
from n2n_jax.train.run_time import RunTime
from n2n_jax.train.step import TrainState, init_state
from n2n_jax.train.tasks import Task
from n2n_jax.train.throughput import Throughput

_log = logging.getLogger(__name__)

_ESTIMATES = ('psnr_estimate', 'psnr_estimate_input')  # of captures, without a clean image


class _Interrupt:
    """Turns Ctrl-C and its like into a wish that the loop can see; a second Ctrl-C ends at once.

    With several processes SIGTERM is left to JAX, which makes them agree on the step to leave at
    (see `Checkpoints.preempted`), and Ctrl-C becomes a SIGTERM.

    Attributes:
      wanted: true once the run is to stop.
      heeded: set by the loop when it has. Else the wish is passed on to the caller at the end.
    """

    def __init__(self) -> None:
        self.wanted = self.heeded = False
        self._alone = jax.process_count() == 1
        self._count = 0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in interrupts.NUMBERS if self._alone else (signal.SIGINT,):
            handler = signal.getsignal(number)
            if handler != signal.SIG_IGN and interrupts.is_main_thread():
                self._previous[number] = handler
                signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        if self.wanted and not self.heeded and kind is None:  # it came after the last step
            signal.raise_signal(signal.SIGINT)

    def _handle(self, number: int, frame: object) -> None:
        # A terminal that goes away is told by the shell and by the kernel: that is no second wish.
        self._count += number != getattr(signal, 'SIGHUP', None)
        if self._count > 1:
            raise KeyboardInterrupt
        if self._alone:
            self.wanted = True
            _log.info('Stopping at the next step; once more stops at once.')
        else:
            os.kill(os.getpid(), signal.SIGTERM)


def train(
    config: Config, path: Path, *, prepared: Prepared | None = None, pace: Pace | None = None
) -> bool:
    """Trains in a workdir, or resumes the run that is there.

    Args:
      config: the experiment.
      path: the workdir; one that holds a run of the same config is resumed, and extended if that is
        complete and the config has more steps.
      prepared: what `prepare` made of the config, if that has been done.
      pace: the time to keep to by changing the number of steps; None: none.

    Returns:
      True if the training is complete, False if it was interrupted (and saved).

    Raises:
      UserError: the config asks for something impossible, or files cannot be read.
      FloatingPointError: the loss or a gradient was not finite; see `n2n_jax.train.divergence`.
    """
    workdir = Workdir(path)

    def check(resolved: Config) -> None:
        on_main_process(lambda: workdir.check(resolved))
        if not from_main_process(lambda: workdir.has_checkpoints):  # else it has started already
            check_new(resolved)
            check_start(resolved)

    on_main_process(workdir.check_free)
    if prepared is None:
        prepared = prepare(config, check=check)
        prepared = prepared.settled(prepared.config)
    else:
        check(prepared.config)
    config = prepared.config
    _log.info('Data: %s', prepared.feed.description)
    if not from_main_process(lambda: workdir.done):
        prepared.step_of(min(prepared.per_dispatch, _next_stop(0, config)))
    with contextlib.ExitStack() as stack:
        on_main_process(lambda: stack.enter_context(workdir.claimed(config)))
        on_main_process(lambda: _keep_captures(prepared, workdir))
        _describe(config, prepared.task, prepared.layout)
        interrupt = stack.enter_context(_Interrupt())
        checkpoints = stack.enter_context(
            Checkpoints(path, keep=max(1, config.train.keep_checkpoints))
        )
        state = _start(config, checkpoints, prepared.layout)
        checkpoints.check_room(_items(state))
        best = None
        if config.captures.paths and config.eval.in_loop and not config.captures.single:
            best = stack.enter_context(Checkpoints(path, keep=0, folder=BEST_FOLDER))
        step = int(state.step)
        writers: list[Writer] = []

        def write_beginning() -> None:
            _write_overview(state.variables, path / 'parameters.txt')
            made = make_writers(path, first_step=step, tensorboard=config.train.tensorboard)
            writers.extend(made)

        on_main_process(write_beginning)
        return _loop(prepared, state, step, workdir, checkpoints, best, writers, interrupt, pace)


def _keep_captures(prepared: Prepared, workdir: Workdir) -> None:
    """Writes down what the run is trained on; a run does not go on with other pixels.

    Raises:
      UserError: a scene of the run holds other pixels than when it was begun.
    """
    if not prepared.config.captures.paths:
        return
    if workdir.has_checkpoints:
        changed = trained_captures.changed(workdir.path, prepared.trained)
        if changed:
            raise UserError(
                f'The captures of {changed[0]} are not those that the run in {workdir.path} was '
                'trained on: bring those back, or choose another --workdir.'
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
        _log.info('The loss will not fall to 0: its floor is the noise of the targets.')


def _write_overview(variables: Any, file: Path) -> None:
    overview = parameter_overview.get_parameter_overview(variables, include_stats=False)
    write_text(file, overview + '\n')
    num_parameters = sum(x.size for x in jax.tree.leaves(variables['params']))
    _log.info('%s parameters, listed in %s', f'{num_parameters:,}', file)


def _start(config: Config, checkpoints: Checkpoints, layout: Layout) -> TrainState:
    """The state to start from: the newest checkpoint, else new weights, or those asked for."""
    init = functools.partial(init_state, config)
    step = checkpoints.last_step
    if step is not None:
        abstract = abstract_like(jax.eval_shape(init), layout.replicated)
        restored = checkpoints.restore(step, _items(abstract))
        _log.info('Resumed at step %d.', step)
        return TrainState(
            variables=restored['variables'],
            ema=restored.get('ema'),
            failed=layout.place(np.array(False), batch_axis=None),
            plan=placed_plan(config, layout),
            **restored['optimizer'],
        )
    state = new_state(config, layout)
    variables = None
    if config.model.init_from:
        variables = starting_weights(config, layout.replicated)
    elif config.model.encoder_weights:
        variables = models.with_encoder(Path(config.model.encoder_weights), state.variables)
        variables = jax.device_put(variables, layout.replicated)
    else:
        _log.info('Starting from random weights.')
    if variables is not None:
        ema = None if state.ema is None else jax.tree.map(jnp.copy, variables)
        state = state.replace(variables=variables, ema=ema)
    return state


def _items(state: TrainState) -> dict[str, Any]:
    """The state as the items of a checkpoint: what is shipped lies apart from the rest."""
    items = {
        'variables': state.variables,
        'optimizer': {'step': state.step, 'opt_state': state.opt_state},
    }
    return items if state.ema is None else {**items, 'ema': state.ema}


def _next_stop(step: int, config: Config) -> int:
    """The next step at which the loop has something to do besides training."""
    cadences = [config.train.log_every, config.train.checkpoint_every, config.eval.every]
    stops = [step - step % every + every for every in cadences if every]
    return min([config.train.steps, *stops])


def _loop(
    prepared: Prepared,
    state: TrainState,
    step: int,
    workdir: Workdir,
    checkpoints: Checkpoints,
    best: Checkpoints | None,
    writers: list[Writer],
    interrupt: _Interrupt,
    pace: Pace | None,
) -> bool:
    config, feed, evaluator = prepared.config, prepared.feed, prepared.evaluator
    num_steps, num_crops = config.train.steps, config.data.batch_size
    first_step = step
    # They decide who evaluates and who stops, which all processes have to do together.
    rows = [row for row in from_main_process(workdir.rows) if row['step'] <= first_step]
    evaluated = {row['step'] for row in rows}
    meta = {'config': dataclasses.asdict(config), 'provenance': provenance()}
    resumed = checkpoints.last_step is not None
    run_time = RunTime(checkpoints.meta(step) if resumed else None)
    pending: list[dict[str, jax.Array]] = []
    start, throughput, loss_watch = time.monotonic(), Throughput(), LossWatch()
    if pace is not None:
        pace.start()
    asked_up_to = step - 1
    rate = ''
    ended = 'all steps done'

    def save(step: int) -> None:
        if bool(state.failed):  # what is called `step` would be an earlier state
            give_up(config, int(state.step), step, checkpoints, best)
        checkpoints.save(step, _items(state), {**meta, **run_time.as_dict()})

    with ProgressLine('step', num_steps) as progress:
        # The order is a contract: at step i the state holds i updates, and the log, the checkpoint
        # and the evaluation of step i all mean that state.
        while True:
            if step > first_step and (step % config.train.log_every == 0 or step == num_steps):
                values = [jax.device_get(metrics) for metrics in pending]
                means = {
                    name: float(np.mean(np.concatenate([value[name] for value in values])))
                    for name in values[0]
                }
                if bool(state.failed):
                    give_up(config, int(state.step), step, checkpoints, best)
                means.update(throughput.finish())
                for writer in writers:
                    writer.write_scalars(step, means)
                    writer.flush()
                rate = (
                    f'loss {means["loss"]:.5f}  {means["images_per_second"]:.1f} img/s '
                    f'({means["data_wait"]:.0%} waiting for data)'
                )
                pending = []
                progress.update(step, rate)
                loss_watch.see(step, means['loss'], config)

            due = step == num_steps or (config.eval.every and step % config.eval.every == 0)
            if pace is not None and due and step < num_steps and evaluated:
                # A cadence that has just changed may meet the last evaluation.
                due = step - max(evaluated) >= config.eval.every / 2
            cadence = step % config.train.checkpoint_every == 0 or step == num_steps
            if (due or cadence or interrupt.wanted) and bool(state.failed):  # waits for the steps
                give_up(config, int(state.step), step, checkpoints, best)
            # Asked for every step, in every process: JAX names one step at which all leave.
            asked = [checkpoints.preempted(s) for s in range(asked_up_to + 1, step + 1)]
            asked_up_to = step
            leaving = interrupt.wanted or any(asked)
            # Saved ahead of the evaluation, which may fail and must not cost the training.
            wanted = leaving or ((cadence or due) and step > first_step)
            if wanted and step != checkpoints.last_step:
                with throughput.pause():
                    save(step)
            if leaving and step < num_steps:
                interrupt.heeded = True
                checkpoints.wait()
                progress.clear()
                _log.info('Stopped and saved at step %d; the same command goes on there.', step)
                return False
            if evaluator is not None and due and step not in evaluated and step > 0:
                progress.rest(step, rate)
                variables = state.variables if state.ema is None else state.ema
                evaluated.add(step)
                with throughput.pause():
                    with contextlib.nullcontext() if pace is None else pace.evaluating():
                        report = evaluator(variables, step)
                    if best is not None:  # before the row that keeps it from being done again
                        _keep_best(best, report, step, state, meta)
                    of = origin(config, variables)
                    record(report, step, workdir, of)
                    rows += report.rows  # as results.json has them
                    if best is not None and best.last_step != step:
                        _log.info('The best estimate is still that of step %d.', best.last_step)
                    _write_report(report, step, writers)
                if pace is not None:
                    config = _in_time(config, pace, step, workdir)
                    if config.train.steps != num_steps:
                        num_steps, meta['config'] = config.train.steps, dataclasses.asdict(config)
                        state = state.replace(plan=placed_plan(config, prepared.layout))
                        progress.end_at(num_steps)
            if step == num_steps:
                break
            if config.train.patience:
                since = [row for row in rows if row['step'] > config.train.patience_from]
                count, best_step = early_stopping.without_gain(since)
                if count >= config.train.patience:
                    ended = f'no gain in {count} evaluations since step {best_step}'
                    progress.clear()
                    _log.info(
                        'Stopped early at step %d of %d: %s. With patience 0 it goes on.',
                        step,
                        num_steps,
                        ended,
                    )
                    break

            if step == first_step and is_main_process():
                if workdir.done:
                    _log.info(
                        'The run was complete at step %d. It is extended to %d with its '
                        'optimizer; the learning rate is that of a run of this length.',
                        step,
                        num_steps,
                    )
                workdir.mark_not_done(config)
            num_now = min(prepared.per_dispatch, _next_stop(step, config) - step)
            with throughput.fetching(pending[-1:], num_now * num_crops):
                inputs = feed.inputs(step, num_now)
            with jax.transfer_guard('disallow'):  # nothing may cross to the host unasked
                state, metrics = prepared.step_of(num_now)(state, feed.constants, inputs)
            pending.append(metrics)
            # At most two dispatches ahead of the device, so that the line and Ctrl-C mean now.
            jax.block_until_ready(pending[-2:-1])
            step += num_now
            if step % config.train.log_every and step < num_steps:  # else with what is logged then
                progress.update(step, rate)

    checkpoints.wait()
    digest = weights_hash(state.variables)
    if step > first_step:  # the last weights are good if a step that begins with them is
        inputs = feed.inputs(step, num_now)
        beyond, _ = prepared.step_of(num_now)(state, feed.constants, inputs)
        if bool(beyond.failed) and int(beyond.step) == step:
            give_up(config, step, step, checkpoints, best)
    # What was trained earlier keeps the command, commit and date that it was trained by.
    meta = {**meta, **run_time.as_dict()} if step > first_step else checkpoints.meta(step)
    if is_main_process():
        workdir.mark_done({'step': step, 'ended': ended, 'weights_sha256': digest, **meta})
    _log.info(
        'Trained %d steps in %s. Weights %s.\nRun: %s',
        step - first_step,
        duration(time.monotonic() - start),
        digest[:16],
        workdir.path,
    )
    if best is not None:
        _say_what_ships(best.last_step, rows)
    return True


def _in_time(config: Config, pace: Pace, step: int, workdir: Workdir) -> Config:
    """The config with as many steps as fit into the time; another number is said and saved."""
    changed = pace.replanned(config, step)
    if changed is not config:
        _log.info(
            'Steps take %s than when the run was planned: it will have %d in place of %d.',
            'longer' if changed.train.steps < config.train.steps else 'less time',
            changed.train.steps,
            config.train.steps,
        )
        workdir.keep(changed)
    return changed


def _say_what_ships(step: int | None, rows: list[dict[str, Any]]) -> None:
    row = next((row for row in rows if row['step'] == step), None)
    if row is None:
        return
    if early_stopping.worse_than_its_input(row):
        _log.warning(
            'By the estimate the weights of step %d are the least bad, and no better than the '
            'captures as they are.',
            step,
        )
        return
    _log.info('The weights of step %d are the best by the estimate: they are used.', step)
    if row['psnr_estimate'] is None:
        _log.info('Their error is too small to be measured.')


def _keep_best(
    best: Checkpoints,
    report: Report,
    step: int,
    state: TrainState,
    meta: dict[str, Any],
) -> None:
    """Saves the weights that are shipped, if their estimated error is the smallest so far."""
    row, before = report.rows[0], best.last_step
    if before not in (None, step) and not early_stopping.better(row, best.meta(before)):
        return
    items = {'variables': state.variables} if state.ema is None else {'ema': state.ema}
    if step != before:
        names = 'psnr_estimate', 'mse_estimate', IN_NOISE
        estimates = {name: row[name] for name in names if name in row}
        best.save(step, items, {**meta, **estimates})
        best.wait()


def _write_report(report: Report, step: int, writers: list[Writer]) -> None:
    for writer in writers:
        for row in report.rows:
            prefix = f'{row["set"]}/{row["noise"]}'
            names = ('psnr', 'psnr_input', 'ssim', 'ssim_input', *_ESTIMATES)
            scores = {f'{prefix}/{name}': row[name] for name in names if row.get(name) is not None}
            writer.write_scalars(step, scores)
        for name, pixels in report.triptychs.items():
            writer.write_image(step, name.removesuffix('.png'), pixels)
        writer.flush()
