"""What a run is not started with, though runs that were once started with it resume."""

from n2n_jax import models
from n2n_jax.runtime.config import Config
from n2n_jax.runtime.errors import UserError


def check_new(config: Config) -> None:
    """Checks options that only make sense together, before the first step of a run.

    Raises:
      UserError: an option that the network ignores, or one that is not what its name says.
    """
    norm, accumulate = config.model.norm, config.optim.accumulate
    if norm != 'none' and not hasattr(models.build(config.model).network, 'norm'):
        raise UserError(
            f'model.norm={norm} is not possible with model.name={config.model.name}, which has no '
            'normalization: write model.norm=none.'
        )
    if norm == 'batch' and accumulate > 1:
        raise UserError(
            f'optim.accumulate={accumulate} with model.norm=batch would normalize each part of a '
            'batch by itself, and be another run than with the whole batch: write '
            'model.norm=group, optim.accumulate=1, or a smaller data.batch_size.'
        )
