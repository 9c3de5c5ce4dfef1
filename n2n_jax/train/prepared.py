"""Prepares what a run needs besides its weights: data, evaluator, compiled step.

Captures are read, corrected and split once, and the step that is timed is the step that trains.
"""

import dataclasses
import functools
import logging
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from n2n_jax import models
from n2n_jax.captures import hold_out, loading, network_range, single_images, trained_captures
from n2n_jax.captures.recognition import TrainedScene
from n2n_jax.captures.scene_captures import SceneCaptures
from n2n_jax.data.feeds import Feed, make_feed, placed_captures
from n2n_jax.data.feeds.capture_feed import CaptureFeed
from n2n_jax.data.feeds.fixed_noise import realization_feed
from n2n_jax.data.sources import open_source
from n2n_jax.data.sources.guided import stacked
from n2n_jax.data.sources.source import Subset, at_least
from n2n_jax.evaluate import evaluated_regions
from n2n_jax.evaluate.held_out_captures import CaptureEvaluator
from n2n_jax.evaluate.held_out_single_images import SingleImageEvaluator, center_crops
from n2n_jax.evaluate.with_clean import Evaluator
from n2n_jax.models import planes
from n2n_jax.runtime.config import Config
from n2n_jax.runtime.device_memory import device_bytes, program_bytes, readable
from n2n_jax.runtime.heartbeat import heartbeat
from n2n_jax.runtime.parallel import Layout, make_layout
from n2n_jax.train.memory_fit import compile_step
from n2n_jax.train.schedules import Schedule, make_schedule
from n2n_jax.train.step import TrainState, init_state, loss_arrays
from n2n_jax.train.tasks import Task, make_task

_log = logging.getLogger(__name__)

_STEPS_PER_DISPATCH = 10  # on accelerators, where one step is short compared with its dispatch

Evaluators = Evaluator | CaptureEvaluator | SingleImageEvaluator


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A run before its first step.

    Attributes:
      config: the resolved config, with the channels and the range of values of the captures.
      task: makes the training pairs, and names the loss.
      layout: places arrays on the devices.
      feed: supplies the batches.
      evaluator: scores the weights; None if the run does not evaluate.
      step_of: returns the compiled step for dispatches of a number of steps, compiling it once.
      trained: identifies the captures of the run, to recognize them later.
      held_out: held-out scenes in file values, from which `settled` can make another evaluator;
        () afterwards.
    """

    config: Config
    task: Task
    layout: Layout
    feed: Feed
    evaluator: Evaluators | None
    step_of: Callable[[int], jax.stages.Compiled]
    trained: Sequence[TrainedScene] = ()
    held_out: Sequence[SceneCaptures] = ()

    @property
    def per_dispatch(self) -> int:
        """The largest number of steps of a dispatch."""
        return steps_per_dispatch(self.config)

    def settled(self, config: Config) -> 'Prepared':
        """Returns this for a config that differs only in its schedule, cadences or evaluation."""
        evaluator = self.evaluator
        if self.held_out and config.eval != self.config.eval:
            evaluator = _capture_evaluator(config, self.held_out)
        return dataclasses.replace(self, config=config, evaluator=evaluator, held_out=())


def steps_per_dispatch(config: Config) -> int:
    """Returns how many steps are dispatched to the device at a time."""
    default = 1 if jax.default_backend() == 'cpu' else _STEPS_PER_DISPATCH
    return config.train.steps_per_dispatch or default


def load(config: Config) -> loading.Loaded:
    """Reads the captures of a config, and logs what was skipped or corrected."""
    fix = config.captures.fix
    with heartbeat(f'Reading captures and fixing {fix}' if fix else 'Reading captures'):
        loaded = loading.load(config.captures)
    for sentence in loaded.notes:
        _log.info('%s', sentence)
    return loaded


def prepare(
    config: Config,
    *,
    loaded: loading.Loaded | None = None,
    check: Callable[[Config], None] = lambda config: None,
) -> Prepared:
    """Opens the data of a config and makes its evaluator; compiles nothing yet.

    Args:
      config: config of the run.
      loaded: its captures if they have been read; None to read them here.
      check: called with the resolved config before data is placed on the device.

    Raises:
      UserError: the config cannot be run, or files cannot be read.
    """
    # Checks that are quick come before anything that takes long to read.
    task = make_task(config)
    models.build(config.model)
    layout = make_layout(config.data.batch_size)
    if config.captures.paths:
        loaded = loaded or load(config)
        with heartbeat('Measuring the range and the noise of the values'):
            config = network_range.resolve(config, loaded.raw)
        if config.captures.single:
            _check_single(loaded, config)
    check(config)
    held_out: Sequence[SceneCaptures] = ()
    trained: Sequence[TrainedScene] = ()
    feed: Feed
    evaluator: Evaluators | None
    if loaded is None:
        feed, evaluator = _prepare_images(config, layout)
    else:
        with heartbeat('Placing the captures on the device'):
            trained = trained_captures.record(loaded, config)
            if config.captures.single:
                feed, evaluator = _prepare_single_images(config, loaded.fixed, layout)
            else:
                feed, held_out = _prepare_captures(config, loaded.fixed, layout)
                evaluator = _capture_evaluator(config, held_out)
    step_of = _cached_compile(functools.partial(compile_step, config, task, feed, layout))
    return Prepared(config, task, layout, feed, evaluator, step_of, trained, held_out)


def _cached_compile(
    compile_for: Callable[[int], jax.stages.Compiled],
) -> Callable[[int], jax.stages.Compiled]:
    compiled: dict[int, jax.stages.Compiled] = {}

    def step_of(num_steps: int) -> jax.stages.Compiled:
        if num_steps not in compiled:
            with heartbeat('Compiling the training step'):
                compiled[num_steps] = compile_for(num_steps)
            used, total = program_bytes(compiled[num_steps]), device_bytes()
            _log.info('It takes %s of %s of memory.', readable(used), readable(total))
        return compiled[num_steps]

    return step_of


def new_state(config: Config, layout: Layout) -> TrainState:
    """Returns the state before the first step, placed on the devices."""

    # Without what is placed: its values would be constants of the program, compiled for each anew.
    def init() -> dict[str, Any]:
        state = init_state(config)
        placed = 'schedule', 'loss_arrays'
        names = [field.name for field in dataclasses.fields(state) if field.name not in placed]
        return {name: getattr(state, name) for name in names}

    state = jax.jit(init, out_shardings=layout.replicated)()
    return TrainState(
        **state,
        schedule=placed_schedule(config, layout),
        loss_arrays=placed_loss_arrays(config, layout),
    )


def placed_schedule(config: Config, layout: Layout) -> Schedule:
    """Returns the rate and the length of a run, placed on the devices."""
    return jax.tree.map(
        lambda x: layout.place(np.asarray(x), batch_axis=None), make_schedule(config)
    )


def placed_loss_arrays(config: Config, layout: Layout) -> Any:
    """Returns what the loss reads besides images, placed on the devices."""
    return jax.tree.map(lambda x: layout.place(np.asarray(x), batch_axis=None), loss_arrays(config))


def _check_single(loaded: loading.Loaded, config: Config) -> None:
    with heartbeat('Measuring whether the noise of neighboring pixels is independent'):
        warnings = single_images.check(loaded.raw, config.captures, crop=config.data.crop)
    _log.info('%s', single_images.ASSUMPTION)
    for warning in warnings:
        _log.warning('%s', warning)


def _prepare_images(config: Config, layout: Layout) -> tuple[Feed, Evaluator | None]:
    """Returns the feed and the evaluator of clean images, to which noise is added."""
    evaluator = Evaluator(config, layout) if config.eval.in_loop else None
    with heartbeat('Opening the images to train on'):
        return _image_feed(config, layout), evaluator


def _image_feed(config: Config, layout: Layout) -> Feed:
    skip_bad = config.data.on_bad_file == 'skip'
    source = open_source(config.data.train, skip_bad=skip_bad)
    source = stacked(source, config.model, f'data.train={config.data.train}')
    source = at_least(source, config.data.crop, skip=skip_bad)
    if 0 < config.data.max_images < len(source.names):
        source = Subset(source, list(range(config.data.max_images)))
    if config.noise.realizations:
        return realization_feed(source, config, layout)
    channels = config.model.channels + planes.num_given(config.model)
    return make_feed(source, config.data, channels=channels, seed=config.seed, layout=layout)


def _prepare_captures(
    config: Config, scenes: Sequence[SceneCaptures], layout: Layout
) -> tuple[CaptureFeed, Sequence[SceneCaptures]]:
    """Returns the feed of the captures to train on, and the held-out captures."""
    share = config.captures.held_out
    trained, held_out = hold_out.split(scenes, share, crop=config.data.crop)
    by_scene = len(trained) < len(scenes)
    held = f'{len(held_out)} scenes' if by_scene else f'the right {share:.0%} of the measured area'
    return _capture_feed(config, trained, layout, held=held), held_out


def _prepare_single_images(
    config: Config, scenes: Sequence[SceneCaptures], layout: Layout
) -> tuple[CaptureFeed, SingleImageEvaluator | None]:
    """Returns the feed and the evaluator; nothing is held out, as one capture cannot be scored."""
    evaluator = None
    if config.eval.in_loop:
        shown = [
            network_range.to_network_range(scene, config.model) for scene in center_crops(scenes)
        ]
        evaluator = SingleImageEvaluator(config.model, shown)
    return _capture_feed(config, scenes, layout, held='nothing'), evaluator


def _capture_feed(
    config: Config, scenes: Sequence[SceneCaptures], layout: Layout, *, held: str
) -> CaptureFeed:
    placed = placed_captures.place(
        [scene.captures_NHWC for scene in scenes],
        layout,
        pairing=config.captures.pairing,
        masks=network_range.masks(scenes),
        write=lambda s, out: network_range.to_network_range(scenes[s], config.model, out=out),
    )
    feed = CaptureFeed(placed, config.data, seed=config.seed, layout=layout)
    feed.description += f'; held out: {held}'
    return feed


def _capture_evaluator(
    config: Config, held_out: Sequence[SceneCaptures]
) -> CaptureEvaluator | None:
    if not config.eval.in_loop:
        return None
    return CaptureEvaluator(config.model, evaluated_regions.in_range(config, held_out))
