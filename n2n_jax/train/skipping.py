"""Skips steps whose loss is far above the recent ones, as that of a damaged image is.

Such a step leaves the weights, their average and the optimizer's state as they were. Its loss does
enter the window: if the losses stay high because the weights are bad, the median follows, and the
run learns again. A loss that is not finite is no such case and ends the run.

N losses of the window.
"""

import flax
import jax
import jax.numpy as jnp

WINDOW = 51  # losses; odd, so that the median of a full window is one of them


@flax.struct.dataclass
class RecentLosses:
    """What a run that skips steps remembers.

    Attributes:
      losses_N: the last losses, oldest first, float32; NaN where there was none yet.
      num_skipped: steps that were skipped since the start, int32.
    """

    losses_N: jax.Array
    num_skipped: jax.Array


def start() -> RecentLosses:
    """Returns the memory of a run that has not begun."""
    return RecentLosses(jnp.full(WINDOW, jnp.nan, jnp.float32), jnp.int32(0))


def judge(recent: RecentLosses, loss: jax.Array, *, above: float) -> tuple[jax.Array, RecentLosses]:
    """Returns whether to skip the step of a loss, and the memory after it; jittable.

    Args:
      recent: the memory before the step.
      loss: its loss.
      above: multiple of the median above which a step is skipped.
    """
    losses_N = recent.losses_N
    is_half_full = 2 * jnp.sum(jnp.isfinite(losses_N)) >= losses_N.size
    is_high = jnp.isfinite(loss) & (loss > above * jnp.nanmedian(losses_N))
    skipped = is_half_full & is_high
    losses_N = jnp.append(losses_N[1:], loss)
    return skipped, RecentLosses(losses_N, recent.num_skipped + skipped)


def said(num_skipped: int) -> str:
    """Returns the words for a number of skipped steps."""
    return f'skipped {num_skipped} step{"s" * (num_skipped != 1)}'
