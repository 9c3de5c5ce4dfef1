"""A trained model as one file: its weights and what they need to be used, without the run.

Safetensors: weights by their names in float16, and the network as JSON in the header. That is half
the size of float32, and as good: a photograph denoised by a trained U-Net changes by 0.004 gray
levels of 8 bits (0.02 at most).
"""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors
import safetensors.numpy
from flax import traverse_util

import n2n_jax
from n2n_jax import models
from n2n_jax.runtime import json_files
from n2n_jax.runtime.atomic_files import write_bytes
from n2n_jax.runtime.config import Config, ModelConfig, from_saved, to_saved
from n2n_jax.runtime.errors import UserError

SUFFIX = '.safetensors'
_HEADER = 'n2n_jax'  # key of the metadata that holds the JSON
_WAY_OUT = 'write it again with n2n export.'


@dataclasses.dataclass(frozen=True)
class Trained:
    """A network and its trained weights.

    Attributes:
      config: settings of the network.
      variables: its weights, float32.
      step: training step of the weights.
    """

    config: ModelConfig
    variables: Any
    step: int


def write(path: Path, trained: Trained) -> None:
    """Writes a model.

    Args:
      path: the file; one that exists is replaced.
      trained: the model. Paths of files it started from are left out, as its weights hold them.

    Raises:
      UserError: the file cannot be written, the network is one of the user's own, whose code the
        file cannot hold, or a weight is too large for float16.
    """
    name = trained.config.name.partition(':')[0]
    if own := models.REGISTRY.added_by(name):
        raise UserError(
            f'{path} cannot hold the network {name}, which {own} adds: give the folder of the run '
            'instead.'
        )
    flat = traverse_util.flatten_dict(trained.variables, sep='/')
    with np.errstate(over='ignore'):  # found below
        arrays = {name: np.asarray(value, np.float16) for name, value in flat.items()}
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise UserError(f'{path} cannot hold the weight {name}: it is too large for float16.')
    network = dataclasses.replace(trained.config, encoder_weights='', init_from='')
    header = {
        **to_saved(Config(model=network)),
        'step': trained.step,
        'n2n_jax': n2n_jax.__version__,
    }
    write_bytes(path, safetensors.numpy.save(arrays, {_HEADER: json_files.dumps(header)}))


def read(path: Path) -> Trained:
    """Reads a model that `write` has written.

    Raises:
      UserError: the file is missing, damaged, of another program, or its weights are not those of
        its network.
    """
    header = _header(path)
    config, step = _content(path, header)
    arrays = safetensors.numpy.load_file(path)
    shapes = jax.eval_shape(lambda: models.init(config, jax.random.key(0)))
    expected = traverse_util.flatten_dict(shapes, sep='/')
    _check_weights(path, config, arrays, expected)
    flat = {name: arrays[name].astype(like.dtype) for name, like in expected.items()}
    return Trained(config, traverse_util.unflatten_dict(flat, sep='/'), step)


def network_of(path: Path) -> ModelConfig:
    """Returns the network of a model file; raises as `read`, but does not look at the weights."""
    return _content(path, _header(path))[0]


def _header(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise UserError(f'{path}: no such file.')
    try:
        with safetensors.safe_open(path, 'numpy') as file:
            metadata = file.metadata() or {}
    except OSError as error:
        raise UserError(f'{path} cannot be read: {error.strerror or error}.') from error
    except safetensors.SafetensorError as error:
        raise UserError(f'{path} is damaged, or no .safetensors file: {error}.') from error
    if _HEADER not in metadata:
        raise UserError(
            f'{path} is no model of n2n_jax: it holds weights, but not the network they belong to. '
            'n2n export writes such files.'
        )
    try:
        header = json_files.loads(metadata[_HEADER])
    except ValueError:
        header = None
    if not isinstance(header, dict):
        raise UserError(f'{path} is damaged: {_WAY_OUT}')
    return header


def _content(path: Path, header: Mapping[str, Any]) -> tuple[ModelConfig, int]:
    try:
        config = from_saved(header).model
        models.check_settings(config)
        step = header['step']
        if type(step) is not int or step < 0 or not math.isfinite(config.black + config.white):
            raise ValueError
        return config, step
    except UserError as error:
        raise UserError(f'{path}: {error}') from error
    except (KeyError, TypeError, ValueError):
        raise UserError(f'{path} is damaged: {_WAY_OUT}') from None


def _check_weights(
    path: Path,
    config: ModelConfig,
    arrays: Mapping[str, np.ndarray],
    expected: Mapping[str, jax.ShapeDtypeStruct],
) -> None:
    other = sorted(arrays.keys() ^ expected.keys())
    other += [name for name in expected if name not in other and _differs(arrays, expected, name)]
    if other:
        more = f' and {len(other) - 1} more' if len(other) > 1 else ''
        raise UserError(
            f'{path} holds the weights of another network than {config.name}: {other[0]}{more} '
            f'do not fit. {_WAY_OUT.capitalize()}'
        )
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise UserError(f'{path} is damaged: {name} is not finite. {_WAY_OUT.capitalize()}')


def _differs(
    arrays: Mapping[str, np.ndarray], expected: Mapping[str, jax.ShapeDtypeStruct], name: str
) -> bool:
    return arrays[name].shape != expected[name].shape or arrays[name].dtype.kind != 'f'
