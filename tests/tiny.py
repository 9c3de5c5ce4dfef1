"""A tiny experiment that runs in seconds, for tests of the code around it.

B batch, H height, W width, C channels, F features.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from n2n_jax import models
from n2n_jax.runtime.config import (
    CapturesConfig,
    Config,
    ModelConfig,
    from_config_dict,
    to_config_dict,
)
from n2n_jax.train import planning
from n2n_jax.train.tasks import Moment


class TinyNet(nn.Module):
    """Two convolutions, which compile quickly."""

    out_channels: int
    norm: Literal['none', 'batch'] = 'none'
    stride = 4
    halo = 4

    @nn.compact
    def __call__(self, x_BHWC, *, train=False):
        y_BHWF = nn.Conv(8, (3, 3))(x_BHWC)
        if self.norm == 'batch':
            y_BHWF = nn.BatchNorm(use_running_average=not train)(y_BHWF)
        return nn.Conv(self.out_channels, (3, 3))(nn.relu(y_BHWF))


def tiny_config(**changes) -> Config:
    """Returns the config of a run of seconds; `tiny_config(**{'train.steps': 3})` changes keys."""
    values = to_config_dict(Config())
    defaults = {
        'model.name': 'tiny',
        'data.crop': 16,
        'data.batch_size': 8,
        'noise.input': 'gaussian:25',  # compiles faster than a range of levels
        'optim.learning_rate': 1e-3,
        'optim.warmup_steps': 0,
        'train.steps': 4,
        'train.log_every': 2,
        'train.checkpoint_every': 2,
        'eval.every': 2,
        'eval.max_images': 2,
        'train.tensorboard': False,
    }
    values.update_from_flattened_dict({**defaults, **changes})
    return from_config_dict(values)


def first_variables(config: ModelConfig, seed=0) -> dict[str, Any]:
    """Returns `models.init` of a seed, compiled as one program: outside of jit it is hundreds."""
    return jax.jit(lambda key: models.init(config, key))(jax.random.key(seed))


def zero_variables(config: ModelConfig) -> dict[str, Any]:
    """Returns variables of the shapes of `models.init`, all 0, without drawing any."""
    shapes = jax.eval_shape(lambda key: models.init(config, key), jax.random.key(0))
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)


def planned_config(captures: CapturesConfig, **options) -> Config:
    """Returns the config that `n2n train` derives for captures."""
    return planning.plan(captures, planning.Options(**options)).prepared.config


def moment(step=0, *, progress=0.0, denoise=lambda x_BHWC: x_BHWC):
    """Returns the state of a run at a step, for `Task.pair`."""
    return Moment(0, jnp.int32(step), jnp.float32(progress), denoise)
