"""Which loss learns the clean image from noisy targets.

B batch, H height, W width, C channels.
"""

import functools
import logging

import jax
import jax.numpy as jnp

from n2n_jax.corruptions import Corruptor
from n2n_jax.corruptions.statistics import clean_statistics
from n2n_jax.runtime.config import CLEAN
from n2n_jax.runtime.errors import UserError, did_you_mean
from n2n_jax.train import losses
from n2n_jax.train.losses import Loss

_log = logging.getLogger(__name__)

AUTO = 'auto'  # as optim.loss

_VALUES = (0, 64, 128, 192, 255)  # of 255: the clean ones that a shift is looked for at
_SHAPE_BHWC = (4, 64, 64, 1)  # flat captures of each
_CANDIDATES = range(-64, 320)  # of 255


def choose(name: str, target: Corruptor | None) -> str:
    """The loss to train with: a name in `losses.REGISTRY`.

    Args:
      name: of optim.loss; 'auto' takes what the target's noise needs.
      target: the noise of the targets; None for clean ones, which every loss suits.

    Returns:
      The name. One that was asked for by name is taken, with a warning if it does not learn the
      clean image.

    Raises:
      UserError: there is no such loss, or none that suits and 'auto' was to find it.
    """
    check_name(name)
    suitable = suitable_loss(target)
    if name == AUTO:
        if suitable is None:
            raise UserError(_why_none_suits(target))
        return suitable
    if not suits(losses.REGISTRY[name], target):
        _log.warning(
            'optim.loss=%s %s %s',
            name,
            _what_it_learns(losses.REGISTRY[name], target),
            f'noise.target={CLEAN} learns the clean image, and so does no loss with these targets.'
            if suitable is None
            else f'optim.loss={suitable} suits them.',
        )
    return name


def check_name(name: str) -> None:
    """Raises UserError if there is no such loss."""
    if name not in (AUTO, *losses.REGISTRY):
        raise UserError(f"Unknown optim.loss '{name}'. {did_you_mean(name, losses.REGISTRY)}")


def suits(loss: Loss, target: Corruptor | None) -> bool:
    """Whether what the loss learns from such targets is the clean image; None: clean targets."""
    if target is None:
        return True
    clean = target.clean_statistics
    return loss.statistic in (clean.observed if loss.uses_mask else clean.everywhere)


def suitable_loss(target: Corruptor | None) -> str | None:
    """The loss that suits such targets best, None if none does."""
    if target is None:
        return 'l2'
    for statistic in target.clean_statistics.observed:
        for name, loss in losses.REGISTRY.items():
            if loss.statistic == statistic and loss.uses_mask == target.masks:
                return name
    return None


def _why_none_suits(target: Corruptor) -> str:
    stages = target.stages
    num_good = next(i for i in range(len(stages)) if not clean_statistics(stages[: i + 1]).observed)
    words = (
        f"No loss learns the clean image from targets with '{target.spec}': "
        + ('' if num_good == 0 else f"from '{stages[num_good].spec}' on, ")
        + 'neither their mean, their median nor their mode is the clean image. '
    )
    left = '+'.join(stage.spec for stage in stages if stage is not stages[num_good])
    return (
        f'{words}Write noise.target={CLEAN}, '
        + (f'a noise without it, such as noise.target={left}, ' if left else '')
        + 'or the loss to use all the same, such as optim.loss=l2, which learns the mean.'
    )


def _what_it_learns(loss: Loss, target: Corruptor) -> str:
    of_what = 'the observed values of the targets' if loss.uses_mask else 'the targets'
    what = (
        f'the {loss.statistic} of {of_what}' if loss.statistic else f'something else of {of_what}'
    )
    if target.masks and not loss.uses_mask:
        what += ', missing values included'
    value, learned = worst_shift(loss, target)
    example = ''
    if abs(learned - value) >= 1:
        example = f': a clean {value} of 255 becomes {learned}'
    return f"learns {what}, and with '{target.spec}' that is not the clean image{example}."


def worst_shift(loss: Loss, target: Corruptor) -> tuple[int, int]:
    """A clean value and what is learned in its place, of 255, where they differ most."""
    pairs = [(value, best_constant(loss, target, value)) for value in _VALUES]
    return max(pairs, key=lambda pair: abs(pair[1] - pair[0]))


def best_constant(loss: Loss, target: Corruptor, value: int, *, seed: int = 0) -> int:
    """The flat image that minimizes a loss, at its end, over captures of a flat image; of 255.

    Args:
      loss: of `losses.REGISTRY`.
      target: draws the captures.
      value: of the flat clean image, of 255.
      seed: of the draws.
    """
    captures = _flat_captures(jax.random.key(seed), value / 255, target=target)
    return _CANDIDATES[int(_best_candidate(*captures, loss=loss))]


@functools.partial(jax.jit, static_argnames='target')
def _flat_captures(
    key: jax.Array, value: jax.Array, *, target: Corruptor
) -> tuple[jax.Array, jax.Array | None]:
    return tuple(target.sample(key, jnp.full(_SHAPE_BHWC, value, jnp.float32)))


@functools.partial(jax.jit, static_argnames='loss')
def _best_candidate(
    target_BHWC: jax.Array, mask_BHWC: jax.Array | None, *, loss: Loss
) -> jax.Array:
    def value(candidate: jax.Array) -> jax.Array:
        return loss(jnp.full_like(target_BHWC, candidate), target_BHWC, mask_BHWC, 1.0)[0]

    return jnp.argmin(jax.lax.map(value, jnp.array(_CANDIDATES, jnp.float32) / 255))
