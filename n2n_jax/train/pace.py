"""Plans how a run divides its time between steps and evaluations, and keeps the run on time."""

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
_SPARE = 0.02  # share of the time for checkpoints, logs and images
# After the last evaluation intervals are calibrated and the model is compared with others, each
# with a compiled program of its own.
_CALIBRATION = 2.0  # duration of the calibration, in evaluations, without compilation
_COMPILED_AFTER = 2.0  # programs to compile, each taking as long as that of an evaluation
_COMPARISON = 5.0  # seconds
_FEW_STEPS = 300
_NEGLIGIBLE = 0.05  # share of the steps; smaller changes of the plan are not made
_LAST_CHANGE = 0.5  # share of the steps; after that a change would make the learning rate jump


@dataclasses.dataclass(frozen=True)
class Timing:
    """Measured durations, in seconds.

    Attributes:
      step: one training step.
      region: the evaluation of one region, see `n2n_jax.evaluate.evaluated_regions`; 0 if nothing
        is scored.
      compiling: the compilation of the evaluation's program.
    """

    step: float
    region: float
    compiling: float = 0.0


@dataclasses.dataclass(frozen=True)
class Division:
    """How the time of a run is divided.

    Attributes:
      steps: number of training steps.
      evaluations: number of evaluations, including the one at the end.
      regions: number of regions in each evaluation.
      after: seconds after the last evaluation.
      total: seconds of the whole run.
    """

    steps: int
    evaluations: int
    regions: int
    after: float
    total: float

    @property
    def every(self) -> int:
        """The number of steps from one evaluation to the next."""
        return -(-self.steps // self.evaluations)


def divide(seconds: float, timing: Timing, num_regions: int, *, multiple: int = 1) -> Division:
    """Fits as many steps into a time as evaluations leave, which take a small share of it.

    If the time is too short for the shortest useful run, that run is planned and takes longer.

    Args:
      seconds: time for everything.
      timing: durations measured on this machine.
      num_regions: number of regions that could be evaluated.
      multiple: the steps between two evaluations, and all steps, are a multiple of it.
    """
    evaluations, regions = MOST_EVALUATIONS, num_regions
    if timing.region > 0:
        affordable = EVALUATING * seconds / timing.region  # regions of all evaluations together
        evaluations = max(_FEWEST_EVALUATIONS, min(MOST_EVALUATIONS, int(affordable)))
        regions = max(1, min(num_regions, int(affordable / evaluations)))
    evaluation = timing.region * regions  # seconds
    after = 0.0
    if timing.region > 0:
        after = _CALIBRATION * evaluation + _COMPILED_AFTER * timing.compiling + _COMPARISON
    left = (1 - _SPARE) * seconds - after - evaluations * evaluation
    every = max(multiple, int(left / timing.step / evaluations) // multiple * multiple)
    steps = every * evaluations
    if multiple == 1:  # use what rounding left over
        steps = max(steps, int(left / timing.step))
    total = (steps * timing.step + evaluations * evaluation + after) / (1 - _SPARE)
    return Division(steps, evaluations, regions, after, total)


def in_words(division: Division, timing: Timing, seconds: float) -> list[tuple[int, str]]:
    """Returns the plan as (level, sentence) for the log, to be shown before the first step."""
    end = time.strftime('%H:%M', time.localtime(time.time() + division.total))
    evaluation = timing.region * division.regions
    parts = f'{division.steps} steps of {_short(timing.step)}'
    if timing.region > 0:
        parts += (
            f', {division.evaluations} evaluations of {_short(evaluation)}, then '
            f'{_short(division.after)} for intervals and a comparison'
        )
    plan = f'Plan: {parts}: {division.total / 60:.1f} min in all, until {end}.'
    sentences = [(logging.INFO, plan)]
    if division.total > 1.1 * seconds:
        sentences.append(
            (
                logging.WARNING,
                f'{seconds / 60:g} minutes are too few: the shortest run on these captures takes '
                f'{division.total / 60:.1f} min on this machine.',
            )
        )
    elif division.steps < _FEW_STEPS:
        enough = math.ceil(_FEW_STEPS / division.steps * seconds / 60)
        sentences.append(
            (
                logging.WARNING,
                f'{division.steps} steps are few: expect a better model with --minutes {enough} '
                'or more.',
            )
        )
    return sentences


def _short(seconds: float) -> str:
    if seconds < 1:
        return f'{1000 * seconds:.0f} ms'
    return f'{seconds:.1f} s' if seconds < 10 else duration(seconds)


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
        left = (1 - _SPARE / 2) * self._seconds - self._after - elapsed
        per_step = (elapsed - (self._once or 0.0)) / step
        wanted = step + max(1, int(left / per_step) // self._multiple) * self._multiple
        return wanted if abs(wanted - num_steps) > _NEGLIGIBLE * num_steps else num_steps
