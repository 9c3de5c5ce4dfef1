"""Checks of new runs only: runs that were started by earlier versions can still be resumed."""

from n2n_jax import models
from n2n_jax.runtime.config import Config
from n2n_jax.runtime.errors import UserError
from n2n_jax.train import loss_choice, losses, optimizers, schedules


def check_new(config: Config) -> None:
    """Checks options that only make sense together, before the first step of a run.

    Raises:
      UserError: the network ignores an option, or a combination would change the run's result.
    """
    models.check_settings(config.model)
    if config.optim.pyramid and not models.has_pyramid(config.model):
        raise UserError(
            f'optim.pyramid={config.optim.pyramid} needs a network with coarser answers, such as '
            f'model.name=rednet, not {config.model.name}: write optim.pyramid=0.'
        )
    schedules.shape_of(config)
    if optimizers.averages(config) and config.optim.ema_decay > 0:
        raise UserError(
            f'optim.ema_decay={config.optim.ema_decay} does not apply to optim.name='
            f'{config.optim.name}, which averages the weights by itself: write optim.ema_decay=0.'
        )
    accumulate = config.optim.accumulate
    loss = config.optim.loss
    if accumulate > 1 and loss != loss_choice.AUTO and losses.make(loss).mixes_masks:
        raise UserError(
            f'optim.accumulate={accumulate} with optim.loss={loss}, of which one part '
            'uses the mask of the targets and another does not, would weight the parts of a batch '
            'wrongly: write optim.accumulate=1, or a loss of one kind.'
        )
    if accumulate > 1 and models.has_batch_norm(config.model):
        raise UserError(
            f'optim.accumulate={accumulate} with batch norm ({config.model.name}) would normalize '
            'each part of a batch separately, which gives other weights than the whole batch: '
            'write optim.accumulate=1, a smaller data.batch_size, or a network without batch norm.'
        )
