"""The training step: its state, its noisy pairs, its update; pure and jitted.

K steps of a dispatch, B batch, H height, W width, C channels.
"""

import dataclasses
import functools
import logging
from collections.abc import Callable
from typing import Any, Protocol

import flax
import jax
import jax.numpy as jnp
import optax

from n2n_jax import corruptions, models
from n2n_jax.corruptions import Corruptor
from n2n_jax.data.feeds.feed import Feed
from n2n_jax.runtime import streams
from n2n_jax.runtime.config import CLEAN, Config
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.parallel import Layout
from n2n_jax.train import loss_choice, losses, neighbor_pairs, optimizers

_log = logging.getLogger(__name__)

# Noisy inputs, targets and the targets' masks, all (B, H, W, C); no mask: None.
Pair = tuple[jax.Array, jax.Array, jax.Array | None]
# Images (B, H, W, C) to the same by the weights that a step begins with; no gradient goes there.
Denoise = Callable[[jax.Array], jax.Array]


@flax.struct.dataclass
class TrainState:
    """All that changes in a training.

    Attributes:
      step: updates done, int32.
      variables: {'params': ..., 'batch_stats': ... if the network has any}, float32.
      ema: running average of the variables; None if there is none.
      opt_state: of the optimizer.
      failed: True after a loss or gradient that was not finite; from then on the weights, the step
        and the optimizer's counters stay as they are: `step` tells which weights are bad, and the
        good ones are those of earlier checkpoints.
      plan: rate and length of the run, which a step reads and leaves as they are. Not a part of
        checkpoints: the config of a run says it.
    """

    step: jax.Array
    variables: Any
    ema: Any
    opt_state: Any
    failed: jax.Array
    plan: optimizers.Plan


class Task(Protocol):
    """Where the pairs of a step come from, and the loss that they need.

    Attributes:
      loss_name: a name in `losses.REGISTRY`.
      description: for the log.
      target_is_noisy: whether the loss has a floor above 0.
    """

    loss_name: str
    description: str
    target_is_noisy: bool

    def pair(
        self,
        feed: Any,
        constants: Any,
        inputs: Any,
        *,
        seed: int,
        step: jax.Array,
        progress: jax.Array,
        denoise: Denoise,
    ) -> Pair:
        """The noisy inputs, targets and target masks of a step; progress: the share done."""


@dataclasses.dataclass(frozen=True)
class SyntheticNoise:
    """Noise that is drawn on clean crops, in the step.

    Attributes:
      input_corruptor: draws the network's input.
      target_corruptor: draws its target; None for clean targets.
      loss_name: a name in `losses.REGISTRY`.
    """

    input_corruptor: Corruptor
    target_corruptor: Corruptor | None
    loss_name: str

    @property
    def description(self) -> str:
        """For the log."""
        target = 'clean images' if self.target_corruptor is None else self.target_corruptor.spec
        return f'input {self.input_corruptor.spec}, target {target}'

    @property
    def target_is_noisy(self) -> bool:
        """Whether the loss has a floor above 0."""
        return self.target_corruptor is not None

    def pair(
        self,
        feed: Any,
        constants: Any,
        inputs: Any,
        *,
        seed: int,
        step: jax.Array,
        progress: jax.Array,
        denoise: Denoise,
    ) -> Pair:
        """Draws on the clean crops of `feed`."""
        del progress, denoise
        return self.sample(feed.clean(constants, inputs), seed=seed, step=step)

    def sample(self, clean_BHWC: jax.Array, *, seed: int, step: jax.Array) -> Pair:
        """The noisy inputs, targets and target masks of a step, independent given the images."""
        key = streams.stream(seed, streams.CORRUPTION_INPUT, step)
        noisy_BHWC = self.input_corruptor.sample(key, clean_BHWC).image_BHWC
        if self.target_corruptor is None:
            return noisy_BHWC, clean_BHWC, None
        key = streams.stream(seed, streams.CORRUPTION_TARGET, step)
        target = self.target_corruptor.sample(key, clean_BHWC)
        return noisy_BHWC, target.image_BHWC, target.mask_BHWC


class _HeldPairs:
    """For tasks whose noise lies in the images that the feed holds."""

    def pair(
        self,
        feed: Any,
        constants: Any,
        inputs: Any,
        *,
        seed: int,
        step: jax.Array,
        progress: jax.Array,
        denoise: Denoise,
    ) -> Pair:
        """What the feed holds; nothing is drawn."""
        del seed, step, progress, denoise
        return *feed.pair(constants, inputs), feed.target_mask(constants, inputs)


@dataclasses.dataclass(frozen=True)
class FixedNoise(_HeldPairs, SyntheticNoise):
    """Noise that was drawn once on the whole images, see `n2n_jax.data.feeds.fixed_noise`.

    Attributes:
      realisations: noisy versions of each image.
    """

    realisations: int = 0

    @property
    def description(self) -> str:
        """For the log."""
        num = self.realisations
        words = f'{num} fixed noisy version{"s" * (num > 1)} of each image'
        return f'{super().description}, {words}'


@dataclasses.dataclass(frozen=True)
class OwnCaptures(_HeldPairs):
    """Pairs of captures, as they were taken.

    Attributes:
      loss_name: a name in `losses.REGISTRY`.
      pairing: see `n2n_jax.data.feeds.capture_feed`.
    """

    loss_name: str
    pairing: str
    target_is_noisy = True

    @property
    def description(self) -> str:
        """For the log."""
        return f'captures, {self.pairing}'


@dataclasses.dataclass(frozen=True)
class SingleImages:
    """Pairs of neighboring pixels of one image: see `n2n_jax.train.neighbor_pairs`."""

    loss_name = 'masked_l2'
    description = 'single images, pairs of neighboring pixels'
    target_is_noisy = True

    def pair(
        self,
        feed: Any,
        constants: Any,
        inputs: Any,
        *,
        seed: int,
        step: jax.Array,
        progress: jax.Array,
        denoise: Denoise,
    ) -> Pair:
        """Two images of half the size; the target is corrected for showing another place."""
        noisy_BHWC = feed.captures(constants, inputs)
        key = streams.stream(seed, streams.NEIGHBORS, step)
        choice_Bhw = neighbor_pairs.choose(key, *noisy_BHWC.shape[:3])
        first_BhwC, second_BhwC = neighbor_pairs.split(noisy_BHWC, choice_Bhw)
        denoised_first, denoised_second = neighbor_pairs.split(denoise(noisy_BHWC), choice_Bhw)
        target_BhwC = neighbor_pairs.corrected_target(
            second_BhwC,
            denoised_first - denoised_second,
            neighbor_pairs.gamma_at(progress),
        )
        mask_BHWC = feed.target_mask(constants, inputs)
        if mask_BHWC is not None:  # a pair needs both of its pixels
            first_mask_BhwC, second_mask_BhwC = neighbor_pairs.split(mask_BHWC, choice_Bhw)
            mask_BHWC = first_mask_BhwC * second_mask_BhwC
        return first_BhwC, target_BhwC, mask_BHWC


def make_task(config: Config) -> Task:
    """Looks up the noise and the loss, and checks that they suit each other.

    Raises:
      UserError: a name or a level is wrong, or no loss suits the noise of the targets.
    """
    loss_name = config.optim.loss
    loss_choice.check_name(loss_name)
    if config.captures.paths and config.captures.single:
        if loss_name not in (loss_choice.AUTO, 'l2'):
            raise UserError(f'captures.single needs optim.loss=l2, not {loss_name}.')
        return SingleImages()
    if config.captures.paths:
        loss_name = 'l2' if loss_name == loss_choice.AUTO else loss_name
        _warn_of_captures(loss_name)
        # Masked: values that were not measured, and how much the others count.
        masked = f'masked_{loss_name}'
        loss_name = masked if masked in losses.REGISTRY else loss_name
        return OwnCaptures(loss_name, config.captures.pairing)
    of_input = corruptions.parse(config.noise.input)
    target = None if config.target_spec == CLEAN else corruptions.parse(config.target_spec)
    loss_name = loss_choice.choose(loss_name, target)
    if config.noise.realisations:
        return FixedNoise(of_input, target, loss_name, config.noise.realisations)
    return SyntheticNoise(of_input, target, loss_name)


def _warn_of_captures(loss_name: str) -> None:
    """Of captures no more is known than that their mean is what is looked for."""
    statistic = losses.REGISTRY[loss_name].statistic
    if statistic != 'mean':
        _log.warning(
            'optim.loss=%s learns the %s of the captures, which is their mean only where their '
            'noise is symmetric; that of a few photons is not. optim.loss=l2 suits all captures.',
            loss_name,
            statistic or 'something else',
        )


def init_state(config: Config) -> TrainState:
    """The state before the first step; jittable."""
    variables = models.init(config.model, streams.stream(config.seed, streams.INIT))
    plan = jax.tree.map(jnp.asarray, optimizers.make_plan(config))
    return TrainState(
        step=jnp.int32(0),
        variables=variables,
        ema=jax.tree.map(jnp.copy, variables) if config.optim.ema_decay > 0 else None,
        opt_state=optimizers.optimizer(config, plan).init(variables['params']),
        failed=jnp.bool_(False),
        plan=plan,
    )


def make_train_step(
    config: Config, task: Task, feed: Feed, layout: Layout
) -> Callable[[TrainState, Any, Any], tuple[TrainState, dict[str, jax.Array]]]:
    """The jitted step: (state, feed.constants, feed.inputs(...)) -> (state, metrics (K,)).

    It does as many updates as the inputs are for. The state is donated.
    """
    model = models.build(config.model)
    loss_fn = losses.REGISTRY[task.loss_name]
    num_parts = config.optim.accumulate

    def loss_and_stats(
        params: Any, rest: Any, pair: tuple[jax.Array, ...], progress: jax.Array
    ) -> tuple[jax.Array, Any]:
        noisy_BHWC, target_BHWC, mask_BHWC = pair
        denoised_BHWC, rest = model.apply(
            {'params': params, **rest}, noisy_BHWC, train=True, mutable=list(rest)
        )
        if model.units is not None:
            weights_BHWC = model.units.weights(noisy_BHWC)
            mask_BHWC = weights_BHWC if mask_BHWC is None else mask_BHWC * weights_BHWC
            denoised_BHWC = model.units.in_units(denoised_BHWC)
            target_BHWC = model.units.in_units(target_BHWC)
        loss, num_values = loss_fn(denoised_BHWC, target_BHWC, mask_BHWC, progress)
        return loss, (num_values, rest)

    grad_fn = jax.value_and_grad(loss_and_stats, has_aux=True)

    def gradients(
        params: Any, rest: Any, pair: tuple[jax.Array, ...], progress: jax.Array
    ) -> tuple[jax.Array, Any, Any]:
        if num_parts == 1:
            (loss, (_, rest)), grads = grad_fn(params, rest, pair, progress)
            return loss, rest, grads

        def add_part(carry: Any, part: tuple[jax.Array, ...]) -> tuple[Any, None]:
            sums, total, rest = carry
            (loss, (num_values, rest)), grads = grad_fn(params, rest, part, progress)
            sums = jax.tree.map(lambda a, b: a + num_values * b, sums, (loss, grads))
            return (sums, total + num_values, rest), None

        # Part i takes rows i, i + num_parts, ...: each device keeps its share of every part.
        parts = jax.tree.map(lambda x: x.reshape(-1, num_parts, *x.shape[1:]).swapaxes(0, 1), pair)
        zeros = (jnp.float32(0), jax.tree.map(jnp.zeros_like, params))
        (sums, total, rest), _ = jax.lax.scan(add_part, (zeros, jnp.float32(0), rest), parts)
        loss, grads = jax.tree.map(lambda x: x / jnp.maximum(total, 1.0), sums)
        return loss, rest, grads

    def one_step(
        state: TrainState, constants: Any, inputs: Any
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        denoise = functools.partial(model.apply, state.variables)
        progress = state.step * state.plan.per_step
        pair = task.pair(
            feed, constants, inputs, seed=config.seed, step=state.step, progress=progress,
            denoise=denoise,
        )  # fmt: skip
        old_rest = {name: tree for name, tree in state.variables.items() if name != 'params'}
        params = state.variables['params']
        loss, rest, grads = gradients(params, old_rest, pair, progress)
        grad_norm = optax.tree.norm(grads)
        failed = state.failed | ~(jnp.isfinite(loss) & jnp.isfinite(grad_norm))

        # Not a `where` over the whole state: XLA could not update it in place any more, which
        # costs more than the update itself. The moments decay a little after a failure.
        grads = jax.tree.map(lambda g: jnp.where(failed, 0.0, g), grads)
        optimizer = optimizers.optimizer(config, state.plan)
        updates, opt_state = optimizer.update(grads, state.opt_state, params)
        opt_state = jax.tree.map(
            lambda new, old: jnp.where(failed, old, new) if new.ndim == 0 else new,
            opt_state,
            state.opt_state,
        )
        params = jax.tree.map(lambda p, u: p + jnp.where(failed, 0.0, u), params, updates)
        rest = jax.tree.map(lambda new, old: jnp.where(failed, old, new), rest, old_rest)
        variables = {'params': params, **rest}
        ema = state.ema
        if ema is not None:
            # A short memory at first, or the random start would stay in the average for long.
            decay = jnp.minimum(config.optim.ema_decay, (1 + state.step) / (10 + state.step))
            decay = jnp.where(failed, 1.0, decay)
            ema = jax.tree.map(lambda a, b: decay * a + (1 - decay) * b, ema, variables)
        rate = optimizers.learning_rate_schedule(state.plan)(state.step)
        metrics = {'loss': loss, 'grad_norm': grad_norm, 'learning_rate': rate}
        step = state.step + jnp.where(failed, 0, 1)
        return TrainState(step, variables, ema, opt_state, failed, state.plan), metrics

    def steps(
        state: TrainState, constants: Any, inputs: Any
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        num_steps = jax.tree.leaves(inputs)[0].shape[0]
        if num_steps == 1:  # outside a loop XLA may use all cores of a CPU for one convolution
            state, metrics = one_step(state, constants, jax.tree.map(lambda x: x[0], inputs))
            return state, jax.tree.map(lambda x: x[None], metrics)
        return jax.lax.scan(lambda s, x: one_step(s, constants, x), state, inputs)

    return jax.jit(steps, donate_argnums=0, out_shardings=(layout.replicated, layout.replicated))
