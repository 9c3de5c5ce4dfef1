"""Training throughput, and the share of time that the device waits for data."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax


class Throughput:
    """Times the steps of an interval.

    Args:
      clock: returns seconds; must be monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._restart()

    def _restart(self) -> None:
        self._start = self._clock()
        self._paused = self._starved = 0.0

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Excludes the time inside, such as that of an evaluation."""
        start = self._clock()
        yield
        self._paused += self._clock() - start

    @contextlib.contextmanager
    def fetching(self, previous: Any) -> Iterator[None]:
        """Measures whether the device waits for the images that are fetched inside.

        Args:
          previous: output arrays of the step before. If they are ready once the data is, the device
            was idle for part of that time; all of it counts as waiting. Empty if the loop has just
            waited for them itself, which is not the fault of the data.
        """
        start = self._clock()
        yield
        arrays = jax.tree.leaves(previous)
        if arrays and all(array.is_ready() for array in arrays):
            self._starved += self._clock() - start

    def finish(self, num_images: int) -> dict[str, float]:
        """Returns images per second and the waiting share of the interval, and starts the next.

        Args:
          num_images: number of images trained on in the interval.
        """
        seconds = max(self._clock() - self._start - self._paused, 1e-9)
        rates = {
            'images_per_second': num_images / seconds,
            'data_wait': self._starved / seconds,
        }
        self._restart()
        return rates
