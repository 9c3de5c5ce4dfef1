"""Networks whose result is known, and pixels, for tests that denoise files."""

import jax
import numpy as np

from n2n_jax import models
from n2n_jax.denoise import files
from n2n_jax.denoise.denoiser import Denoiser
from n2n_jax.denoise.files import Options
from n2n_jax.denoise.jobs import Job
from n2n_jax.runtime.config import ModelConfig


def identity(*, shift=0.0, **changes):
    """A residual network of zeros whose last bias is `shift`, which it adds to every pixel."""
    config = ModelConfig(name='tiny', channels=1, **changes)
    variables = jax.tree.map(np.zeros_like, models.init(config, jax.random.key(0)))
    bias = variables['params']['network']['Conv_1']['bias']
    variables['params']['network']['Conv_1']['bias'] = np.full_like(bias, shift)
    return Denoiser(config, variables, step=0, core=16)


def random_network(channels=1, **changes):
    config = ModelConfig(name='tiny', channels=channels, residual=False, **changes)
    return Denoiser(config, models.init(config, jax.random.key(0)), step=0, core=16)


def denoise(network, source, target, *, options=Options(), **changes):  # noqa: B008 (frozen)
    """Denoises one file; returns the failures."""
    job = Job((source,), (None,), target, **changes)
    return files.denoise_files(network, [job], options)


def pixels(*shape, dtype='uint8', high=200):
    return np.random.default_rng(0).uniform(0, high, shape).astype(dtype)
