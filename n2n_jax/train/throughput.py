"""Training throughput, and how long the device waits for data."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax


class Throughput:
    """Times the steps of an interval.

    Args:
      clock: seconds that only go up.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._restart()

    def _restart(self) -> None:
        self._start = self._clock()
        self._paused = self._starved = 0.0

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """What is done in here, such as an evaluation, is not training."""
        start = self._clock()
        yield
        self._paused += self._clock() - start

    @contextlib.contextmanager
    def fetching(self, previous: Any) -> Iterator[None]:
        """The next images are fetched in here.

        Args:
          previous: arrays that the step before makes. If they are ready when the data is, the
            device had nothing to do for some of that time; all of it counts as waiting. None, if
            the loop has just waited for them itself: that is no fault of the data.
        """
        start = self._clock()
        yield
        arrays = jax.tree.leaves(previous)
        if arrays and all(array.is_ready() for array in arrays):
            self._starved += self._clock() - start

    def finish(self, num_images: int) -> dict[str, float]:
        """Images per second and the waiting share of the interval; starts the next one.

        Args:
          num_images: trained on in the interval.
        """
        seconds = max(self._clock() - self._start - self._paused, 1e-9)
        rates = {
            'images_per_second': num_images / seconds,
            'data_wait': self._starved / seconds,
        }
        self._restart()
        return rates
