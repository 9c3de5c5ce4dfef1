"""The training loop: steps, logs, checkpoints and evaluations, in that order."""

import contextlib
import dataclasses
import functools
import logging
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from clu import parameter_overview

from n2n_jax import early_stop, evaluate, models, trained_captures
from n2n_jax.checkpoint import BEST_FOLDER, Checkpoints, abstract_like
from n2n_jax.config import Config
from n2n_jax.data import fixes, open_source, own_captures, single_images
from n2n_jax.data.capture_feed import CaptureFeed
from n2n_jax.data.feed import Feed, make_feed
from n2n_jax.data.realisations import realisation_feed
from n2n_jax.data.source import at_least
from n2n_jax.divergence import give_up
from n2n_jax.evaluate_captures import CaptureEvaluator
from n2n_jax.evaluate_single import SingleImageEvaluator
from n2n_jax.fine_tuning import check_start, starting_weights
from n2n_jax.fit import compile_step
from n2n_jax.memory import device_bytes, program_bytes, readable
from n2n_jax.models.weights import weights_hash
from n2n_jax.parallel import (
    Layout,
    from_main_process,
    is_main_process,
    make_layout,
    on_main_process,
)
from n2n_jax.progress import ProgressLine, duration
from n2n_jax.run_checks import check_new
from n2n_jax.run_time import RunTime
from n2n_jax.throughput import Throughput
from n2n_jax.train_step import (
    Task,
    TrainState,
    init_state,
    make_task,
)
from n2n_jax.workdir import Workdir, provenance, write_text
from n2n_jax.writers import Writer, make_writers

_log = logging.getLogger(__name__)

_ESTIMATES = ('psnr_estimate', 'psnr_estimate_input')  # of captures, without a clean image
_STEPS_PER_DISPATCH = 10  # off the CPU, where a step is short against its dispatch


class _Interrupt:
    """Turns Ctrl-C and SIGTERM into a wish that the loop can see; a second Ctrl-C ends at once.

    With several processes SIGTERM is left to JAX, which makes them agree on the step to leave at
    (see `Checkpoints.preempted`), and Ctrl-C becomes a SIGTERM.
    """

    def __init__(self) -> None:
        self.wanted = False
        self._alone = jax.process_count() == 1
        self._count = 0

    def __enter__(self) -> '_Interrupt':
        numbers = (signal.SIGINT, signal.SIGTERM) if self._alone else (signal.SIGINT,)
        try:
            self._previous = {number: signal.signal(number, self._handle) for number in numbers}
        except ValueError:  # not in the main thread: the caller minds its own signals
            self._previous = {}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: object) -> None:
        self._count += 1
        if self._count > 1:
            raise KeyboardInterrupt
        if self._alone:
            self.wanted = True
            _log.info('Stopping at the next step; once more stops at once.')
        else:
            os.kill(os.getpid(), signal.SIGTERM)


def train(config: Config, path: Path) -> bool:
    """Trains, or goes on training, in a workdir.

    Args:
      config: the experiment.
      path: the workdir; one that holds a run of the same config is resumed.

    Returns:
      True if the training is complete, False if it was interrupted (and saved).

    Raises:
      UserError: the config asks for something impossible, or files cannot be read.
      FloatingPointError: the loss or a gradient was not finite; see `n2n_jax.divergence`.
    """
    # Everything that can be wrong is looked at before anything is written or read at length.
    task = make_task(config)
    models.build(config.model)
    layout = make_layout(config.data.batch_size)
    workdir = Workdir(path)
    scenes: list[own_captures.SceneCaptures] = []
    if config.captures.paths:
        loaded = fixes.load(config.captures)
        config, scenes = own_captures.resolve(config, loaded.raw), loaded.fixed
        for sentence in loaded.done:
            _log.info('%s', sentence)
    if config.captures.single:
        warnings = single_images.check(loaded.raw, config.captures, crop=config.data.crop)
        _log.info('%s', single_images.ASSUMPTION)
        for warning in warnings:
            _log.warning('%s', warning)
    on_main_process(lambda: workdir.check(config))
    if not workdir.has_checkpoints:  # else it has started already
        check_new(config)
        check_start(config)
    open_data = functools.partial(open_captures, scenes) if scenes else _open_images
    feed, evaluator = open_data(config, layout)
    _log.info('Data: %s', feed.description)
    on_cpu = jax.default_backend() == 'cpu'
    per_dispatch = config.train.steps_per_dispatch or (1 if on_cpu else _STEPS_PER_DISPATCH)
    step_of = functools.cache(functools.partial(compile_step, config, task, feed, layout))
    if not workdir.done:
        _log.info('Compiling the training step.')
        taken = program_bytes(step_of(min(per_dispatch, _next_stop(0, config))))
        _log.info('It takes %s of %s of memory.', readable(taken), readable(device_bytes()))
    with contextlib.ExitStack() as stack:
        on_main_process(lambda: stack.enter_context(workdir.claimed(config)))
        if scenes and is_main_process():
            trained_captures.write(path, loaded, config)
        _describe(config, task, layout)
        interrupt = stack.enter_context(_Interrupt())
        checkpoints = stack.enter_context(
            Checkpoints(path, keep=max(1, config.train.keep_checkpoints))
        )
        state = _start(config, checkpoints, layout)
        checkpoints.check_room(_items(state))
        best = None
        if scenes and config.eval.in_loop and not config.captures.single:
            best = stack.enter_context(Checkpoints(path, keep=0, folder=BEST_FOLDER))
        step = int(state.step)
        writers = []
        if is_main_process():
            _write_overview(state.variables, path / 'parameters.txt')
            writers = make_writers(path, first_step=step, tensorboard=config.train.tensorboard)
        return _loop(
            config, state, step, step_of, per_dispatch, feed, evaluator, workdir, checkpoints, best,
            writers, interrupt,
        )  # fmt: skip


def _open_images(config: Config, layout: Layout) -> tuple[Feed, evaluate.Evaluator | None]:
    """Clean images, on which noise is drawn."""
    evaluator = evaluate.Evaluator(config, layout) if config.eval.in_loop else None
    skip_bad = config.data.on_bad_file == 'skip'
    source = open_source(config.data.train, skip_bad=skip_bad)
    source = at_least(source, config.data.crop, skip=skip_bad)
    if config.noise.realisations:
        return realisation_feed(source, config, layout), evaluator
    feed = make_feed(
        source, config.data, channels=config.model.channels, seed=config.seed, layout=layout
    )
    return feed, evaluator


def open_captures(
    scenes: list[own_captures.SceneCaptures], config: Config, layout: Layout
) -> tuple[CaptureFeed, CaptureEvaluator | SingleImageEvaluator | None]:
    """Captures, some of which are held out; single images, none of which are."""
    scenes = [own_captures.in_range(scene, config.model) for scene in scenes]
    evaluator: CaptureEvaluator | SingleImageEvaluator
    if config.captures.single:  # nothing can be measured on what would be held out
        train_scenes, held = scenes, 'nothing'
        evaluator = SingleImageEvaluator(config.model, scenes)
    else:
        share = config.captures.held_out
        train_scenes, held_out = own_captures.split(scenes, share, crop=config.data.crop)
        whole = len(train_scenes) < len(scenes)
        held = f'{len(held_out)} scenes' if whole else f'{share:.0%} of the width'
        evaluator = CaptureEvaluator(config.model, held_out)
    feed = CaptureFeed(
        [scene.captures_NHWC for scene in train_scenes],
        config.data,
        pairing=config.captures.pairing,
        seed=config.seed,
        layout=layout,
        masks=own_captures.masks(train_scenes),
    )
    feed.description += f'; held out: {held}'
    return feed, evaluator if config.eval.in_loop else None


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
            **restored['optimizer'],
        )
    state = jax.jit(init, out_shardings=layout.replicated)()
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
    config: Config,
    state: TrainState,
    step: int,
    step_of: Callable[[int], jax.stages.Compiled],
    per_dispatch: int,
    feed: Feed,
    evaluator: evaluate.Evaluator | CaptureEvaluator | SingleImageEvaluator | None,
    workdir: Workdir,
    checkpoints: Checkpoints,
    best: Checkpoints | None,
    writers: list[Writer],
    interrupt: _Interrupt,
) -> bool:
    num_steps, num_crops = config.train.steps, config.data.batch_size
    first_step = step
    # They decide who evaluates and who stops, which all processes have to do together.
    rows = [row for row in from_main_process(workdir.rows) if row['step'] <= first_step]
    evaluated = {row['step'] for row in rows}
    meta = {'config': dataclasses.asdict(config), 'provenance': provenance()}
    resumed = checkpoints.last_step is not None
    run_time = RunTime(checkpoints.meta(step) if resumed else None)
    pending: list[dict[str, jax.Array]] = []
    start, throughput = time.monotonic(), Throughput()
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

            due = step == num_steps or (config.eval.every and step % config.eval.every == 0)
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
                checkpoints.wait()
                progress.clear()
                _log.info('Stopped and saved at step %d; the same command goes on there.', step)
                return False
            if evaluator is not None and due and step not in evaluated and step > 0:
                progress.clear()
                variables = state.variables if state.ema is None else state.ema
                with throughput.pause():
                    report = evaluator(variables, step)
                    if best is not None:  # before the row that keeps it from being done again
                        _keep_best(best, report, step, state, meta)
                    of = evaluate.origin(config, variables)
                    evaluate.record(report, step, workdir, of)
                    rows += report.rows  # as results.json has them
                    if best is not None and best.last_step != step:
                        _log.info('The best estimate is still that of step %d.', best.last_step)
                    _write_report(report, step, writers)
            if step == num_steps:
                break
            if config.train.patience:
                count, best_step = early_stop.without_gain(rows)
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
                workdir.mark_not_done(config)  # it had stopped early, and is to go on
            num_now = min(per_dispatch, _next_stop(step, config) - step)
            with throughput.fetching(pending[-1:], num_now * num_crops):
                inputs = feed.inputs(step, num_now)
            with jax.transfer_guard('disallow'):  # nothing may cross to the host unasked
                state, metrics = step_of(num_now)(state, feed.constants, inputs)
            pending.append(metrics)
            step += num_now
            if step % config.train.log_every and step < num_steps:  # else with what is logged then
                progress.update(step, rate)

    checkpoints.wait()
    digest = weights_hash(state.variables)
    if step > first_step:  # the last weights are good if a step that begins with them is
        inputs = feed.inputs(step, num_now)
        beyond, _ = step_of(num_now)(state, feed.constants, inputs)
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


def _say_what_ships(step: int | None, rows: list[dict[str, Any]]) -> None:
    row = next((row for row in rows if row['step'] == step), None)
    if row is None:
        return
    if early_stop.worse_than_its_input(row):
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
    report: evaluate.Report,
    step: int,
    state: TrainState,
    meta: dict[str, Any],
) -> None:
    """Saves the weights that are shipped, if their estimated error is the smallest so far."""
    row, before = report.rows[0], best.last_step
    if before not in (None, step) and not early_stop.better(row, best.meta(before)):
        return
    items = {'variables': state.variables} if state.ema is None else {'ema': state.ema}
    if step != before:
        estimates = {name: row[name] for name in ('psnr_estimate', 'mse_estimate')}
        best.save(step, items, {**meta, **estimates})
        best.wait()


def _write_report(report: evaluate.Report, step: int, writers: list[Writer]) -> None:
    for writer in writers:
        for row in report.rows:
            prefix = f'{row["set"]}/{row["noise"]}'
            names = ('psnr', 'psnr_input', 'ssim', 'ssim_input', *_ESTIMATES)
            scores = {f'{prefix}/{name}': row[name] for name in names if row.get(name) is not None}
            writer.write_scalars(step, scores)
        for name, pixels in report.triptychs.items():
            writer.write_image(step, name.removesuffix('.png'), pixels)
        writer.flush()
