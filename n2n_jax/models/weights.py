"""The weights that a run ships, and their hash."""

import functools
import hashlib
from typing import Any

import jax
import numpy as np

from n2n_jax import models
from n2n_jax.runtime.checkpoint import Checkpoints, abstract_like


def weights_hash(variables: Any) -> str:
    """Returns the SHA-256 of all weights with their names; equal weights have equal hashes."""
    digest = hashlib.sha256()
    for path, value in jax.tree_util.tree_leaves_with_path(variables):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.asarray(value).tobytes())
    return digest.hexdigest()


def shipped_variables(checkpoints: Checkpoints, step: int, sharding: jax.sharding.Sharding) -> Any:
    """The weights of a checkpoint that are evaluated and shipped: the average if there is one."""
    config = checkpoints.config(step)
    shapes = jax.eval_shape(functools.partial(models.init, config.model), jax.random.key(0))
    name = 'ema' if config.optim.ema_decay > 0 else 'variables'
    return checkpoints.restore(step, {name: abstract_like(shapes, sharding)})[name]
