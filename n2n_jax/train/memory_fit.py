"""Checks whether a training step fits into the memory of a device, by compiling it.

K steps of a dispatch, B batch.
"""

import bisect
import dataclasses
import functools
import logging
import math
from collections.abc import Callable

import jax

from n2n_jax import models
from n2n_jax.data.feeds import Feed
from n2n_jax.runtime.checkpoint import abstract_like
from n2n_jax.runtime.config import Config
from n2n_jax.runtime.device_memory import device_bytes, program_bytes, readable
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.parallel import Layout
from n2n_jax.train.step import init_state, make_train_step
from n2n_jax.train.tasks import Task

_log = logging.getLogger(__name__)

_CROP_MULTIPLE = 32  # all networks take these without padding


def compile_step(
    config: Config, task: Task, feed: Feed, layout: Layout, num_steps: int
) -> jax.stages.Compiled:
    """Compiles `make_train_step` for dispatches of `num_steps` steps.

    Raises:
      UserError: it needs more memory than a device has; says which settings fit.
    """
    if jax.config.values['jax_disable_jit']:
        raise UserError('JAX_DISABLE_JIT prevents compiling the training step: unset it.')
    compiled = _compile(config, task, feed, layout, num_steps)
    needed, limit = program_bytes(compiled), device_bytes()
    if needed > limit:
        raise UserError(_suggest_what_fits(config, task, feed, layout, needed, limit))
    return compiled


def _compile(
    config: Config, task: Task, feed: Feed, layout: Layout, num_steps: int
) -> jax.stages.Compiled:
    state = abstract_like(jax.eval_shape(lambda: init_state(config)), layout.replicated)
    inputs = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=layout.by_batch(1)),
        feed.abstract_inputs(num_steps, config.data.batch_size),
    )
    step = make_train_step(config, task, feed, layout)
    return step.lower(state, feed.constants, inputs).compile()


def _suggest_what_fits(
    config: Config, task: Task, feed: Feed, layout: Layout, needed: int, limit: int
) -> str:
    """Returns a message with the problem and all ways out, each verified by compiling it."""
    batch_size, crop, devices = config.data.batch_size, config.data.crop, layout.num_devices
    problem = (
        f'A step of {batch_size} crops of {crop}x{crop} needs {readable(needed)} of memory, but '
        f'the device has {readable(limit)}.'
    )
    _log.info('%s Looking for settings that fit.', problem)

    @functools.cache
    def bytes_with(batch_size: int, accumulate: int) -> int:
        changed = dataclasses.replace(
            config,
            data=dataclasses.replace(config.data, batch_size=batch_size),
            optim=dataclasses.replace(config.optim, accumulate=accumulate),
        )
        return program_bytes(_compile(changed, task, feed, layout, 1))

    ways = []
    per_device = batch_size // devices
    num_parts = [n for n in range(per_device, 0, -1) if per_device % n == 0]
    parts = largest_that_fits(num_parts, lambda n: bytes_with(batch_size, n), limit)
    if parts is not None and not models.has_batch_norm(config.model):  # see run_checks
        ways.append(f'optim.accumulate={parts} trains with the same batch, part by part')
    batches = list(range(devices, batch_size, devices))
    largest = largest_that_fits(batches, lambda n: bytes_with(n, 1), limit)
    if largest is not None:
        ways.append(f'data.batch_size={largest} is the largest batch that fits')
    if not ways:
        # Nearly all of the memory is proportional to the area of the crop.
        estimate = int(crop * math.sqrt(limit / bytes_with(devices, 1)))
        if estimate > _CROP_MULTIPLE:
            estimate -= estimate % _CROP_MULTIPLE
        ways.append(f'not one crop fits: write data.crop={max(estimate, 1)} or less')
    return f'{problem} {"; ".join(ways)}.'


def largest_that_fits(
    candidates: list[int], needed: Callable[[int], int], limit: int
) -> int | None:
    """Returns the last candidate that needs at most `limit` bytes, None if none does.

    Args:
      candidates: in ascending order of what they need.
      needed: returns the bytes that a candidate needs.
      limit: bytes that there are.
    """
    i = bisect.bisect_right(candidates, limit, key=needed)
    return candidates[i - 1] if i else None
