"""Configs as runs save them: the version of the keys, and how early versions are read today.

A run is saved with the version of its config. When keys are renamed, or values written in another
way, `VERSION` rises and `_UPGRADES` gets a function, so that models of early versions keep working.
"""

from collections.abc import Callable
from typing import Any

from n2n_jax.runtime.errors import UserError

VERSION = 2  # a saved config without a version is of version 1

# Renamed keys, which config files and the command line may also use under their old names.
RENAMED = {'noise.realisations': 'noise.realizations'}

# Keys that are gone, and what to write in their place.
REPLACED = {
    'model.norm': 'it is an option of the network now, such as model.name=resnet50:norm=batch',
    'optim.b1': 'it is an option of the optimizer now, such as optim.name=adam:b1=0.9',
    'optim.b2': 'it is an option of the optimizer now, such as optim.name=adam:b2=0.99',
    'optim.eps': 'it is an option of the optimizer now, such as optim.name=adam:eps=1e-8',
    'optim.ramp_down': 'it is a schedule now, such as optim.schedule=ramp_down:0.7',
}


def upgraded(values: dict[str, Any], version: object) -> dict[str, Any]:
    """Returns the values of a saved config as today's version writes them.

    Args:
      values: nested values, as saved.
      version: the version they were saved with.

    Raises:
      UserError: they are of a later version.
    """
    if not isinstance(version, int) or version > VERSION:
        raise UserError(
            'The run was saved by a later version of n2n_jax: install that version to use it.'
        )
    for upgrade in _UPGRADES[version - 1 :]:
        values = upgrade(values)
    return values


def _to_version_2(values: dict[str, Any]) -> dict[str, Any]:
    """Options went to the network or the optimizer that has them."""
    model = dict(values.get('model', {}))
    norm = model.pop('norm', 'none')
    if norm != 'none' and model.get('name', 'unet') != 'unet':  # which ignored it
        model['name'] = f'{model["name"]}:norm={norm}'
    optim = dict(values.get('optim', {}))
    of_adam = {'b1': 0.9, 'b2': 0.99, 'eps': 1e-8}
    found = {key: optim.pop(key, default) for key, default in of_adam.items()}
    options = [f'{key}={found[key]}' for key in of_adam if found[key] != of_adam[key]]
    optim['name'] = f'adam:{",".join(options)}' if options else 'adam'
    optim['schedule'] = f'ramp_down:{optim.pop("ramp_down", 0.7)}'
    return {**values, 'model': model, 'optim': optim}


_UPGRADES: list[Callable[[dict[str, Any]], dict[str, Any]]] = [_to_version_2]
