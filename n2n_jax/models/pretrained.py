"""Loads ImageNet weights for the ResNet encoders from a local file with torchvision's names."""

import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from flax import traverse_util

from n2n_jax.models.resnet import LAYOUTS, Layout
from n2n_jax.runtime.errors import UserError

_LEAVES = {
    'kernel': 'weight',
    'scale': 'weight',
    'bias': 'bias',
    'mean': 'running_mean',
    'var': 'running_var',
}


def load_encoder(path: str | Path, variables: Mapping[str, Any]) -> dict[str, Any]:
    """Replaces the encoder of a `ResNetUNet(norm='batch')` with weights from a file.

    The weights are copied unchanged: the network itself normalizes its input to the mean and
    standard deviation of ImageNet (see `ResNet`), so it computes exactly the features that the
    weights were trained for, borders included.

    Args:
      path: '.npz' or '.safetensors' with torchvision's names and layouts ('conv1.weight' as OIHW,
        'layer1.0.bn1.running_mean', ...). Other entries, such as 'fc.weight', are ignored.
      variables: variables from the network's `init`; not modified.

    Returns:
      The variables with params/encoder and batch_stats/encoder replaced, in float32.

    Raises:
      UserError: the network has no batch norm; the file is missing, unreadable or in another
        format; its weights are those of another encoder; an entry is missing, not finite or has the
        wrong shape.
    """
    path = Path(path)
    params = variables['params']
    if 'encoder' not in params or 'encoder' not in variables.get('batch_stats', {}):
        suggested = _depth(torch_names(params.get('encoder', {}))) or 50
        raise UserError(
            'Pretrained weights need an encoder with the batch norm that they were trained with: '
            f'set norm=batch, as in model.name=resnet{suggested}:norm=batch.'
        )
    arrays = _read(path)
    collections = {name: variables[name]['encoder'] for name in ('params', 'batch_stats')}
    expected = traverse_util.flatten_dict(collections)
    names = {key: _torch_name(key[1:]) for key in expected}
    depth, depth_of_file = _depth(names.values()), _depth(arrays)
    if depth_of_file not in (None, depth):
        raise UserError(
            f'{path} holds the weights of a ResNet-{depth_of_file}, but the encoder is a '
            f'ResNet-{depth}: choose a network with that encoder, as in '
            f'model.name=resnet{depth_of_file}:norm=batch, or give a file of its weights.'
        )

    missing = sorted(name for name in names.values() if name not in arrays)
    if missing:
        raise UserError(
            f'{path} lacks {len(missing)} of the {len(names)} arrays of a ResNet-{depth}, the '
            f"first is '{missing[0]}'. The names must be those of torchvision."
        )
    loaded = {key: _to_flax_layout(arrays[name]) for key, name in names.items()}
    wrong = sorted((names[key], key) for key in loaded if loaded[key].shape != expected[key].shape)
    if wrong:
        name, key = wrong[0]
        raise UserError(
            f'{path} has {len(wrong)} arrays of the wrong shape, the first is {name!r}: '
            f'{loaded[key].shape}, but this network has {expected[key].shape} '
            '(kernels as height, width, inputs, outputs).'
        )
    not_finite = sorted(names[key] for key in loaded if not np.isfinite(loaded[key]).all())
    if not_finite:
        raise UserError(
            f'{path} has NaN or infinite values in {len(not_finite)} arrays, the first is '
            f"'{not_finite[0]}'."
        )
    encoder = traverse_util.unflatten_dict({key: jnp.asarray(loaded[key]) for key in loaded})
    return {
        **variables,
        **{name: {**variables[name], 'encoder': encoder[name]} for name in collections},
    }


def torch_names(tree: Mapping[str, Any]) -> list[str]:
    """Returns torchvision's names of the arrays of an encoder's params or statistics."""
    return [_torch_name(key) for key in traverse_util.flatten_dict(tree)]


def _depth(names: Iterable[str]) -> int | None:
    """Returns the key of `LAYOUTS` of the encoder with these arrays; None if it is another one."""
    found = [re.match(r'layer([1-4])\.(\d+)\.(conv3\b)?', name) for name in names]
    blocks = [0, 0, 0, 0]
    for match in filter(None, found):
        stage, block = int(match[1]) - 1, int(match[2])
        blocks[stage] = max(blocks[stage], block + 1)
    first, second, third, last = blocks
    bottleneck = any(match and match[3] for match in found)
    layout = Layout((first, second, third, last), bottleneck)
    return next((depth for depth, known in LAYOUTS.items() if known == layout), None)


def _torch_name(key: tuple[str, ...]) -> str:
    """('layer1_0', 'downsample_norm', 'scale') -> 'layer1.0.downsample.1.weight'."""
    return '.'.join(_torch_parts(key))


def _torch_parts(key: tuple[str, ...]) -> Iterator[str]:
    *modules, leaf = key
    for module in modules:
        if module.startswith('layer'):
            yield module.replace('_', '.')
        elif module == 'downsample_conv':
            yield 'downsample.0'
        elif module == 'downsample_norm':
            yield 'downsample.1'
        else:
            yield module.replace('norm', 'bn')
    yield _LEAVES[leaf]


def _to_flax_layout(array: np.ndarray) -> np.ndarray:
    """Converts to float32, and kernels from OIHW to HWIO."""
    return np.asarray(array.transpose(2, 3, 1, 0) if array.ndim == 4 else array, np.float32)


def _read(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise UserError(f'{path}: no such file.')
    if path.suffix == '.npz':
        try:
            with np.load(path, allow_pickle=False) as archive:
                return dict(archive)
        except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(f'{path} is not a readable .npz file: {error}') from error
    if path.suffix == '.safetensors':
        try:
            return safetensors.numpy.load_file(path)
        except safetensors.SafetensorError as error:
            raise UserError(f'{path} is not a readable .safetensors file: {error}') from error
    raise UserError(
        f'{path} is neither .npz nor .safetensors. From PyTorch, save the weights with '
        "safetensors.torch.save_file(model.state_dict(), 'resnet.safetensors')."
    )
