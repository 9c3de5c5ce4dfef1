"""Timing that a busy machine disturbs least: in turns, and by the median."""

import time
from collections.abc import Callable

import numpy as np

REPEATS = 9
_REST_SECONDS = 0.05  # for the idle threads of the other side, which spin a while


def medians_in_turns(
    functions: dict[str, Callable[[], object]], *, repeats: int = REPEATS, warm_ups: int = 2
) -> dict[str, float]:
    """Median seconds of each function, which must not return before its work is done."""
    for function in functions.values():
        for _ in range(warm_ups):
            function()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            time.sleep(_REST_SECONDS)
            start = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)
    return {name: float(np.median(values)) for name, values in seconds.items()}
