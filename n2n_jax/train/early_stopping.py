"""When a run on captures has nothing more to gain, told from its evaluations alone.

Nothing is remembered besides the rows of results.json, so a resumed run counts as an uninterrupted
one does.

Evaluations are compared by the mean squared error over scenes, not by dB. With f = s + e that
estimate is the mean of e^2 - 2 e n + n n', where n and n' are the noise of two captures: the last
part is most of its uncertainty for a strong denoiser, makes it negative now and then, and is the
same at every step. So differences between steps are right where dB would be infinite.

Of several channels the error of each counts in units of its noise: with one peak for all, a dim
channel would have no say.
"""

import math
from collections.abc import Iterable
from typing import Any

from n2n_jax.runtime.result_rows import IN_NOISE

# What counts as better, in dB. Estimates of two steps share their captures, so their difference is
# far more certain than each: between checkpoints of a training on microscopy (FMD) it had a
# standard deviation of 0.001 to 0.023 dB on one held-out strip of 102x512 pixels, 0.004 on nine.
SMALLEST_GAIN = 0.02


_SMALLEST_SHARE = 1 - 10 ** (-SMALLEST_GAIN / 10)  # of the squared error

_ESTIMATE = 'mse_estimate'


def mean_squared_error(row: dict[str, Any], key: str = _ESTIMATE) -> float | None:
    """The estimate by which evaluations are compared; may be negative.

    Args:
      row: of results.json.
      key: IN_NOISE, or that of the error with peak 1.

    Returns:
      None where nothing was estimated, or in rows of older runs, which hold means of dB alone.
    """
    mse = row.get(key)
    return mse if mse is not None and math.isfinite(mse) else None


def _key(*rows: dict[str, Any]) -> str:
    """By which estimate rows can be compared: those of older runs have one alone."""
    return IN_NOISE if rows and all(IN_NOISE in row for row in rows) else _ESTIMATE


def better(row: dict[str, Any], before: dict[str, Any]) -> bool:
    """Whether an evaluation has the smaller error.

    One without an estimate is never better than one that has it. Where neither has any, the later
    one is: nothing speaks for the weights of fewer steps.

    Args:
      row: an evaluation.
      before: an earlier one, that it has to be better than.
    """
    mse, known = (mean_squared_error(one, _key(row, before)) for one in (row, before))
    return known is None or (mse is not None and mse < known)


def worse_than_its_input(row: dict[str, Any]) -> bool:
    """Whether denoising brings nothing, as far as it can be told.

    Args:
      row: an evaluation; older ones hold dB alone.
    """
    key = _key(row)
    mse, raw = mean_squared_error(row, key), row.get(f'{key}_input')
    if mse is not None and raw is not None:
        return mse > raw * (1 - _SMALLEST_SHARE)
    psnr, raw_psnr = row.get('psnr_estimate'), row.get('psnr_estimate_input')
    return None not in (psnr, raw_psnr) and psnr < raw_psnr + SMALLEST_GAIN


def without_gain(rows: Iterable[dict[str, Any]]) -> tuple[int, int]:
    """How long the estimate has not become better.

    A slow rise counts once it adds up to `SMALLEST_GAIN`. An evaluation whose error is too small to
    be measured is never a reason to stop.

    Args:
      rows: evaluations in the order of their steps, as in results.json.

    Returns:
      The number of evaluations since the last gain, and the step of that gain (0: no rows).
    """
    rows = list(rows)
    key = _key(*rows)
    error_key = 'mse_error' if key == _ESTIMATE else f'{key}_error'
    best, best_step, count = math.inf, 0, 0
    for row in rows:
        mse = mean_squared_error(row, key)
        if mse is None:
            continue
        # Near 0 a share of the error says nothing: there its uncertainty is the measure.
        floor = max(best, row[error_key] or 0.0) if best < math.inf else 0.0
        if mse < best - _SMALLEST_SHARE * floor:
            best, best_step, count = mse, row['step'], 0
        elif mse > 0:
            count += 1
    return count, best_step
