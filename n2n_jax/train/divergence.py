"""Diverging runs: warns of an exploding loss, and ends a run whose loss is not finite.

A loss or gradient that is not finite is detected by the training step on the device, which sets
`TrainState.failed` (`step.make_train_step`). `Run` reads that flag, and `TrainingLog.write` checks
the mean of each logged metric.
"""

import logging
import math
from typing import NoReturn

from n2n_jax.runtime.checkpoint import Checkpoints
from n2n_jax.runtime.config import Config

_log = logging.getLogger('n2n_jax')

# Factor over the lowest loss. High, because the annealed L0 rises as its exponent falls.
_EXPLODED = 1000


class LossWatch:
    """Warns once when a finite loss rises far above its lowest value: few such runs recover.

    The run is not ended, because some do. After a loss of 0 there is nothing to compare with.
    """

    def __init__(self) -> None:
        self._lowest = math.inf
        self._warned = False

    def see(self, step: int, loss: float, config: Config) -> None:
        """Compares the mean loss of the last steps with the lowest so far."""
        self._lowest = min(self._lowest, loss)
        if self._warned or loss <= _EXPLODED * self._lowest or self._lowest == 0:
            return
        self._warned = True
        _log.warning(
            'The loss exploded: %.3g at step %d, after %.3g. If it does not recover soon, stop '
            'this run and start again in another --workdir with a lower optim.learning_rate than '
            '%g, or with optim.clip_norm=1.%s',
            loss,
            step,
            self._lowest,
            config.optim.learning_rate,
            _rerun_command(config),
        )


def give_up(
    config: Config, bad_step: int, seen_at: int, checkpoints: Checkpoints, best: Checkpoints | None
) -> NoReturn:
    """Deletes the checkpoints of bad weights, and raises.

    A checkpoint is written before the loss of its weights is known, which comes with the next step.
    Checkpoints before `bad_step` were followed by a finite step, so they are good and are kept;
    the checkpoint of `bad_step` is deleted. Nothing new is saved, because the state in memory is
    that of `bad_step`.

    Args:
      config: config of the run.
      bad_step: the step whose weights give a loss or a gradient that is not finite.
      seen_at: the step at which that was noticed.
      checkpoints: checkpoints of the run.
      best: the checkpoint kept by score; None if the run does not select.

    Raises:
      FloatingPointError: always; names the last good step.
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
        else f'The last good checkpoint is that of step {last_good}; later ones were deleted.'
    )
    raise FloatingPointError(
        f'The loss or a gradient of the weights of step {bad_step} was not finite (seen at step '
        f'{seen_at}). {left} Start again in another --workdir with a lower optim.learning_rate '
        f'than {config.optim.learning_rate:g}, or with optim.clip_norm=1.{_rerun_command(config)}'
    )


def _rerun_command(config: Config) -> str:
    """Returns a sentence with the command for runs of `n2n train`, which has no such options."""
    if not config.captures.paths:
        return ''
    return (
        ' For a run of `n2n train`: python -m n2n_jax.main --config RUN/config.py '
        f'--config.optim.learning_rate={config.optim.learning_rate / 3:.2g} --workdir NEW_RUN'
    )
