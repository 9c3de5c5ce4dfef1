"""Finds a trained model by what a user calls it: the folder of a run, a file, or a name."""

from pathlib import Path

import jax

from n2n_jax.models import model_file, zoo
from n2n_jax.models.model_file import Trained
from n2n_jax.models.weights import shipped_variables
from n2n_jax.runtime.checkpoint import BEST_FOLDER, FOLDER, open_for_reading
from n2n_jax.runtime.config import ModelConfig
from n2n_jax.runtime.errors import UserError, did_you_mean

_CHECKPOINTS = (FOLDER, BEST_FOLDER)


def load(model: str | Path, sharding: jax.sharding.Sharding) -> Trained:
    """Loads a model.

    Args:
      model: folder of a run, of which the last checkpoint is loaded (the best, if it selects); a
        file written by n2n export; or the name of a model that comes with n2n_jax.
      sharding: where its weights go.

    Raises:
      UserError: there is no such model, or it is damaged or incomplete.
    """
    file = file_of(model)
    if file is not None:
        found = model_file.read(file)
        variables = jax.device_put(found.variables, sharding)
        return Trained(found.config, variables, found.step)
    try:
        with open_for_reading(Path(model)) as checkpoints:
            step = checkpoints.newest_step
            variables = shipped_variables(checkpoints, step, sharding)
            return Trained(checkpoints.config(step).model, variables, step)
    except FileNotFoundError as error:
        raise UserError(
            f'{model} is incomplete ({error}): if it is a copy, copy the run again.'
        ) from error


def network_of(model: str | Path) -> ModelConfig:
    """Returns the network of a model.

    Raises:
      UserError: there is no such model, or it has no complete checkpoint.
    """
    file = file_of(model)
    if file is not None:
        return model_file.network_of(file)
    with open_for_reading(Path(model)) as checkpoints:
        return checkpoints.config(checkpoints.newest_step).model


def file_of(model: str | Path) -> Path | None:
    """Returns the file of a model; None if it is the folder of a run, which goes before a name.

    Raises:
      UserError: there is no such model.
    """
    path = Path(model)
    is_name = str(model) in zoo.names()
    if path.is_dir() and (not is_name or any((path / name).is_dir() for name in _CHECKPOINTS)):
        return None
    if is_name:
        return zoo.file_of(str(model))
    if path.suffix.lower() == model_file.SUFFIX:
        return path
    if path.exists():
        raise UserError(
            f'{model} is no model: give the folder of a run, a file that ends in '
            f'{model_file.SUFFIX}, or a name that n2n models lists.'
        )
    if str(model) in zoo.RECIPES:
        raise UserError(
            f'{model} does not come with this version of n2n_jax: train it with n2n models train '
            f'{model}, or choose from: {", ".join(zoo.names()) or "none"}.'
        )
    reason = f'There is no run in {model}: no such folder'
    if len(path.parts) > 1 or not zoo.names():
        raise UserError(f'{reason}.')
    hint = did_you_mean(str(model), zoo.names())
    raise UserError(f'{reason}, and no model of that name comes with n2n_jax. {hint}')


def is_run(model: str | Path) -> bool:
    """Whether a model is the folder of a run, which also knows how it was trained."""
    return file_of(model) is None
