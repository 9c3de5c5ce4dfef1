"""The training: state, jitted step, loop.

K steps of a dispatch, B batch, H height, W width, C channels.
"""

import dataclasses
import functools
import hashlib
import logging
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
from clu import parameter_overview

from n2n_jax import corruptions, evaluate, losses, models, optim, streams
from n2n_jax.checkpoint import Checkpoints, abstract_like
from n2n_jax.config import Config
from n2n_jax.corruptions import Corruptor
from n2n_jax.data import open_source
from n2n_jax.data.feed import Feed, make_feed
from n2n_jax.data.source import at_least
from n2n_jax.errors import UserError, did_you_mean
from n2n_jax.parallel import Layout, make_layout
from n2n_jax.progress import ProgressLine, duration
from n2n_jax.workdir import Workdir, provenance, write_text
from n2n_jax.writers import Writer, make_writers

_log = logging.getLogger(__name__)

_CLEAN = 'clean'
_STEPS_PER_DISPATCH = 10  # off the CPU, where a step is short against its dispatch


@flax.struct.dataclass
class TrainState:
    """All that changes in a training.

    Attributes:
      step: updates done, int32.
      variables: {'params': ..., 'batch_stats': ... if the network has any}, float32.
      ema: running average of the variables; None if there is none.
      opt_state: of the optimizer.
      failed: True after a loss or gradient that was not finite; from then on the weights and the
        step stay as they are, so that what is left is the last good state.
    """

    step: jax.Array
    variables: Any
    ema: Any
    opt_state: Any
    failed: jax.Array


@dataclasses.dataclass(frozen=True)
class Task:
    """What a config asks for, with every name looked up.

    Attributes:
      input_corruptor: draws the network's input.
      target_corruptor: draws its target; None for clean targets.
      loss_name: a name in `losses.REGISTRY`.
    """

    input_corruptor: Corruptor
    target_corruptor: Corruptor | None
    loss_name: str

    def sample(
        self, clean_BHWC: jax.Array, *, seed: int, step: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array | None]:
        """The noisy inputs, targets and target masks of a step, independent given the images."""
        key = streams.stream(seed, streams.CORRUPTION_INPUT, step)
        noisy_BHWC = self.input_corruptor.sample(key, clean_BHWC).image_BHWC
        if self.target_corruptor is None:
            return noisy_BHWC, clean_BHWC, None
        key = streams.stream(seed, streams.CORRUPTION_TARGET, step)
        target = self.target_corruptor.sample(key, clean_BHWC)
        return noisy_BHWC, target.image_BHWC, target.mask_BHWC


def make_task(config: Config) -> Task:
    """Looks up the noise and the loss.

    Raises:
      UserError: a name or a level is wrong.
    """
    target = None if config.target_spec == _CLEAN else corruptions.parse(config.target_spec)
    loss_name = config.optim.loss
    if loss_name == 'auto':
        loss_name = 'l2' if target is None else target.loss
    elif loss_name not in losses.REGISTRY:
        raise UserError(
            f"Unknown optim.loss '{loss_name}'. {did_you_mean(loss_name, losses.REGISTRY)}"
        )
    if target is not None and loss_name == 'l2' and not target.zero_mean:
        _log.warning(
            "Targets with '%s' do not have the clean image as their mean: L2 will learn their "
            'mean. optim.loss=%s suits them.',
            target.spec,
            target.loss,
        )
    return Task(corruptions.parse(config.noise.input), target, loss_name)


def init_state(config: Config) -> TrainState:
    """The state before the first step; jittable."""
    variables = models.init(config.model, streams.stream(config.seed, streams.INIT))
    return TrainState(
        step=jnp.int32(0),
        variables=variables,
        ema=jax.tree.map(jnp.copy, variables) if config.optim.ema_decay > 0 else None,
        opt_state=optim.optimizer(config).init(variables['params']),
        failed=jnp.bool_(False),
    )


def make_train_step(
    config: Config, task: Task, feed: Feed, layout: Layout
) -> Callable[[TrainState, Any, Any], tuple[TrainState, dict[str, jax.Array]]]:
    """The jitted step: (state, feed.constants, feed.inputs(...)) -> (state, metrics (K,)).

    It does as many updates as the inputs are for. The state is donated.
    """
    model = models.build(config.model)
    loss_fn = losses.REGISTRY[task.loss_name]
    optimizer = optim.optimizer(config)
    schedule = optim.learning_rate_schedule(config)
    num_parts = config.optim.accumulate

    def loss_and_stats(
        params: Any, rest: Any, pair: tuple[jax.Array, ...], progress: jax.Array
    ) -> tuple[jax.Array, Any]:
        noisy_BHWC, target_BHWC, mask_BHWC = pair
        denoised_BHWC, rest = model.apply(
            {'params': params, **rest}, noisy_BHWC, train=True, mutable=list(rest)
        )
        return loss_fn(denoised_BHWC, target_BHWC, mask_BHWC, progress), rest

    grad_fn = jax.value_and_grad(loss_and_stats, has_aux=True)

    def gradients(
        params: Any, rest: Any, pair: tuple[jax.Array, ...], progress: jax.Array
    ) -> tuple[jax.Array, Any, Any]:
        if num_parts == 1:
            (loss, rest), grads = grad_fn(params, rest, pair, progress)
            return loss, rest, grads

        def add_part(carry: Any, part: tuple[jax.Array, ...]) -> tuple[Any, None]:
            loss_sum, rest, grad_sum = carry
            (loss, rest), grads = grad_fn(params, rest, part, progress)
            return (loss_sum + loss, rest, jax.tree.map(jnp.add, grad_sum, grads)), None

        # Part i takes rows i, i + num_parts, ...: each device keeps its share of every part.
        parts = jax.tree.map(lambda x: x.reshape(-1, num_parts, *x.shape[1:]).swapaxes(0, 1), pair)
        zeros = jax.tree.map(jnp.zeros_like, params)
        (loss, rest, grads), _ = jax.lax.scan(add_part, (jnp.float32(0), rest, zeros), parts)
        return loss / num_parts, rest, jax.tree.map(lambda g: g / num_parts, grads)

    def one_step(
        state: TrainState, constants: Any, inputs: Any
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        clean_BHWC = feed.clean(constants, inputs)
        pair = task.sample(clean_BHWC, seed=config.seed, step=state.step)
        old_rest = {name: tree for name, tree in state.variables.items() if name != 'params'}
        params = state.variables['params']
        progress = state.step / config.train.steps
        loss, rest, grads = gradients(params, old_rest, pair, progress)
        grad_norm = optax.tree.norm(grads)
        failed = state.failed | ~(jnp.isfinite(loss) & jnp.isfinite(grad_norm))

        # Not a `where` over the whole state: XLA could not update it in place any more, which
        # costs more than the update itself. The moments decay a little after a failure.
        grads = jax.tree.map(lambda g: jnp.where(failed, 0.0, g), grads)
        updates, opt_state = optimizer.update(grads, state.opt_state, params)
        params = jax.tree.map(lambda p, u: p + jnp.where(failed, 0.0, u), params, updates)
        rest = jax.tree.map(lambda new, old: jnp.where(failed, old, new), rest, old_rest)
        variables = {'params': params, **rest}
        ema = state.ema
        if ema is not None:
            # A short memory at first, or the random start would stay in the average for long.
            decay = jnp.minimum(config.optim.ema_decay, (1 + state.step) / (10 + state.step))
            decay = jnp.where(failed, 1.0, decay)
            ema = jax.tree.map(lambda a, b: decay * a + (1 - decay) * b, ema, variables)
        metrics = {'loss': loss, 'grad_norm': grad_norm, 'learning_rate': schedule(state.step)}
        step = state.step + jnp.where(failed, 0, 1)
        return TrainState(step, variables, ema, opt_state, failed), metrics

    def steps(
        state: TrainState, constants: Any, inputs: Any
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        num_steps = jax.tree.leaves(inputs)[0].shape[0]
        if num_steps == 1:  # outside a loop XLA may use all cores of a CPU for one convolution
            state, metrics = one_step(state, constants, jax.tree.map(lambda x: x[0], inputs))
            return state, jax.tree.map(lambda x: x[None], metrics)
        return jax.lax.scan(lambda s, x: one_step(s, constants, x), state, inputs)

    return jax.jit(steps, donate_argnums=0, out_shardings=(layout.replicated, layout.replicated))


def weights_hash(variables: Any) -> str:
    """SHA-256 over all weights, in the order of their names: equal runs have equal hashes."""
    digest = hashlib.sha256()
    for path, value in jax.tree_util.tree_leaves_with_path(variables):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.asarray(value).tobytes())
    return digest.hexdigest()


class _Interrupt:
    """Turns Ctrl-C and SIGTERM into a wish that the loop can see; a second one ends at once."""

    def __init__(self) -> None:
        self.wanted = False

    def __enter__(self) -> '_Interrupt':
        try:
            self._previous = {
                number: signal.signal(number, self._handle)
                for number in (signal.SIGINT, signal.SIGTERM)
            }
        except ValueError:  # not in the main thread: the caller minds its own signals
            self._previous = {}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: object) -> None:
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = True


def train(config: Config, path: Path) -> bool:
    """Trains, or goes on training, in a workdir.

    Args:
      config: the experiment.
      path: the workdir; one that holds a run of the same config is resumed.

    Returns:
      True if the training is complete, False if it was interrupted (and saved).

    Raises:
      UserError: the config asks for something impossible, or files cannot be read.
      FloatingPointError: the loss or a gradient was not finite; the last good state is saved.
    """
    # Everything that can be wrong is looked at before anything is written or read at length.
    task = make_task(config)
    models.build(config.model)
    layout = make_layout(config.data.batch_size)
    evaluator = evaluate.Evaluator(config, layout) if config.eval.in_loop else None
    workdir = Workdir(path)
    workdir.claim(config)
    skip_bad = config.data.on_bad_file == 'skip'
    source = open_source(config.data.train, skip_bad=skip_bad)
    source = at_least(source, config.data.crop, skip=skip_bad)
    feed = make_feed(
        source, config.data, channels=config.model.channels, seed=config.seed, layout=layout
    )
    _describe(config, task, layout)

    with Checkpoints(path, keep=config.train.keep_checkpoints) as checkpoints:
        state = _start(config, checkpoints, layout)
        step = int(state.step)
        write_text(
            path / 'parameters.txt',
            parameter_overview.get_parameter_overview(state.variables, include_stats=False) + '\n',
        )
        num_parameters = sum(x.size for x in jax.tree.leaves(state.variables['params']))
        _log.info('%s parameters, listed in %s', f'{num_parameters:,}', path / 'parameters.txt')
        writers = make_writers(path, first_step=step, tensorboard=config.train.tensorboard)
        with _Interrupt() as interrupt:
            return _loop(
                config, state, step, task, feed, layout, evaluator, workdir, checkpoints, writers,
                interrupt,
            )  # fmt: skip


def _describe(config: Config, task: Task, layout: Layout) -> None:
    target = 'clean images' if task.target_corruptor is None else task.target_corruptor.spec
    _log.info(
        'Training %s on %d x %s: input %s, target %s, loss %s, %d steps of %d crops of %dx%d',
        config.model.name,
        layout.num_devices,
        jax.devices()[0].device_kind,
        task.input_corruptor.spec,
        target,
        task.loss_name,
        config.train.steps,
        config.data.batch_size,
        config.data.crop,
        config.data.crop,
    )
    if task.target_corruptor is not None:
        _log.info('The loss will not fall to 0: its floor is the noise of the targets.')


def _start(config: Config, checkpoints: Checkpoints, layout: Layout) -> TrainState:
    """The state to start from: the newest checkpoint, else new weights, pretrained if asked."""
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
    if config.model.encoder_weights:
        variables = models.with_encoder(Path(config.model.encoder_weights), state.variables)
        variables = jax.device_put(variables, layout.replicated)
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
    task: Task,
    feed: Feed,
    layout: Layout,
    evaluator: evaluate.Evaluator | None,
    workdir: Workdir,
    checkpoints: Checkpoints,
    writers: list[Writer],
    interrupt: _Interrupt,
) -> bool:
    train_step = make_train_step(config, task, feed, layout)
    on_cpu = jax.default_backend() == 'cpu'
    per_dispatch = config.train.steps_per_dispatch or (1 if on_cpu else _STEPS_PER_DISPATCH)
    num_steps, num_crops = config.train.steps, config.data.batch_size
    first_step = step
    evaluated = {row['step'] for row in workdir.rows()}
    meta = {'config': dataclasses.asdict(config), 'provenance': provenance()}
    pending: list[dict[str, jax.Array]] = []
    start = interval_start = time.monotonic()
    pause_seconds = 0.0  # spent on evaluations and saves since interval_start
    rate = ''

    def save(step: int) -> None:
        checkpoints.save(step, _items(state), meta)

    with ProgressLine('step', num_steps) as progress:
        # The order is a contract: at step i the state holds i updates, and the log, the evaluation
        # and the checkpoint of step i all mean that state.
        while True:
            if step > first_step and (step % config.train.log_every == 0 or step == num_steps):
                values = [jax.device_get(metrics) for metrics in pending]
                means = {
                    name: float(np.mean(np.concatenate([value[name] for value in values])))
                    for name in values[0]
                }
                if bool(state.failed):
                    _give_up(config, state, step, save, checkpoints)
                seconds = time.monotonic() - interval_start - pause_seconds
                num_interval = sum(len(value['loss']) for value in values)
                means['images_per_second'] = num_interval * num_crops / seconds
                for writer in writers:
                    writer.write_scalars(step, means)
                    writer.flush()
                rate = f'loss {means["loss"]:.5f}  {means["images_per_second"]:.1f} img/s'
                pending, interval_start, pause_seconds = [], time.monotonic(), 0.0
                progress.update(step, rate)

            pause_start = time.monotonic()
            due = step == num_steps or (config.eval.every and step % config.eval.every == 0)
            if evaluator is not None and due and step not in evaluated and step > 0:
                progress.clear()
                variables = state.variables if state.ema is None else state.ema
                report = evaluator(variables, step)
                evaluate.record(report, step, workdir)
                _write_report(report, step, writers)
            leaving = interrupt.wanted or checkpoints.preempted(step)
            cadence = step % config.train.checkpoint_every == 0 or step == num_steps
            if step != checkpoints.last_step and (leaving or (cadence and step > first_step)):
                save(step)
            if leaving and step < num_steps:
                checkpoints.wait()
                progress.clear()
                _log.info('Stopped and saved at step %d; the same command goes on there.', step)
                return False
            if step == num_steps:
                break
            pause_seconds += time.monotonic() - pause_start

            num_now = min(per_dispatch, _next_stop(step, config) - step)
            inputs = feed.inputs(step, num_now)
            with jax.transfer_guard('disallow'):  # nothing may cross to the host unasked
                state, metrics = train_step(state, feed.constants, inputs)
            pending.append(metrics)
            step += num_now
            progress.update(step, rate)

    checkpoints.wait()
    digest = weights_hash(state.variables)
    workdir.mark_done({'step': step, 'weights_sha256': digest, **meta})
    _log.info(
        'Trained %d steps in %s. Weights %s.\nRun: %s',
        step - first_step,
        duration(time.monotonic() - start),
        digest[:16],
        workdir.path,
    )
    return True


def _write_report(report: evaluate.Report, step: int, writers: list[Writer]) -> None:
    for writer in writers:
        for row in report.rows:
            prefix = f'{row["set"]}/{row["noise"]}'
            names = ('psnr', 'psnr_input', 'ssim', 'ssim_input')
            writer.write_scalars(step, {f'{prefix}/{name}': row[name] for name in names})
        for name, pixels in report.triptychs.items():
            writer.write_image(step, name.removesuffix('.png'), pixels)
        writer.flush()


def _give_up(
    config: Config,
    state: TrainState,
    step: int,
    save: Callable[[int], None],
    checkpoints: Checkpoints,
) -> None:
    """Saves the last good state and raises."""
    last_good = int(state.step)
    if last_good != checkpoints.last_step:
        save(last_good)
        checkpoints.wait()
    raise FloatingPointError(
        f'The loss or a gradient was not finite at step {last_good + 1} (seen at step {step}). The '
        f'last good state, step {last_good}, is saved. Start again in another --workdir with a '
        f'lower optim.learning_rate than {config.optim.learning_rate:g}, or with '
        'optim.clip_norm=1.'
    )
