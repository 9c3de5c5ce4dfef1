"""What a network costs its user: parameters, and time per image.

B batch, H height, W width, I channels of the input.
"""

import functools
import time

import jax
import jax.numpy as jnp
import numpy as np

from n2n_jax import models
from n2n_jax.models import planes
from n2n_jax.runtime.config import ModelConfig

_SIDE, _REPEATS = 256, 6  # pixels; other programs disturb, so the shortest time counts


def num_parameters(config: ModelConfig) -> int:
    """Returns the number of parameters of a network."""
    shapes = jax.eval_shape(lambda key: models.init(config, key), jax.random.key(0))
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(shapes['params']))


@functools.cache
def seconds_per_megapixel(config: ModelConfig) -> float:
    """Returns the shortest time of a few that a network needs for an image of its own, on zeros."""
    shapes = jax.eval_shape(lambda key: models.init(config, key), jax.random.key(0))
    variables = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    noisy_BHWI = jnp.zeros((1, _SIDE, _SIDE, config.channels + planes.num_shown(config)))
    denoise = (
        jax.jit(models.denoise, static_argnums=0)
        .lower(models.build(config), variables, noisy_BHWI)
        .compile()
    )
    seconds = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        jax.block_until_ready(denoise(variables, noisy_BHWI))
        seconds.append(time.perf_counter() - start)
    return min(seconds) * 1e6 / _SIDE**2
