"""What is said of a run whose loss explodes, and what is left of it where it is not finite."""

import logging
import math
from typing import NoReturn

from n2n_jax.runtime.checkpoint import Checkpoints
from n2n_jax.runtime.config import Config

_log = logging.getLogger('n2n_jax')

# Times the lowest loss. High, as the annealed L0 rises by itself while its exponent falls.
_EXPLODED = 1000


class LossWatch:
    """Warns once of a loss that is finite and has left all that it was: such a run seldom recovers.

    It is not ended, as some do. A loss of 0 has nothing to be compared with.
    """

    def __init__(self) -> None:
        self._lowest = math.inf
        self._warned = False

    def see(self, step: int, loss: float, config: Config) -> None:
        """Compares the mean loss of the last steps with the lowest there was."""
        self._lowest = min(self._lowest, loss)
        if self._warned or loss <= _EXPLODED * self._lowest or self._lowest == 0:
            return
        self._warned = True
        _log.warning(
            'The loss exploded: %.3g at step %d, after %.3g. If it does not come back soon, stop '
            'this run and start again in another --workdir with a lower optim.learning_rate than '
            '%g, or with optim.clip_norm=1.%s',
            loss,
            step,
            self._lowest,
            config.optim.learning_rate,
            _how(config),
        )


def give_up(
    config: Config, bad_step: int, seen_at: int, checkpoints: Checkpoints, best: Checkpoints | None
) -> NoReturn:
    """Leaves the checkpoints whose own loss was finite, and raises.

    A checkpoint is written before the loss of its weights is known, which comes with the next step.
    All that lie before `bad_step` were followed by a step that was finite, so they are good; the
    weights of `bad_step` are not, and what is saved of them is deleted. Nothing new is written: the
    state in memory is that of `bad_step`.

    Args:
      config: of the run.
      bad_step: the step whose weights have a loss or a gradient that is not finite.
      seen_at: the step at which that was noticed.
      checkpoints: of the run.
      best: those that are kept by score, if any.

    Raises:
      FloatingPointError: always; names the step that is good.
    """
    for kept in (checkpoints, best):
        if kept is not None:
            kept.wait()
            if kept.last_step is not None and kept.last_step >= bad_step:
                kept.delete(kept.last_step)
    last_good = checkpoints.last_step
    left = (
        'No earlier step was saved.'
        if last_good is None
        else f'The last good state that was saved is that of step {last_good}; later ones are not '
        'kept.'
    )
    raise FloatingPointError(
        f'The loss or a gradient of the weights of step {bad_step} was not finite (seen at step '
        f'{seen_at}). {left} Start again in another --workdir with a lower optim.learning_rate '
        f'than {config.optim.learning_rate:g}, or with optim.clip_norm=1.{_how(config)}'
    )


def _how(config: Config) -> str:
    """`n2n train` has no options for either; its runs keep a config file."""
    if not config.captures.paths:
        return ''
    return (
        ' For a run of `n2n train`: python -m n2n_jax.main --config RUN/config.py '
        f'--config.optim.learning_rate={config.optim.learning_rate / 3:.2g} --workdir NEW_RUN'
    )
