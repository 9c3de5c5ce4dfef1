"""When a training on captures has nothing more to gain, told from its evaluations alone.

Nothing is remembered besides the rows of results.json, so a resumed run counts as an uninterrupted
one does.
"""

import math
from collections.abc import Iterable
from typing import Any

# What counts as better, in dB. Estimates of two steps share their captures, so their difference is
# far more certain than each: between checkpoints of a training on microscopy (FMD) it had a
# standard deviation of 0.001 to 0.023 dB on one held-out strip of 102x512 pixels, 0.004 on nine.
SMALLEST_GAIN = 0.02


def estimate(row: dict[str, Any]) -> float:
    """The estimated PSNR of an evaluation in dB; infinite if the error is too small to measure."""
    psnr = row['psnr_estimate']
    return math.inf if psnr is None else psnr


def without_gain(rows: Iterable[dict[str, Any]]) -> tuple[int, int]:
    """How long the estimate has not become better.

    A slow rise counts once it adds up to `SMALLEST_GAIN`.

    Args:
      rows: evaluations in the order of their steps, as in results.json.

    Returns:
      The number of evaluations since the last gain, and the step of that gain (0: no rows).
    """
    best, best_step, count = -math.inf, 0, 0
    for row in rows:
        if estimate(row) > best + SMALLEST_GAIN:
            best, best_step, count = estimate(row), row['step'], 0
        else:
            count += 1
    return count, best_step
