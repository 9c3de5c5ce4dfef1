"""Timing that is robust on a busy machine: alternating calls, and the median."""

import time
from collections.abc import Callable, Mapping

import jax
import numpy as np

REPEATS = 9
_REST_SECONDS = 0.05  # lets the other side's idle threads stop spinning


def calls_per_wait() -> int:
    """Returns how many calls to make before waiting for the device.

    Waiting takes milliseconds on a GPU, and training and denoising do not wait after every call.
    """
    return 1 if jax.default_backend() == 'cpu' else 10


def medians_in_turns(
    functions: Mapping[str, Callable[[], object]], *, repeats: int = REPEATS, warm_ups: int = 2
) -> dict[str, float]:
    """Measures the median seconds of each function, called in turns.

    Args:
      functions: the functions by name; each must return only when its work is done.
      repeats: measured calls of each.
      warm_ups: calls of each that are not measured.
    """
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
