"""The config of a training on one's own captures, from the captures themselves."""

import dataclasses
import logging
import pprint
import time
from pathlib import Path

import jax

from n2n_jax import fine_tuning, train
from n2n_jax.config import CapturesConfig, Config, ModelConfig, check, flatten
from n2n_jax.data import fixes, own_captures, single_images
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
_MOST_EVALUATING = 0.5  # of the time
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
_WARM_UP_STEPS, _TIMED_STEPS = 3, 10
_FEWEST_STEPS = 100


def make_config(
    captures: CapturesConfig,
    *,
    model: str = '',
    init_from: str = '',
    steps: int = 0,
    minutes: float = 20.0,
    batch_size: int = 8,
    seed: int = 0,
    patience: int = PATIENCE,
) -> Config:
    """A config for these captures; the step is timed if `steps` is 0.

    Args:
      captures: where they are.
      model: a name in `models.REGISTRY`; '': that of `init_from`, else the U-Net.
      init_from: workdir of a run whose weights to start from; '': random ones.
      steps: updates of the weights; 0: as many as fit into the time.
      minutes: of training.
      batch_size: crops per step.
      seed: of the run.
      patience: evaluations in a row without gain that end it; 0: none.

    Raises:
      UserError: the captures cannot be used.
    """
    if minutes <= 0 or steps < 0:
        raise UserError(f'--minutes {minutes:g} --steps {steps}: write numbers above 0.')
    patience = 0 if captures.single else patience
    checked = Config(seed=seed, captures=captures)
    check(
        dataclasses.replace(
            checked,
            data=dataclasses.replace(checked.data, batch_size=batch_size),
            train=dataclasses.replace(checked.train, patience=patience),
        )
    )
    network = ModelConfig(name=model or 'unet', zero_last=not init_from)
    if init_from:
        network = fine_tuning.same_network(network, Path(init_from))
        network = dataclasses.replace(network, name=model or network.name)
    loaded = fixes.load(captures)
    config = Config(seed=seed, captures=captures, model=network)
    config = own_captures.resolve(config, loaded.raw)
    fine_tuning.check_start(config)
    scenes = loaded.fixed
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
    config = dataclasses.replace(
        config, data=dataclasses.replace(config.data, crop=crop, batch_size=batch_size)
    )
    if not steps:
        per_step, per_evaluation = _seconds(config, scenes)
        evaluating = min(_EVALUATIONS * per_evaluation, _MOST_EVALUATING * 60 * minutes)
        steps = max(_FEWEST_STEPS, int((60 * minutes - evaluating) / per_step))
        _log.info(
            'A step takes %.0f ms, an evaluation %.1f s: %d steps in %g minutes.',
            1000 * per_step,
            per_evaluation,
            steps,
            minutes,
        )
    every = -(-steps // _EVALUATIONS)
    return dataclasses.replace(
        config,
        optim=dataclasses.replace(
            config.optim,
            learning_rate=_FINE_TUNING_RATE if init_from else _LEARNING_RATE,
            clip_norm=_CLIP_NORM,
            warmup_steps=min(50, steps // 10),
        ),
        train=dataclasses.replace(
            config.train,
            steps=steps,
            checkpoint_every=every,
            patience=patience,
        ),
        eval=dataclasses.replace(config.eval, every=every),
    )


def _seconds(config: Config, scenes: list[own_captures.SceneCaptures]) -> tuple[float, float]:
    """What a step takes, and an evaluation, by that of one scene."""
    layout = make_layout(config.data.batch_size)
    feed, evaluator = train.open_captures(scenes, config, layout)
    step = compile_step(config, make_task(config), feed, layout, 1)
    state = jax.jit(lambda: init_state(config), out_shardings=layout.replicated)()
    start = 0.0
    for k in range(_WARM_UP_STEPS + _TIMED_STEPS):
        if k == _WARM_UP_STEPS:
            start = time.monotonic()
        state, _ = step(state, feed.constants, feed.inputs(k, 1))
        jax.block_until_ready(state)
    per_step = (time.monotonic() - start) / _TIMED_STEPS
    if evaluator is None:
        return per_step, 0.0
    of_one = type(evaluator)(config.model, evaluator.scenes[:1])
    of_one(state.variables, 0)  # compiles
    start = time.monotonic()
    of_one(state.variables, 0)
    return per_step, (time.monotonic() - start) * len(evaluator.scenes)


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
