"""Divides the time of a run between steps and evaluations."""

import dataclasses
import logging
import math
import time

from n2n_jax.runtime.progress import duration

MOST_EVALUATIONS = 10
_FEWEST_EVALUATIONS = 3
EVALUATING = 0.15  # share of the time
SPARE = 0.02  # share of the time for checkpoints, logs and images
# After the last evaluation intervals are calibrated and the model is compared with others, each
# with a compiled program of its own.
_CALIBRATION = 2.0  # duration of the calibration, in evaluations, without compilation
_COMPILED_AFTER = 2.0  # programs to compile, each taking as long as that of an evaluation
_COMPARISON = 5.0  # seconds
_FEW_STEPS = 300


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
    left = (1 - SPARE) * seconds - after - evaluations * evaluation
    every = max(multiple, int(left / timing.step / evaluations) // multiple * multiple)
    steps = every * evaluations
    if multiple == 1:  # use what rounding left over
        steps = max(steps, int(left / timing.step))
    total = (steps * timing.step + evaluations * evaluation + after) / (1 - SPARE)
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
