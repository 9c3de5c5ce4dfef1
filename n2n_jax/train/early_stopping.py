"""Early stopping and checkpoint selection of runs on captures, from their evaluations alone.

The only state is the rows of results.json, so a resumed run counts exactly as an uninterrupted one.

Evaluations are compared by the mean squared error over scenes, not by dB. With f = s + e that
estimate is the mean of e^2 - 2 e n + n n', where n and n' are the noise of two captures. For a
strong denoiser the last term dominates the uncertainty and now and then makes the estimate
negative, but it is the same at every step. So differences between steps are valid even where dB
would be infinite.

With several channels, the error of each is measured in units of its noise: with one peak for all, a
dim channel would not count.
"""

import math
from collections.abc import Iterable
from typing import Any

from n2n_jax.runtime.result_rows import IN_NOISE

# The smallest difference that counts as better, in dB. Estimates of two steps share their captures,
# so their difference is far more certain than either: between checkpoints of a run on microscopy
# (FMD) its standard deviation was 0.001 to 0.023 dB on one held-out strip of 102x512 pixels, and
# 0.004 on nine.
SMALLEST_GAIN = 0.02

_SMALLEST_SHARE = 1 - 10 ** (-SMALLEST_GAIN / 10)  # the same gain as a share of the squared error

_ESTIMATE = 'mse_estimate'


def mean_squared_error(row: dict[str, Any], key: str = _ESTIMATE) -> float | None:
    """Returns the estimate by which evaluations are compared; may be negative.

    Args:
      row: a row of results.json.
      key: `IN_NOISE` for units of the noise, 'mse_estimate' for the error with peak 1.

    Returns:
      None where nothing was estimated, or in rows of older runs, which hold only means of dB.
    """
    mse = row.get(key)
    return mse if mse is not None and math.isfinite(mse) else None


def _key(*rows: dict[str, Any]) -> str:
    """Returns the key of the estimate that all rows have: those of older runs lack `IN_NOISE`."""
    return IN_NOISE if rows and all(IN_NOISE in row for row in rows) else _ESTIMATE


def better(row: dict[str, Any], before: dict[str, Any]) -> bool:
    """Checks whether an evaluation has a smaller error than an earlier one.

    An evaluation without an estimate is never better than one with an estimate. If neither has one,
    the later is better: nothing favors the weights of fewer steps.

    Args:
      row: an evaluation.
      before: the earlier evaluation to compare it with.
    """
    mse, known = (mean_squared_error(one, _key(row, before)) for one in (row, before))
    return known is None or (mse is not None and mse < known)


def worse_than_its_input(row: dict[str, Any]) -> bool:
    """Checks whether denoising gains less than `SMALLEST_GAIN`; False if that is not known.

    Args:
      row: an evaluation; those of older runs hold only dB.
    """
    key = _key(row)
    mse, raw = mean_squared_error(row, key), row.get(f'{key}_input')
    if mse is not None and raw is not None:
        return mse > raw * (1 - _SMALLEST_SHARE)
    psnr, raw_psnr = row.get('psnr_estimate'), row.get('psnr_estimate_input')
    if psnr is None or raw_psnr is None:
        return False
    return psnr < raw_psnr + SMALLEST_GAIN


def without_gain(rows: Iterable[dict[str, Any]]) -> tuple[int, int]:
    """Counts the evaluations since the estimate last improved.

    A slow improvement counts once it adds up to `SMALLEST_GAIN`. An evaluation whose error is too
    small to measure is never a reason to stop.

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
        # Near 0 a share of the error is meaningless: there its uncertainty is the scale.
        floor = max(best, row[error_key] or 0.0) if best < math.inf else 0.0
        if mse < best - _SMALLEST_SHARE * floor:
            best, best_step, count = mse, row['step'], 0
        elif mse > 0:
            count += 1
    return count, best_step
