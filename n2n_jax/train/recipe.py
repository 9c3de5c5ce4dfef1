"""The config of a training on one's own captures, from the captures themselves."""

import dataclasses
import logging
import math
import time
from pathlib import Path

import jax

from n2n_jax.captures import corrections, scene_captures
from n2n_jax.captures.scene_captures import SceneCaptures
from n2n_jax.evaluate import evaluated_regions
from n2n_jax.evaluate.held_out_captures import CaptureEvaluator
from n2n_jax.runtime.config import CapturesConfig, Config, EvalConfig, ModelConfig, check
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.heartbeat import heartbeat
from n2n_jax.train import fine_tuning, pace
from n2n_jax.train.pace import Pace, Timing
from n2n_jax.train.prepared import Prepared, load, new_state, prepare, steps_per_dispatch
from n2n_jax.train.step import TrainState

_log = logging.getLogger(__name__)

_LARGEST_CROP = 64
_CROP_MULTIPLE = 32
_LOG_EVERY = 25
# Where steps are given and nothing is timed: a pixel takes three times as long to train on, forward
# and backward, as to denoise. So short runs are evaluated on at least so many.
_TRAINING_PER_EVALUATION = 3.0
_LEAST_AREA = 500_000  # pixels of captures
# On microscopy (FMD), 2,200 steps came to 36.67 dB at 1.2e-3 and to 36.32 at 2e-3, which goes wrong
# in between (30 dB after 880 steps) until the rate falls; of 600 steps 2e-3 makes 0.5 dB more than
# 1e-3. At 3e-3 and 4e-3 noisy scenes go wrong for good. Clipping at 0.05 makes 0.2 dB more than at
# 0.2 (2e-3); gradients have a norm of 0.01 to 0.1 once it goes.
_LEARNING_RATE, _CLIP_NORM = 1.2e-3, 0.05
# On new fields of view of the same microscopes, 33.27 dB at the start, 50 and 100 steps came to
# 33.01 and 33.21 at 1e-3, 33.04 and 33.29 at 3e-4, 33.29 and 33.29 at 1e-4.
_FINE_TUNING_RATE = 3e-4
# Half of the evaluations. The learning rate falls over the last 70 %, and a plateau before that is
# not the end: on microscopy 0.2 dB in 600 steps at the full rate, then 1.1 dB along its fall. Where
# the first evaluation is the best, it stops at 60 % of the steps, the rate being down to 37 %.
PATIENCE = 5
_FEWEST_TIMED, _MOST_TIMED = 2, 10  # dispatches, behind one that warms up
_TIMED_SECONDS = 6.0  # after which no further dispatch is timed


@dataclasses.dataclass(frozen=True)
class Options:
    """What is asked of a run, besides its captures.

    Attributes:
      model: a name in `models.REGISTRY`; '': that of `init_from`, else the U-Net.
      init_from: workdir of a run whose weights to start from; '': random ones.
      steps: updates of the weights; 0: as many as fit into the time.
      minutes: for everything from the first step to the calibrated model.
      batch_size: crops per step.
      seed: of the run.
      patience: evaluations in a row without gain that end it; 0: none.
    """

    model: str = ''
    init_from: str = ''
    steps: int = 0
    minutes: float = 20.0
    batch_size: int = 8
    seed: int = 0
    patience: int = PATIENCE


@dataclasses.dataclass(frozen=True)
class Planned:
    """A run that can begin.

    Attributes:
      prepared: its config, data, evaluator and compiled step.
      pace: keeps it to its minutes; None if its steps were given.
      interrupted: True if Ctrl-C was pressed while it was planned, late enough for a plan.
    """

    prepared: Prepared
    pace: Pace | None = None
    interrupted: bool = False


def plan(captures: CapturesConfig, options: Options) -> Planned:
    """Reads the captures, and finds the config that suits them and the time.

    Every phase is told by the log; without `steps`, the step is compiled and timed.

    Args:
      captures: where they are.
      options: what is asked for.

    Raises:
      UserError: the captures cannot be used.
    """
    _check(captures, options)
    network = ModelConfig(name=options.model or 'unet', zero_last=not options.init_from)
    if options.init_from:
        network = fine_tuning.same_network(network, Path(options.init_from))
        network = dataclasses.replace(network, name=options.model or network.name)
    config = Config(seed=options.seed, captures=captures, model=network)
    loaded = load(config)
    crop = _crop(loaded.fixed, captures)
    config = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, crop=crop, batch_size=options.batch_size),
        optim=dataclasses.replace(
            config.optim,
            learning_rate=_FINE_TUNING_RATE if options.init_from else _LEARNING_RATE,
            clip_norm=_CLIP_NORM,
        ),
        train=dataclasses.replace(
            config.train, patience=0 if captures.single else options.patience
        ),
    )
    if options.steps:
        config = _with_steps(config, options.steps)
        prepared = prepare(config, loaded=loaded, check=fine_tuning.check_start)
        return Planned(prepared.settled(prepared.config))
    return _timed_plan(config, loaded, options)


def _check(captures: CapturesConfig, options: Options) -> None:
    """Raises UserError for numbers that are not possible, before anything is read."""
    if not 0 < options.minutes < math.inf or options.steps < 0:
        raise UserError(
            f'--minutes {options.minutes:g} --steps {options.steps}: write numbers above 0.'
        )
    config = Config(seed=options.seed, captures=captures)
    patience = 0 if captures.single else options.patience
    check(
        dataclasses.replace(
            config,
            data=dataclasses.replace(config.data, batch_size=options.batch_size),
            train=dataclasses.replace(config.train, patience=patience),
        )
    )


def _crop(scenes: list[SceneCaptures], captures: CapturesConfig) -> int:
    """The side of the crops: as large as is of use, and fits into what is trained on."""
    crop = min(_LARGEST_CROP, *(min(scene.captures_NHWC.shape[1:3]) for scene in scenes))
    if not captures.single and len(scenes) < scene_captures.SCENES_TO_SPLIT:
        trained = min(scene_captures.trained_columns(s, captures.held_out) for s in scenes)
        crop = max(1, min(crop, trained))  # of none at all tells the split
    if crop > _CROP_MULTIPLE:
        crop -= crop % _CROP_MULTIPLE
    return max(2, crop - crop % 2) if captures.single else crop


def _with_steps(config: Config, steps: int) -> Config:
    """For a number of steps that was given: ten evaluations, of an area in proportion."""
    every = -(-steps // pace.MOST_EVALUATIONS)
    trained = steps * config.data.batch_size * config.data.crop**2 * _TRAINING_PER_EVALUATION
    area = pace.EVALUATING * trained / pace.MOST_EVALUATIONS
    return _with_plan(config, steps, every, area=max(_LEAST_AREA, int(area)))


def _with_plan(config: Config, steps: int, every: int, *, area: int) -> Config:
    # A dispatch ends at every cadence: where all are multiples of it, one program serves them all.
    multiple = steps_per_dispatch(config)
    return dataclasses.replace(
        config,
        optim=dataclasses.replace(config.optim, warmup_steps=min(50, steps // 10)),
        train=dataclasses.replace(
            config.train,
            steps=steps,
            log_every=max(1, _LOG_EVERY // multiple) * multiple,
            checkpoint_every=every,
        ),
        eval=dataclasses.replace(
            config.eval, every=every, captures_area=0 if config.captures.single else area
        ),
    )


def _timed_plan(config: Config, loaded: corrections.Loaded, options: Options) -> Planned:
    """As many steps as fit into the minutes."""
    one_region = dataclasses.replace(config, eval=_first_region(config))
    prepared = prepare(one_region, loaded=loaded, check=fine_tuning.check_start)
    timing, interrupted = _measure(prepared)
    seconds, multiple = 60 * options.minutes, prepared.per_dispatch
    regions = evaluated_regions.in_order(prepared.held_out, config) if prepared.held_out else []
    division = pace.divide(seconds, timing, len(regions), multiple=multiple)
    for level, sentence in pace.in_words(division, timing, seconds):
        _log.log(level, '%s', sentence)
    area = sum(evaluated_regions.pixels(region) for region in regions[: division.regions])
    planned = _with_plan(prepared.config, division.steps, division.every, area=area)
    kept_to = Pace(
        max(seconds, division.total),
        division.after,
        evaluation=timing.region * division.regions,
        multiple=multiple,
    )
    return Planned(prepared.settled(planned), kept_to, interrupted)


def _first_region(config: Config) -> EvalConfig:
    return dataclasses.replace(config.eval, captures_area=0 if config.captures.single else 1)


def _measure(prepared: Prepared) -> tuple[Timing, bool]:
    """What a step and the evaluation of a region take; and whether Ctrl-C cut that short.

    Raises:
      KeyboardInterrupt: before a step was timed.
    """
    config, num = prepared.config, prepared.per_dispatch
    step = prepared.step_of(num)
    with heartbeat('Timing the training step'):
        state = new_state(config, prepared.layout)
        seconds: list[float] = []
        state = _timed(prepared, step, state, seconds)
    evaluator = prepared.evaluator
    if not isinstance(evaluator, CaptureEvaluator):
        return Timing(_median(seconds) / num, 0.0), False
    try:
        with heartbeat('Compiling and timing the evaluation'):
            times = []
            for _ in range(2):  # the first one compiles
                start = time.monotonic()
                evaluator(state.variables, 0)
                times.append(time.monotonic() - start)
        with heartbeat('Timing the training step once more'):
            _timed(prepared, step, state, seconds)
    except KeyboardInterrupt:
        pixels = evaluated_regions.pixels(evaluator.scenes[0])
        per_pixel = _median(seconds) / num / (config.data.batch_size * config.data.crop**2)
        region = per_pixel / _TRAINING_PER_EVALUATION * pixels
        return Timing(_median(seconds) / num, region, 10 * region), True
    return Timing(_median(seconds) / num, times[1], max(0.0, times[0] - times[1])), False


def _timed(
    prepared: Prepared, step: jax.stages.Compiled, state: TrainState, seconds: list[float]
) -> TrainState:
    """Appends what dispatches take, after one that warms up."""
    first, num = time.monotonic(), prepared.per_dispatch
    for k in range(1 + _MOST_TIMED):
        start = time.monotonic()
        if k > _FEWEST_TIMED and start - first > _TIMED_SECONDS:
            break
        state, _ = step(state, prepared.feed.constants, prepared.feed.inputs(k * num, num))
        jax.block_until_ready(state)
        if k > 0:
            seconds.append(time.monotonic() - start)
    return state


def _median(seconds: list[float]) -> float:
    return sorted(seconds)[len(seconds) // 2]
