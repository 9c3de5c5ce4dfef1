"""Eight virtual CPU devices for every test, and the strictness the code is written for."""

import atexit
import os
import shutil
import tempfile

# Tests and the programs they start share compiled code, of this session alone.
_COMPILED = tempfile.mkdtemp(prefix='n2n_jax_compiled_')
os.environ['JAX_COMPILATION_CACHE_DIR'] = _COMPILED
atexit.register(shutil.rmtree, _COMPILED, ignore_errors=True)

import jax
import numpy as np
import pytest
from flax import linen as nn

from n2n_jax import models
from n2n_jax.config import Config, from_config_dict, to_config_dict

jax.config.update('jax_num_cpu_devices', 8)
jax.config.update('jax_numpy_rank_promotion', 'raise')


class TinyNet(nn.Module):
    """Two convolutions: compiles in a moment."""

    out_channels: int
    norm: str = 'none'
    stride = 4

    @nn.compact
    def __call__(self, x_BHWC, *, train=False):
        y_BHWF = nn.Conv(8, (3, 3))(x_BHWC)
        if self.norm == 'batch':
            y_BHWF = nn.BatchNorm(use_running_average=not train)(y_BHWF)
        return nn.Conv(self.out_channels, (3, 3))(nn.relu(y_BHWF))


@pytest.fixture(autouse=True)
def _tiny_network(monkeypatch):
    monkeypatch.setitem(
        models.REGISTRY, 'tiny', lambda config, dtype: TinyNet(config.channels, config.norm)
    )


def tiny_config(**changes) -> Config:
    """A training of seconds; `tiny_config(**{'train.steps': 3})` changes keys."""
    values = to_config_dict(Config())
    defaults = {
        'model.name': 'tiny',
        'data.crop': 16,
        'data.batch_size': 8,
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


@pytest.fixture
def image_folder(tmp_path):
    """Five smooth 8-bit colour images of different sizes, from 24 to 40 pixels."""
    from n2n_jax import io

    folder = tmp_path / 'images'
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(5):
        h, w = 24 + 4 * i, 40 - 4 * i
        coarse = rng.random((h // 8 + 1, w // 8 + 1, 3)).repeat(8, 0).repeat(8, 1)[:h, :w]
        io.write_pixels(folder / f'image{i}.png', np.uint8(coarse * 255))
    return folder
