"""The training step: its state and its update, pure and jitted.

K steps of a dispatch, B batch, H height, W width, C channels, I channels with auxiliary planes.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax

from n2n_jax import models
from n2n_jax.data.feeds import Batch, Feed
from n2n_jax.models import planes
from n2n_jax.runtime import random_keys
from n2n_jax.runtime.config import Config, OptimConfig
from n2n_jax.runtime.parallel import Layout
from n2n_jax.train import loss_choice, losses, optimizers, schedules, skipping
from n2n_jax.train.schedules import Schedule
from n2n_jax.train.skipping import RecentLosses
from n2n_jax.train.tasks import Moment, Task


@flax.struct.dataclass
class TrainState:
    """Everything that changes during a run.

    Attributes:
      step: updates done, int32.
      variables: {'params': ..., 'batch_stats': ... if the network has any}, float32.
      ema: running average of the variables, of optim.ema_decay or the optimizer's own; or None.
      opt_state: state of the optimizer.
      failed: True after a loss or gradient that was not finite. From then on the weights, the step
        and the optimizer's counters are frozen: `step` tells which weights are bad, and good ones
        are those of earlier checkpoints.
      schedule: rate and length of the run; a step reads it and never changes it. Not part of a
        checkpoint, because it follows from the config.
      loss_arrays: what the loss reads besides images, such as the weights of a VGG; likewise.
      recent: the losses that optim.skip_above compares with; None without it.
    """

    step: jax.Array
    variables: Any
    ema: Any
    opt_state: Any
    failed: jax.Array
    schedule: Schedule
    loss_arrays: Any
    recent: RecentLosses | None = None


def loss_arrays(config: Config) -> Any:
    """Returns what the loss reads besides images, on the host; raises as `init_state`."""
    if config.optim.loss == loss_choice.AUTO:  # none of its choices needs any
        return ()
    return losses.make(config.optim.loss).arrays(config.optim.loss_weights)


def init_state(config: Config) -> TrainState:
    """Returns the state before the first step; jittable.

    Raises:
      UserError: the loss needs weights that are not given, or are of another network.
    """
    variables = models.init(config.model, random_keys.key_for(config.seed, random_keys.INIT))
    keeps_average = config.optim.ema_decay > 0 or optimizers.averages(config)
    schedule = jax.tree.map(jnp.asarray, schedules.make_schedule(config))
    return TrainState(
        step=jnp.int32(0),
        variables=variables,
        ema=jax.tree.map(jnp.copy, variables) if keeps_average else None,
        opt_state=optimizers.transformation(config, schedule).init(variables['params']),
        failed=jnp.bool_(False),
        schedule=schedule,
        loss_arrays=loss_arrays(config),
        recent=skipping.start() if config.optim.skip_above else None,
    )


Gradients = Callable[[Any, Any, Batch, jax.Array, Any], tuple[jax.Array, Any, Any]]


def make_train_step(config: Config, task: Task, feed: Feed, layout: Layout) -> jax.stages.Wrapped:
    """Returns the jitted step: (state, feed.constants, feed.inputs(...)) -> (state, metrics (K,)).

    It does one update for each step of the inputs. The state is donated.
    """
    model, shape = models.build(config.model), schedules.shape_of(config)
    gradients = _make_gradients(model, losses.make(task.loss_name), config.optim)

    def one_step(
        state: TrainState, constants: Any, inputs: Any
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        progress = state.step * state.schedule.per_step
        denoise = functools.partial(models.denoise, model, state.variables)
        now = Moment(config.seed, state.step, progress, denoise)
        pair = task.pair(feed.batch(constants, inputs), now)
        params, old_rest = state.variables['params'], _rest(state.variables)
        loss, rest, grads = gradients(params, old_rest, pair, progress, state.loss_arrays)
        grad_norm = optax.tree.norm(grads)
        metrics = {'loss': loss, 'grad_norm': grad_norm}
        num_updates = state.step
        if state.recent is None:
            failed = state.failed | ~(jnp.isfinite(loss) & jnp.isfinite(grad_norm))
            changed = _updated(config, state, grads, rest, failed)
        else:
            skipped, recent = skipping.judge(state.recent, loss, above=config.optim.skip_above)
            finite = jnp.isfinite(loss) & (jnp.isfinite(grad_norm) | skipped)
            failed = state.failed | ~finite
            changed = jax.lax.cond(
                skipped,
                lambda: {name: getattr(state, name) for name in _UPDATED},
                lambda: _updated(config, state, grads, rest, failed),
            )
            metrics['skipped'] = skipped.astype(jnp.float32)
            num_updates -= state.recent.num_skipped
            changed['recent'] = recent
        metrics['learning_rate'] = schedules.learning_rate(shape, state.schedule)(num_updates)
        step = state.step + jnp.where(failed, 0, 1)
        return dataclasses.replace(state, step=step, failed=failed, **changed), metrics

    def steps(
        state: TrainState, constants: Any, inputs: Any
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        num_steps = jax.tree.leaves(inputs)[0].shape[0]
        with (
            jax.sharding.use_abstract_mesh(layout.mesh.abstract_mesh),  # read by convolutions
            models.with_precision(config.model.precision),
        ):
            if num_steps == 1:  # outside a loop XLA may use all cores of a CPU for one convolution
                state, metrics = one_step(state, constants, jax.tree.map(lambda x: x[0], inputs))
                return state, jax.tree.map(lambda x: x[None], metrics)
            return jax.lax.scan(lambda s, x: one_step(s, constants, x), state, inputs)

    return jax.jit(steps, donate_argnums=0, out_shardings=(layout.replicated, layout.replicated))


def _make_gradients(
    model: models.Restorer, objective: losses.Objective, config: OptimConfig
) -> Gradients:
    """Returns a function that computes the loss, the other variables and the gradients.

    Args:
      model: the network.
      objective: the loss of its answers.
      config: supplies the weight of the coarse answers, and the parts that a batch is cut into.
    """
    num_parts = config.accumulate

    def loss_and_stats(
        params: Any, rest: Any, pair: Batch, progress: jax.Array, arrays: Any
    ) -> tuple[jax.Array, Any]:
        noisy_BHWI, target_BHWC, mask_BHWC = pair
        answers, rest = model.apply(
            {'params': params, **rest},
            noisy_BHWI,
            train=True,
            mutable=list(rest),
            method=model.outputs,
        )
        if model.units is not None:
            noisy_BHWC, _ = planes.split(noisy_BHWI, model.channels)
            weights_BHWC = model.units.weights(noisy_BHWC)
            mask_BHWC = weights_BHWC if mask_BHWC is None else mask_BHWC * weights_BHWC
            answers = jax.tree.map(model.units.in_units, answers)
            target_BHWC = model.units.in_units(target_BHWC)
        loss, num_values = objective(answers.image_BHWC, target_BHWC, mask_BHWC, progress, arrays)
        if config.pyramid:
            loss += config.pyramid * _coarse_loss(
                objective, answers.coarse, (target_BHWC, mask_BHWC), progress, arrays
            )
        return loss, (num_values, rest)

    grad_fn = jax.value_and_grad(loss_and_stats, has_aux=True)

    def gradients(
        params: Any, rest: Any, pair: Batch, progress: jax.Array, arrays: Any
    ) -> tuple[jax.Array, Any, Any]:
        if num_parts == 1:
            (loss, (_, rest)), grads = grad_fn(params, rest, pair, progress, arrays)
            return loss, rest, grads

        def add_part(carry: Any, part: Batch) -> tuple[Any, None]:
            sums, total, rest = carry
            (loss, (num_values, rest)), grads = grad_fn(params, rest, part, progress, arrays)
            sums = jax.tree.map(lambda a, b: a + num_values * b, sums, (loss, grads))
            return (sums, total + num_values, rest), None

        # Part i takes rows i, i + num_parts, ...: each device keeps its share of every part.
        parts = jax.tree.map(lambda x: x.reshape(-1, num_parts, *x.shape[1:]).swapaxes(0, 1), pair)
        zeros = (jnp.float32(0), jax.tree.map(jnp.zeros_like, params))
        (sums, total, rest), _ = jax.lax.scan(add_part, (zeros, jnp.float32(0), rest), parts)
        loss, grads = jax.tree.map(lambda x: x / jnp.maximum(total, 1.0), sums)
        return loss, rest, grads

    return gradients


def _coarse_loss(
    objective: losses.Objective,
    coarse: dict[int, jax.Array],
    target_and_mask: tuple[jax.Array, jax.Array | None],
    progress: jax.Array,
    arrays: Any,
) -> jax.Array:
    """Returns the sum of the losses of the coarse answers (Jiang et al. 2018, equation 2).

    Their targets are single pixels, not means of several: the mean of noisy values only keeps the
    statistic that L2 learns, and a mask would have to be averaged too.
    """
    total = jnp.float32(0)
    for stride, answer_BHWC in coarse.items():
        pick = functools.partial(_every_pixel_of, stride)
        target_BHWC, mask_BHWC = jax.tree.map(pick, target_and_mask)
        total += objective(answer_BHWC, target_BHWC, mask_BHWC, progress, arrays)[0]
    return total


def _every_pixel_of(stride: int, image_BHWC: jax.Array) -> jax.Array:
    return image_BHWC[:, ::stride, ::stride]


_UPDATED = 'variables', 'ema', 'opt_state'  # what a step learns


def _rest(variables: Any) -> dict[str, Any]:
    """Returns the variables that are not parameters."""
    return {name: tree for name, tree in variables.items() if name != 'params'}


def _updated(
    config: Config, state: TrainState, grads: Any, rest: Any, failed: jax.Array
) -> dict[str, Any]:
    """Returns the attributes `_UPDATED` of a state after an update; unless it has failed."""
    optimizer = optimizers.transformation(config, state.schedule)
    params, opt_state = _with_gradients(
        optimizer, state.variables['params'], grads, state.opt_state, failed
    )
    old_rest = _rest(state.variables)
    rest = jax.tree.map(lambda new, old: jnp.where(failed, old, new), rest, old_rest)
    variables = {'params': params, **rest}
    average = optimizers.average(config, opt_state, params)
    if average is None:
        ema = _averaged(state, variables, failed, decay=config.optim.ema_decay)
    else:
        ema = {**variables, 'params': average}
    return {'variables': variables, 'ema': ema, 'opt_state': opt_state}


def _with_gradients(
    optimizer: optax.GradientTransformation, params: Any, grads: Any, old_state: Any, failed: Any
) -> tuple[Any, Any]:
    """Returns the parameters after an update, and the optimizer's state; unless it has failed."""
    # Not a `where` over the whole state: XLA could no longer update it in place, which costs more
    # than the update itself. So the moments decay a little after a failure.
    grads = jax.tree.map(lambda g: jnp.where(failed, 0.0, g), grads)
    updates, opt_state = optimizer.update(grads, old_state, params)
    opt_state = jax.tree.map(
        lambda new, old: jnp.where(failed, old, new) if new.ndim == 0 else new,
        opt_state,
        old_state,
    )
    return jax.tree.map(lambda p, u: p + jnp.where(failed, 0.0, u), params, updates), opt_state


def _averaged(state: TrainState, variables: Any, failed: jax.Array, *, decay: float) -> Any:
    """Returns the running average of the variables; None if there is none."""
    if state.ema is None:
        return None
    # A short memory at first, or the random start would stay in the average for too long.
    now = jnp.minimum(decay, (1 + state.step) / (10 + state.step))
    now = jnp.where(failed, 1.0, now)
    return jax.tree.map(lambda a, b: now * a + (1 - now) * b, state.ema, variables)
