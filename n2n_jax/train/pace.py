"""How a run divides its time between steps and evaluations, and keeps to it."""

import contextlib
import dataclasses
import logging
import math
import time
from collections.abc import Callable, Iterator

from n2n_jax.runtime.config import Config
from n2n_jax.runtime.progress import duration

_log = logging.getLogger(__name__)

MOST_EVALUATIONS = 10
_FEWEST_EVALUATIONS = 3
EVALUATING = 0.15  # share of the time
_SPARE = 0.02  # share of the time for checkpoints, logs and pictures
# What comes after the last evaluation: intervals are calibrated and the model is compared with
# others, each by a program of its own.
_CALIBRATION = 2.0  # evaluations that the calibration takes, once compiled
_COMPILED_AFTER = 2.0  # programs of the size of an evaluation
_COMPARISON = 5.0  # seconds
_FEW_STEPS = 300
_NEGLIGIBLE = 0.05  # of the steps, for which a plan is not changed
_LAST_CHANGE = 0.5  # of the steps: later on the learning rate would jump


@dataclasses.dataclass(frozen=True)
class Timing:
    """What was measured, in seconds.

    Attributes:
      step: of the training.
      region: the evaluation of one region, see `n2n_jax.evaluate.evaluated_regions`; 0: nothing is
        scored.
      compiling: the program of an evaluation.
    """

    step: float
    region: float
    compiling: float = 0.0


@dataclasses.dataclass(frozen=True)
class Division:
    """Of a time, into what is done in it.

    Attributes:
      steps: of the training.
      evaluations: during it, the one at its end included.
      regions: of each evaluation.
      after: seconds that come after the last evaluation.
      total: seconds of everything.
    """

    steps: int
    evaluations: int
    regions: int
    after: float
    total: float

    @property
    def every(self) -> int:
        """Steps from one evaluation to the next."""
        return -(-self.steps // self.evaluations)


def divide(seconds: float, timing: Timing, num_regions: int, *, multiple: int = 1) -> Division:
    """As many steps as fit into a time beside evaluations, which take a small share of it.

    Where the time is too short for anything of use, the least that can be done takes longer.

    Args:
      seconds: in all.
      timing: of this machine.
      num_regions: that could be evaluated.
      multiple: of which the steps between two evaluations are one, and so are all steps.
    """
    evaluations, regions = MOST_EVALUATIONS, num_regions
    if timing.region > 0:
        affordable = EVALUATING * seconds / timing.region  # regions of all evaluations together
        evaluations = max(_FEWEST_EVALUATIONS, min(MOST_EVALUATIONS, int(affordable)))
        regions = max(1, min(num_regions, int(affordable / evaluations)))
    of_one = timing.region * regions
    after = 0.0
    if timing.region > 0:
        after = _CALIBRATION * of_one + _COMPILED_AFTER * timing.compiling + _COMPARISON
    left = (1 - _SPARE) * seconds - after - evaluations * of_one
    every = max(multiple, int(left / timing.step / evaluations) // multiple * multiple)
    steps = every * evaluations
    if multiple == 1:  # what rounding left over
        steps = max(steps, int(left / timing.step))
    total = (steps * timing.step + evaluations * of_one + after) / (1 - _SPARE)
    return Division(steps, evaluations, regions, after, total)


def in_words(division: Division, timing: Timing, seconds: float) -> list[tuple[int, str]]:
    """The plan, as (level, sentence) for the log: said before the first step."""
    end = time.strftime('%H:%M', time.localtime(time.time() + division.total))
    one = timing.region * division.regions
    parts = f'{division.steps} steps of {_short(timing.step)}'
    if timing.region > 0:
        parts += (
            f', {division.evaluations} evaluations of {_short(one)}, then '
            f'{_short(division.after)} for intervals and a comparison'
        )
    plan = f'Plan: {parts}: {division.total / 60:.1f} min in all, until {end}.'
    said = [(logging.INFO, plan)]
    if division.total > 1.1 * seconds:
        said.append(
            (
                logging.WARNING,
                f'{seconds / 60:g} minutes are too few: the shortest run on these captures takes '
                f'{division.total / 60:.1f} min on this machine.',
            )
        )
    elif division.steps < _FEW_STEPS:
        enough = math.ceil(_FEW_STEPS / division.steps * seconds / 60)
        said.append(
            (
                logging.WARNING,
                f'{division.steps} steps are few: with --minutes {enough} or more expect a better '
                'model.',
            )
        )
    return said


def _short(seconds: float) -> str:
    if seconds < 1:
        return f'{1000 * seconds:.0f} ms'
    return f'{seconds:.1f} s' if seconds < 10 else duration(seconds)


class Pace:
    """Compares a run with its time, and finds the number of steps with which it ends in time.

    Args:
      seconds: from the first step to the end.
      after: of these, what comes after the last evaluation.
      evaluation: seconds that one takes, as planned. What the first takes longer is for programs
        of other sizes that it compiles, and no sign of a slow machine.
      multiple: of which the number of steps is one.
      clock: seconds that only go up.
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
        self._once: float | None = None  # seconds of what does not happen again

    def start(self) -> None:
        """The first step begins."""
        self._start = self._clock()

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """An evaluation is made in here."""
        start = self._clock()
        yield
        if self._once is None:
            self._once = max(0.0, self._clock() - start - self._evaluation)

    def replanned(self, config: Config, step: int) -> Config:
        """The config with the steps of `steps`; itself if they are those that it has.

        In a longer run evaluations lie further apart, so that patience means the same; in a shorter
        one there are fewer.
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
        """How many steps the run should have, from what the first `step` took with evaluations.

        Changed in the first half alone, where the learning rate is hardly down, and only if the run
        would miss its time by more than a little.

        Args:
          step: done, after an evaluation.
          num_steps: as planned.
        """
        if self._start is None or not 0 < step <= _LAST_CHANGE * num_steps:
            return num_steps
        elapsed = self._clock() - self._start
        left = (1 - _SPARE / 2) * self._seconds - self._after - elapsed
        per_step = (elapsed - (self._once or 0.0)) / step
        wanted = step + max(1, int(left / per_step) // self._multiple) * self._multiple
        return wanted if abs(wanted - num_steps) > _NEGLIGIBLE * num_steps else num_steps
