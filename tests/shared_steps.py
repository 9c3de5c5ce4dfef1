"""Compiled training steps that the runs of one test file share.

Tracing a step and reading its code from the cache takes most of the time of a run of four steps.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from n2n_jax import models
from n2n_jax.runtime.config import Config
from n2n_jax.train import optimizers


def sharing(compile_step: Callable[..., Any]) -> Callable[..., Any]:
    """Returns `prepared.compile_step`, which compiles steps that are traced alike only once.

    A step depends on no paths and on neither `train` nor `eval`; see `n2n_jax.train.schedules` for
    its length.
    """
    compiled: dict[Any, Any] = {}

    def shared(config, task, feed, layout, num_steps):
        same = dataclasses.replace(
            config,
            data=dataclasses.replace(config.data, train=''),
            captures=dataclasses.replace(config.captures, paths=''),
            train=Config().train,
            eval=Config().eval,
        )
        constants = jax.tree.map(lambda x: (x.shape, x.dtype, x.sharding), feed.constants)
        key = (
            *(repr(same), repr(task), type(feed), feed.abstract_inputs(1, 1), layout, num_steps),
            *(jax.tree.structure(constants), *jax.tree.leaves(constants)),
            # What tests replace.
            *(optimizers.transformation, models.REGISTRY[config.model.name.partition(':')[0]]),
        )
        if key not in compiled:
            compiled[key] = compile_step(config, task, feed, layout, num_steps)
        return compiled[key]

    return shared
