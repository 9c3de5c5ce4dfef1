"""Weights that nothing is special about: no zeros, no ones, batch norm included."""

from typing import Any

import jax
import numpy as np

from n2n_jax import models
from n2n_jax.runtime.config import ModelConfig


def random_variables(config: ModelConfig, seed=0) -> dict[str, Any]:
    """Returns random variables of the shapes of `models.init`.

    Drawn by numpy: JAX would compile a program for each shape. And `models.init` draws weights that
    stop the gradient, such as zeros in the last layer.
    """
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        if path[-1].key in ('scale', 'var'):
            return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        if path[-1].key in ('bias', 'mean'):
            return rng.normal(0, 0.1, leaf.shape).astype(np.float32)
        spread = np.sqrt(2 / np.prod(leaf.shape[:-1]))
        return rng.normal(0, spread, leaf.shape).astype(np.float32)

    shapes = jax.eval_shape(lambda key: models.init(config, key), jax.random.key(0))
    return jax.tree_util.tree_map_with_path(draw, shapes)


def first_layers(config: ModelConfig, *names: str) -> dict[str, Any]:
    """Returns the weights of some layers as `models.init` draws them; the others take long."""

    @jax.jit
    def draw(key):
        params = models.init(config, key)['params']['network']
        return {name: params[name] for name in names}

    return draw(jax.random.key(0))


def with_first_last_layer(config: ModelConfig) -> dict[str, Any]:
    """Returns random variables, but the last layer as `models.init` draws it."""
    last = models.build(config).network.last_layer
    variables = random_variables(config)
    variables['params']['network'] |= first_layers(config, last)
    return variables
