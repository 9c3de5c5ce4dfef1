"""Plans a run of `n2n train`: its config, from the user's captures and the time it may take."""

import dataclasses
import logging
import math
import time

import jax

from n2n_jax.captures import hold_out, loading
from n2n_jax.captures.scene_captures import SceneCaptures
from n2n_jax.evaluate import evaluated_regions
from n2n_jax.evaluate.held_out_captures import CaptureEvaluator
from n2n_jax.runtime import user_code
from n2n_jax.runtime.config import CapturesConfig, Config, EvalConfig, ModelConfig, check
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.heartbeat import heartbeat
from n2n_jax.train import fine_tuning, time_division
from n2n_jax.train.pace import Pace
from n2n_jax.train.prepared import Prepared, load, new_state, prepare, steps_per_dispatch
from n2n_jax.train.step import TrainState
from n2n_jax.train.time_division import Timing

_log = logging.getLogger(__name__)

_LARGEST_CROP = 64
_CROP_MULTIPLE = 32
_LOG_EVERY = 25
# Used where the number of steps is given and nothing is timed: training on a pixel, forward and
# backward, takes three times as long as denoising it.
_TRAINING_PER_EVALUATION = 3.0
_LEAST_AREA = 500_000  # pixels of captures that even a short run is evaluated on
# On microscopy (FMD), 2,200 steps reached 36.67 dB at 1.2e-3 and 36.32 at 2e-3, which degrades in
# between (30 dB after 880 steps) until the rate falls; in 600 steps 2e-3 reaches 0.5 dB more than
# 1e-3. At 3e-3 and 4e-3 noisy scenes never recover. Clipping at 0.05 gives 0.2 dB more than at 0.2
# (at 2e-3); gradients have a norm of 0.01 to 0.1 after the first steps.
_LEARNING_RATE, _CLIP_NORM = 1.2e-3, 0.05
# On new fields of view of the same microscopes, 33.27 dB at the start, 50 and 100 steps reached
# 33.01 and 33.21 at 1e-3, 33.04 and 33.29 at 3e-4, 33.29 and 33.29 at 1e-4.
_FINE_TUNING_RATE = 3e-4
# Half of the evaluations. The learning rate falls over the last 70 %, and a plateau before that is
# not the end: on microscopy 0.2 dB in 600 steps at the full rate, then 1.1 dB while it fell. If the
# first evaluation is the best, the run stops at 60 % of the steps, where the rate is down to 37 %.
PATIENCE = 5
_FEWEST_TIMED, _MOST_TIMED = 2, 10  # dispatches, after one that warms up
_TIMED_SECONDS = 6.0  # after that no further dispatch is timed


@dataclasses.dataclass(frozen=True)
class Options:
    """What the user chooses for a run, besides its captures.

    Attributes:
      model: a name in `models.REGISTRY`; '' for that of `init_from`, else the U-Net.
      init_from: a trained model, see `trained.load`, whose weights to start from; the code of a
        run is imported; '' for random weights.
      imports: Python files of the user to import besides, as the config key.
      steps: updates of the weights; 0 for as many as fit into the time.
      minutes: time for everything from the first step to the calibrated model.
      batch_size: crops per step.
      seed: seed of the initial weights, the crops and the noise.
      patience: evaluations in a row without gain that end the run; 0 never ends it early.
    """

    model: str = ''
    init_from: str = ''
    imports: str = ''
    steps: int = 0
    minutes: float = 20.0
    batch_size: int = 8
    seed: int = 0
    patience: int = PATIENCE


@dataclasses.dataclass(frozen=True)
class Planned:
    """A run that is ready to start.

    Attributes:
      prepared: its config, data, evaluator and compiled step.
      pace: keeps it to its minutes; None if its number of steps was given.
      interrupted: True if Ctrl-C was pressed during planning, but late enough to finish the plan.
    """

    prepared: Prepared
    pace: Pace | None = None
    interrupted: bool = False


def plan(captures: CapturesConfig, options: Options) -> Planned:
    """Reads the captures, and derives the config that suits them and the time.

    Logs every phase. If no number of steps is given, the step is compiled and timed.

    Args:
      captures: where the captures are, and how to use them.
      options: what the user chose.

    Raises:
      UserError: the captures cannot be used.
    """
    _check(captures, options)
    network = ModelConfig(name=options.model or 'unet', zero_last=not options.init_from)
    if options.init_from:
        network = fine_tuning.same_network(network, options.init_from)
        network = dataclasses.replace(network, name=options.model or network.name)
    config = Config(seed=options.seed, imports=options.imports, captures=captures, model=network)
    config = user_code.resolved(config)
    if options.init_from:
        theirs = fine_tuning.code_of(options.init_from)
        config = dataclasses.replace(config, imports=user_code.merged(theirs, config.imports))
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
    """Raises UserError for invalid numbers, before anything is read."""
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
    """Returns the side of the crops: 64 pixels, or what fits into the area to train on."""
    crop = min(_LARGEST_CROP, *(min(scene.captures_NHWC.shape[1:3]) for scene in scenes))
    if not captures.single and len(scenes) < hold_out.SCENES_TO_SPLIT:
        trained = min(hold_out.trained_columns(s, captures.held_out) for s in scenes)
        crop = max(1, min(crop, trained))  # if no column is left, `split` raises the error
    if crop > _CROP_MULTIPLE:
        crop -= crop % _CROP_MULTIPLE
    return max(2, crop - crop % 2) if captures.single else crop


def _with_steps(config: Config, steps: int) -> Config:
    """Plans a given number of steps: ten evaluations, of an area proportional to the steps."""
    every = -(-steps // time_division.MOST_EVALUATIONS)
    trained = steps * config.data.batch_size * config.data.crop**2 * _TRAINING_PER_EVALUATION
    area = time_division.EVALUATING * trained / time_division.MOST_EVALUATIONS
    return _with_plan(config, steps, every, area=max(_LEAST_AREA, int(area)))


def _with_plan(config: Config, steps: int, every: int, *, area: int) -> Config:
    # Dispatches end at every cadence: if all cadences are multiples of one, one program suffices.
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


def _timed_plan(config: Config, loaded: loading.Loaded, options: Options) -> Planned:
    """Plans as many steps as fit into the minutes."""
    one_region = dataclasses.replace(config, eval=_with_one_region(config))
    prepared = prepare(one_region, loaded=loaded, check=fine_tuning.check_start)
    timing, interrupted = _measure(prepared)
    seconds, multiple = 60 * options.minutes, prepared.per_dispatch
    regions = evaluated_regions.in_order(prepared.held_out, config) if prepared.held_out else []
    division = time_division.divide(seconds, timing, len(regions), multiple=multiple)
    for level, sentence in time_division.in_words(division, timing, seconds):
        _log.log(level, '%s', sentence)
    area = sum(evaluated_regions.pixels(region) for region in regions[: division.regions])
    planned = _with_plan(prepared.config, division.steps, division.every, area=area)
    pace = Pace(
        max(seconds, division.total),
        division.after,
        evaluation=timing.region * division.regions,
        multiple=multiple,
    )
    return Planned(prepared.settled(planned), pace, interrupted)


def _with_one_region(config: Config) -> EvalConfig:
    return dataclasses.replace(config.eval, captures_area=0 if config.captures.single else 1)


def _measure(prepared: Prepared) -> tuple[Timing, bool]:
    """Times a step and the evaluation of a region; the flag says whether Ctrl-C cut that short.

    Raises:
      KeyboardInterrupt: Ctrl-C came before a step was timed.
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
    """Appends the durations of dispatches to `seconds`, after one that warms up."""
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
