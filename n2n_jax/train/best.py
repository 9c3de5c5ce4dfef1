"""The best checkpoint of a run on captures, selected by the estimated error.

The criterion is `early_stopping.better`. Whoever loads a run gets this checkpoint, because
`n2n_jax.runtime.checkpoint.open_for_reading` prefers it to the others.
"""

import logging
from typing import Any

from n2n_jax.evaluate.report import Report
from n2n_jax.runtime.checkpoint import Checkpoints
from n2n_jax.runtime.result_rows import IN_NOISE
from n2n_jax.train import early_stopping
from n2n_jax.train.step import TrainState

_log = logging.getLogger(__name__)


def keep_best(
    best: Checkpoints, report: Report, step: int, state: TrainState, meta: dict[str, Any]
) -> None:
    """Saves the weights of `step` if their estimated error is the smallest so far."""
    row, before = report.rows[0], best.last_step
    if before not in (None, step) and not early_stopping.better(row, best.meta(before)):
        return
    if step != before:
        shipped = {'variables': state.variables} if state.ema is None else {'ema': state.ema}
        names = 'psnr_estimate', 'mse_estimate', IN_NOISE
        estimates = {name: row[name] for name in names if name in row}
        best.save(step, shipped, {**meta, **estimates})
        best.wait()


def say_what_ships(step: int | None, rows: list[dict[str, Any]]) -> None:
    """Logs which weights a complete run ships.

    Args:
      step: step of the best checkpoint; None if there is none.
      rows: rows of results.json.
    """
    row = next((row for row in rows if row['step'] == step), None)
    if row is None:
        return
    if early_stopping.worse_than_its_input(row):
        _log.warning(
            'The weights of step %d have the lowest estimated error, but denoising with them is '
            'no better than leaving the captures unchanged.',
            step,
        )
        return
    _log.info('The weights of step %d have the lowest estimated error: they are used.', step)
    if row['psnr_estimate'] is None:
        _log.info('Their error is too small to measure.')
