"""Chooses the loss that learns the clean image from noisy targets.

B batch, H height, W width, C channels.
"""

import functools
import logging

import jax
import jax.numpy as jnp

from n2n_jax.corruptions import Corruptor
from n2n_jax.corruptions.statistics import clean_statistics
from n2n_jax.runtime.config import CLEAN
from n2n_jax.runtime.errors import UserError
from n2n_jax.train import losses
from n2n_jax.train.losses import Objective

_log = logging.getLogger(__name__)

AUTO = 'auto'  # as optim.loss

_FOR_CLEAN = 'l2'
_CLEAN_VALUES = (0, 64, 128, 192, 255)  # of 255: where `worst_shift` looks for a shift
_SHAPE_BHWC = (4, 64, 64, 1)  # flat captures of each clean value
_CANDIDATES = range(-64, 320)  # of 255


def choose(name: str, target: Corruptor | None) -> str:
    """Returns the loss to train with, see `losses.make`.

    A loss that is given by name is used, with a warning if it does not learn the clean image.

    Args:
      name: value of optim.loss; 'auto' chooses by the noise of the targets.
      target: the noise of the targets; None for clean targets, which every loss suits.

    Raises:
      UserError: there is no such loss, or `name` is 'auto' and no loss is suitable.
    """
    check_name(name)
    if target is None:
        return _FOR_CLEAN if name == AUTO else name
    suitable = suitable_loss(target)
    if name == AUTO:
        if suitable is None:
            raise UserError(_why_none_suits(target))
        return suitable
    if not suits(losses.make(name), target):
        _log.warning(
            'optim.loss=%s %s %s',
            name,
            _describe_learned(losses.make(name), target),
            f'No loss learns the clean image from these targets: write noise.target={CLEAN}.'
            if suitable is None
            else f'optim.loss={suitable} suits them.',
        )
    return name


def check_name(name: str) -> None:
    """Raises UserError if there is no such loss; its weights are not read yet."""
    if name != AUTO:
        losses.make(name)


def suits(loss: Objective, target: Corruptor | None) -> bool:
    """Checks whether the loss learns the clean image from such targets; None: clean targets."""
    if target is None:
        return True
    clean = target.clean_statistics
    return loss.statistic in (clean.observed if loss.uses_mask else clean.everywhere)


def suitable_loss(target: Corruptor | None) -> str | None:
    """Returns the name of the loss that suits such targets best, None if none does."""
    if target is None:
        return _FOR_CLEAN
    for statistic in target.clean_statistics.observed:
        for name in losses.REGISTRY:
            loss = losses.make(name)
            if loss.statistic == statistic and loss.uses_mask == target.masks:
                return name
    return None


def _why_none_suits(target: Corruptor) -> str:
    stages = target.stages
    num_good = next(i for i in range(len(stages)) if not clean_statistics(stages[: i + 1]).observed)
    problem = (
        f"No loss learns the clean image from targets with '{target.spec}': "
        + ('' if num_good == 0 else f"from '{stages[num_good].spec}' on, ")
        + 'neither their mean, their median nor their mode is the clean image. '
    )
    left = '+'.join(stage.spec for stage in stages if stage is not stages[num_good])
    return (
        f'{problem}Write noise.target={CLEAN}, '
        + (f'a noise without it, such as noise.target={left}, ' if left else '')
        + 'or name a loss to use anyway, such as optim.loss=l2, which learns the mean.'
    )


def _describe_learned(loss: Objective, target: Corruptor) -> str:
    values = 'the observed values of the targets' if loss.uses_mask else 'the targets'
    learned_statistic = f'the {loss.statistic or "some other statistic"} of {values}'
    if target.masks and not loss.uses_mask:
        learned_statistic += ', including missing values'
    example = ''
    if loss.statistic and loss.has_minimum:
        value, learned = worst_shift(loss, target)
        if abs(learned - value) >= 1:
            example = f': a clean {value} of 255 becomes {learned}'
    return (
        f"learns {learned_statistic}, and with '{target.spec}' that is not the clean image"
        f'{example}.'
    )


def worst_shift(loss: Objective, target: Corruptor) -> tuple[int, int]:
    """Returns the clean value with the largest error and the value learned instead, of 255."""
    pairs = [(value, best_constant(loss, target, value)) for value in _CLEAN_VALUES]
    return max(pairs, key=lambda pair: abs(pair[1] - pair[0]))


def best_constant(loss: Objective, target: Corruptor, value: int, *, seed: int = 0) -> int:
    """Returns the constant that minimizes a loss over captures of a flat image, of 255.

    Args:
      loss: one that has a minimum and needs no arrays, taken at the end of the run (progress 1).
      target: the noise of the captures.
      value: pixel value of the flat clean image, of 255.
      seed: seed of the noise.
    """
    captures = _flat_captures(jax.random.key(seed), value / 255, target=target)
    return _CANDIDATES[int(_best_candidate(*captures, loss=loss))]


@functools.partial(jax.jit, static_argnames='target')
def _flat_captures(
    key: jax.Array, value: jax.Array, *, target: Corruptor
) -> tuple[jax.Array, jax.Array | None]:
    captures = target.sample(key, jnp.full(_SHAPE_BHWC, value, jnp.float32))
    return captures.image_BHWC, captures.mask_BHWC


@functools.partial(jax.jit, static_argnames='loss')
def _best_candidate(
    target_BHWC: jax.Array, mask_BHWC: jax.Array | None, *, loss: Objective
) -> jax.Array:
    def value(candidate: jax.Array) -> jax.Array:
        constant_BHWC = jnp.full_like(target_BHWC, candidate)
        return loss(constant_BHWC, target_BHWC, mask_BHWC, jnp.float32(1))[0]

    return jnp.argmin(jax.lax.map(value, jnp.array(_CANDIDATES, jnp.float32) / 255))
