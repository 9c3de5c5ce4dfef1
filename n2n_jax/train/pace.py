"""Keeps a run on time by changing its number of steps."""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator

from n2n_jax.runtime.config import Config
from n2n_jax.train.time_division import SPARE

_NEGLIGIBLE = 0.05  # share of the steps; smaller changes of the plan are not made
_LAST_CHANGE = 0.5  # share of the steps; after that a change would make the learning rate jump


class Pace:
    """Compares a run with its time limit, and adapts the number of steps so that it ends in time.

    Args:
      seconds: time from the first step to the end.
      after: the part of `seconds` that follows the last evaluation.
      evaluation: planned seconds of one evaluation. The first may take longer because it compiles
        programs for other sizes; that excess is not counted as a slow machine.
      multiple: the number of steps is a multiple of it.
      clock: returns seconds; must be monotonic.
    """

    def __init__(
        self,
        seconds: float,
        after: float,
        *,
        evaluation: float = math.inf,
        multiple: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds, self._after, self._multiple = seconds, after, multiple
        self._evaluation = evaluation
        self._clock = clock
        self._start: float | None = None
        self._once: float | None = None  # seconds of compilation in the first evaluation

    def start(self) -> None:
        """Starts the clock, before the first step."""
        self._start = self._clock()

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """Times the evaluation inside."""
        start = self._clock()
        yield
        if self._once is None:
            self._once = max(0.0, self._clock() - start - self._evaluation)

    def replanned(self, config: Config, step: int) -> Config:
        """Returns the config with the number of steps of `steps`; `config` itself if unchanged.

        A longer run has its evaluations further apart, so that patience means the same; a shorter
        one has fewer evaluations.
        """
        before, now = config.train.steps, self.steps(step, config.train.steps)
        if now == before:
            return config
        every = config.eval.every
        if now > before:
            every = math.ceil(every * now / before / self._multiple) * self._multiple
        return dataclasses.replace(
            config,
            train=dataclasses.replace(config.train, steps=now, checkpoint_every=every),
            eval=dataclasses.replace(config.eval, every=every),
        )

    def steps(self, step: int, num_steps: int) -> int:
        """Returns how many steps the run should have, given the time of its steps so far.

        Changes the number only in the first half, where the learning rate has hardly fallen, and
        only if the run would miss its time by more than a little.

        Args:
          step: steps done so far, with their evaluations.
          num_steps: planned number of steps.
        """
        if self._start is None or not 0 < step <= _LAST_CHANGE * num_steps:
            return num_steps
        elapsed = self._clock() - self._start
        left = (1 - SPARE / 2) * self._seconds - self._after - elapsed
        per_step = (elapsed - (self._once or 0.0)) / step
        wanted = step + max(1, int(left / per_step) // self._multiple) * self._multiple
        return wanted if abs(wanted - num_steps) > _NEGLIGIBLE * num_steps else num_steps
