"""Starts a run from the weights of a trained model."""

import dataclasses
import logging
from pathlib import Path
from typing import Any

import jax

from n2n_jax.models import trained
from n2n_jax.models.weights import weights_hash
from n2n_jax.runtime.checkpoint import open_for_reading
from n2n_jax.runtime.config import NOT_MEASURED, Config, ModelConfig
from n2n_jax.runtime.errors import UserError

_log = logging.getLogger(__name__)

# The keys that both runs must share. The range of the pixel values is not one of them: weights only
# see values in network range. With a range measured on the new captures, their values fill the
# network's range just as the old captures' did, whatever their bit depth, exposure or units; with
# the old range they could all be near 0.
_SHARED_KEYS = ('name', 'channels', 'residual')


def check_start(config: Config) -> None:
    """Checks whether the weights of `model.init_from` fit the network; returns if it is empty.

    Raises:
      UserError: there are none, or they are of another network (names both).
    """
    if not config.model.init_from:
        return
    theirs = trained.network_of(config.model.init_from)
    for name in _SHARED_KEYS:
        ours, other = getattr(config.model, name), getattr(theirs, name)
        if ours != other:
            way_out = (
                'start from a run on images with the same number of channels.'
                if name == 'channels'
                else f'write model.{name}={other}.'
            )
            raise UserError(
                f'model.init_from={config.model.init_from} has model.{name}={other}, but this run '
                f'has {ours}: {way_out}'
            )


def starting_weights(config: Config, sharding: jax.sharding.Sharding) -> Any:
    """Returns the weights of `model.init_from`: of a run that selects, the best ones."""
    found = trained.load(config.model.init_from, sharding)
    in_units = _in_units(found.config)
    _log.info(
        'Starting from the weights of %s at step %d (%s).',
        config.model.init_from,
        found.step,
        weights_hash(found.variables)[:16],
    )
    if in_units != _in_units(config.model):
        ways = 'plain pixel values', 'values in units of their noise'
        _log.warning(
            '%s was trained on %s, but this one uses %s: its weights are a worse start '
            'than those of a model of the same kind, and may be no better than random ones.',
            config.model.init_from,
            ways[in_units],
            ways[not in_units],
        )
    return found.variables


def code_of(model: str) -> str:
    """Returns `imports` of a run, after running that code; '' for other models.

    Raises:
      UserError: see `trained.load`.
    """
    if not trained.is_run(model):
        return ''
    with open_for_reading(Path(model)) as checkpoints:
        return checkpoints.config(checkpoints.newest_step).imports


def same_network(network: ModelConfig, model: str) -> ModelConfig:
    """Returns `network` with the network of a model, except for its number of channels.

    If the model was trained on plain pixel values, as those that come with n2n_jax, they are not
    scaled by their noise either.

    Raises:
      UserError: see `trained.load`.
    """
    theirs = trained.network_of(model)
    kept = {name: getattr(theirs, name) for name in _SHARED_KEYS if name != 'channels'}
    noise = network.noise if _in_units(theirs) else NOT_MEASURED
    return dataclasses.replace(network, **kept, noise=noise, init_from=model)


def _in_units(config: ModelConfig) -> bool:
    """Whether a network sees values in units of their noise."""
    return config.noise not in ('', NOT_MEASURED)
