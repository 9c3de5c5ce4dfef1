"""The starting state of a run: its newest checkpoint, another run's weights, or random weights."""

import dataclasses
import functools
import logging
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from n2n_jax import models
from n2n_jax.runtime.checkpoint import Checkpoints, abstract_like
from n2n_jax.runtime.config import Config
from n2n_jax.runtime.parallel import Layout
from n2n_jax.train.fine_tuning import starting_weights
from n2n_jax.train.prepared import new_state, placed_loss_arrays, placed_schedule
from n2n_jax.train.step import TrainState, init_state

_log = logging.getLogger(__name__)


def starting_state(config: Config, checkpoints: Checkpoints, layout: Layout) -> TrainState:
    """Returns the state of the newest checkpoint; without one, the state of a new run.

    Raises:
      UserError: the weights to start from cannot be read, or are of another network.
    """
    step = checkpoints.last_step
    if step is not None:
        abstract = abstract_like(
            jax.eval_shape(functools.partial(init_state, config)), layout.replicated
        )
        restored = checkpoints.restore(step, items(abstract))
        _log.info('Resumed at step %d.', step)
        return TrainState(
            variables=restored['variables'],
            ema=restored.get('ema'),
            failed=layout.place(np.array(False), batch_axis=None),
            schedule=placed_schedule(config, layout),
            loss_arrays=placed_loss_arrays(config, layout),
            **restored['optimizer'],
        )
    return first_state(config, layout)


def first_state(config: Config, layout: Layout) -> TrainState:
    """Returns the state of a new run: random weights, or those that the config starts from.

    Raises:
      UserError: the weights to start from cannot be read, or are of another network.
    """
    state = new_state(config, layout)
    variables = None
    if config.model.init_from:
        variables = starting_weights(config, layout.replicated)
    elif config.model.encoder_weights:
        variables = models.with_encoder(Path(config.model.encoder_weights), state.variables)
        variables = jax.device_put(variables, layout.replicated)
    else:
        _log.info('Starting from random weights.')
    if variables is not None:
        ema = None if state.ema is None else jax.tree.map(jnp.copy, variables)
        state = dataclasses.replace(state, variables=variables, ema=ema)
    return state


def items(state: TrainState) -> dict[str, Any]:
    """Returns the items of a checkpoint: the weights are separate from the optimizer's state."""
    parts = {
        'variables': state.variables,
        'optimizer': {'step': state.step, 'opt_state': state.opt_state},
    }
    if state.recent is not None:
        parts['optimizer']['recent'] = state.recent
    return parts if state.ema is None else {**parts, 'ema': state.ema}
