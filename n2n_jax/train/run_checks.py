"""Checks of new runs only: runs that were started by earlier versions can still be resumed."""

from n2n_jax import models
from n2n_jax.runtime.config import Config
from n2n_jax.runtime.errors import UserError


def check_new(config: Config) -> None:
    """Checks options that only make sense together, before the first step of a run.

    Raises:
      UserError: the network ignores an option, or a combination would change the run's result.
    """
    norm, accumulate = config.model.norm, config.optim.accumulate
    if norm != 'none' and not hasattr(models.build(config.model).network, 'norm'):
        raise UserError(
            f'model.norm={norm} does not apply to model.name={config.model.name}, which has no '
            'normalization layers: write model.norm=none.'
        )
    if norm == 'batch' and accumulate > 1:
        raise UserError(
            f'optim.accumulate={accumulate} with model.norm=batch would normalize each part of a '
            'batch separately, which gives other weights than the whole batch: write '
            'model.norm=group, optim.accumulate=1, or a smaller data.batch_size.'
        )
