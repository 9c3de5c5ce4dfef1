"""A trace of some steps of a run, for TensorBoard's profile plugin or XProf."""

import logging
from pathlib import Path
from typing import Any, Self

import jax

_log = logging.getLogger(__name__)

_WARM_UP_STEPS = 10  # so that compiling, first transfers and autotuning stay out of the trace


class StepProfile:
    """Traces steps between `before` and `after`; as a context manager it ends a trace under way.

    Args:
      num_steps: how many steps to trace; 0 for none.
      folder: where to write the trace.
    """

    def __init__(self, num_steps: int, folder: Path) -> None:
        self._num_steps, self._folder = num_steps, folder
        self._first: int | None = None
        self._end: int | None = None  # while a trace is under way

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._end is not None:
            self._stop()
        if self._num_steps and self._first is not None:
            _log.warning('Nothing was traced: the run ended before step %d.', self._first)

    def before(self, step: int, in_flight: Any) -> None:
        """Begins the trace once enough steps have run.

        Args:
          step: steps dispatched so far.
          in_flight: results of the last dispatches, which must not run into the trace.
        """
        if not self._num_steps:
            return
        if self._first is None:
            self._first = step + _WARM_UP_STEPS
        if step < self._first:
            return
        jax.block_until_ready(in_flight)
        self._end, self._num_steps = step + self._num_steps, 0
        jax.profiler.start_trace(self._folder)

    def after(self, step: int, in_flight: Any) -> None:
        """Ends the trace once all its steps have run; arguments as in `before`."""
        if self._end is not None and step >= self._end:
            jax.block_until_ready(in_flight)
            self._stop()

    def _stop(self) -> None:
        self._end = None
        jax.profiler.stop_trace()
        _log.info('Trace of the steps, for TensorBoard or XProf: %s', self._folder)
