"""The config of a training on one's own captures, from the captures themselves."""

import dataclasses
import logging
import pprint
import time
from pathlib import Path

import jax

from n2n_jax import train
from n2n_jax.config import CapturesConfig, Config, flatten
from n2n_jax.data import own_captures, single_images
from n2n_jax.errors import UserError
from n2n_jax.fit import compile_step
from n2n_jax.parallel import make_layout
from n2n_jax.train_step import init_state, make_task
from n2n_jax.workdir import write_text

_log = logging.getLogger(__name__)

CONFIG_FILE = 'config.py'  # in the workdir, for `python -m n2n_jax.main --config`
_LARGEST_CROP = 64
_CROP_MULTIPLE = 32
_EVALUATIONS = 10
# At 2e-3 without clipping a training on mixed microscopy blew up after 1,200 steps. Gradients
# have a norm of 0.01 to 0.1 once it goes.
_LEARNING_RATE, _CLIP_NORM = 1e-3, 0.2
_WARM_UP_STEPS, _TIMED_STEPS = 3, 10
_FEWEST_STEPS = 100


def make_config(
    captures: CapturesConfig,
    *,
    model: str = 'unet',
    steps: int = 0,
    minutes: float = 20.0,
    batch_size: int = 8,
    seed: int = 0,
) -> Config:
    """A config for these captures; the step is timed if `steps` is 0.

    Args:
      captures: where they are.
      model: a name in `models.REGISTRY`.
      steps: updates of the weights; 0: as many as fit into the time.
      minutes: of training.
      batch_size: crops per step.
      seed: of the run.

    Raises:
      UserError: the captures cannot be used.
    """
    if minutes <= 0 or steps < 0:
        raise UserError(f'--minutes {minutes:g} --steps {steps}: write numbers above 0.')
    scenes = own_captures.load(captures)
    smallest = min(min(scene.captures_NHWC.shape[1:3]) for scene in scenes)
    crop = min(_LARGEST_CROP, smallest)
    if not captures.single and len(scenes) < own_captures.SCENES_TO_SPLIT:
        width = min(scene.captures_NHWC.shape[2] for scene in scenes)
        crop = min(crop, width - round(captures.held_out * width))
    if crop > _CROP_MULTIPLE:
        crop -= crop % _CROP_MULTIPLE
    if captures.single:
        crop = max(2, crop - crop % 2)
        single_images.check(scenes, captures, crop=crop)
    config = Config(seed=seed, captures=captures)
    config = dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, name=model),
        data=dataclasses.replace(config.data, crop=crop, batch_size=batch_size),
    )
    config = own_captures.resolve(config, scenes)
    if not steps:
        seconds = _seconds_per_step(config, scenes)
        steps = max(_FEWEST_STEPS, int(60 * minutes / seconds))
        _log.info('A step takes %.0f ms: %d steps in %g minutes.', 1000 * seconds, steps, minutes)
    every = max(1, steps // _EVALUATIONS)
    return dataclasses.replace(
        config,
        optim=dataclasses.replace(
            config.optim,
            learning_rate=_LEARNING_RATE,
            clip_norm=_CLIP_NORM,
            warmup_steps=min(50, steps // 10),
        ),
        train=dataclasses.replace(config.train, steps=steps, checkpoint_every=every),
        eval=dataclasses.replace(config.eval, every=every),
    )


def _seconds_per_step(config: Config, scenes: list[own_captures.SceneCaptures]) -> float:
    layout = make_layout(config.data.batch_size)
    feed, _ = train.open_captures(scenes, config, layout)
    step = compile_step(config, make_task(config), feed, layout, 1)
    state = jax.jit(lambda: init_state(config), out_shardings=layout.replicated)()
    start = 0.0
    for k in range(_WARM_UP_STEPS + _TIMED_STEPS):
        if k == _WARM_UP_STEPS:
            start = time.monotonic()
        state, _ = step(state, feed.constants, feed.inputs(k, 1))
        jax.block_until_ready(state)
    return (time.monotonic() - start) / _TIMED_STEPS


def write_config(config: Config, workdir: Path) -> Path:
    """Writes the config as a file that `python -m n2n_jax.main --config` takes."""
    default = flatten(Config())
    changed = {key: value for key, value in flatten(config).items() if value != default[key]}
    lines = pprint.pformat(changed, sort_dicts=False)
    text = (
        '"""Written by `n2n train`: python -m n2n_jax.main --config THIS_FILE --workdir RUN."""\n\n'
        'from n2n_jax.config import Config, to_config_dict\n\n\n'
        "def get_config(variant=''):\n"
        '    """What differs from the default config."""\n'
        '    del variant\n'
        '    config = to_config_dict(Config())\n'
        f'    config.update_from_flattened_dict(\n{_indented(lines)}\n    )\n'
        '    return config\n'
    )
    file = workdir / CONFIG_FILE
    write_text(file, text)
    return file


def _indented(text: str) -> str:
    return '\n'.join('        ' + line for line in text.splitlines())
