"""Checks of config values that are valid by themselves but not together."""

from typing import TYPE_CHECKING

from n2n_jax.runtime.errors import UserError

if TYPE_CHECKING:
    from n2n_jax.runtime.config import Config


def check_together(config: 'Config') -> None:
    """Checks whether the values of a config are valid together.

    Raises:
      UserError: values exclude each other; names them and what to write.
    """
    _check_lengths(config)
    _check_model(config)
    _check_planes(config)
    if config.data.mix:
        _check_mix(config)
    if config.noise.realizations:
        _check_realizations(config)
    if config.train.patience:
        _check_patience(config)


def _check_lengths(config: 'Config') -> None:
    optim, batch_size = config.optim, config.data.batch_size
    if batch_size % optim.accumulate:
        raise UserError(
            f'data.batch_size={batch_size} cannot be cut into optim.accumulate='
            f'{optim.accumulate} equal parts: choose a divisor of {batch_size}.'
        )
    if optim.warmup_steps >= config.train.steps:
        raise UserError(
            f'optim.warmup_steps={optim.warmup_steps} must be less than train.steps='
            f'{config.train.steps}: write fewer, such as {config.train.steps // 10}.'
        )
    if 0 < optim.skip_above <= 1:
        raise UserError(
            f'optim.skip_above={optim.skip_above:g} would skip half of all steps: write a multiple '
            'of the usual loss, such as 5, or 0 for never.'
        )


def _check_model(config: 'Config') -> None:
    model = config.model
    if model.channels not in (1, 3) and not config.captures.paths:
        raise UserError(
            f'model.channels={model.channels} is for captures only: write 1 for gray images or 3 '
            'for color.'
        )
    if model.init != 'he' and model.init_from:
        raise UserError(
            f'model.init={model.init} does not apply to weights that are loaded from '
            'model.init_from: write model.init=he.'
        )
    if model.encoder_weights and model.init_from:
        raise UserError(
            'model.encoder_weights and model.init_from are mutually exclusive: set only one.'
        )


def _check_planes(config: 'Config') -> None:
    for key, value, off in (
        ('model.planes', config.model.planes, "''"),
        ('model.noise_map', config.model.noise_map, False),
    ):
        if value and config.captures.paths:
            raise UserError(f'{key}={value} needs clean images, not captures: write {key}={off}.')
        if value and config.noise.realizations:
            raise UserError(f'{key}={value} needs fresh noise: write noise.realizations=0.')


def _check_mix(config: 'Config') -> None:
    key = f'data.mix={config.data.mix:g}'
    if config.captures.paths:
        raise UserError(
            f'{key} is for clean images: a blend of two captures has less noise than one, and the '
            'network would learn that noise. Write data.mix=0.'
        )
    if config.noise.realizations:
        raise UserError(
            f'{key} needs fresh noise, because a blend of two noisy images has less noise than '
            'one: write noise.realizations=0 or data.mix=0.'
        )
    if config.data.batch_size < 2:
        raise UserError(f'{key} blends the crops of a batch: write data.batch_size=2 or more.')


def _check_realizations(config: 'Config') -> None:
    key = f'noise.realizations={config.noise.realizations}'
    if config.captures.paths:
        raise UserError(f'{key} is for synthetic noise, but captures have real noise: write 0.')
    if config.data.feed == 'stream':
        raise UserError(f'{key} keeps all versions on the device: write data.feed=auto.')
    if config.noise.realizations == 1 and config.target_spec == config.noise.input:
        raise UserError(
            f'{key} leaves no second noisy version for the target: write 2 or more, or '
            'noise.target=clean.'
        )


def _check_patience(config: 'Config') -> None:
    captures, evaluation = config.captures, config.eval
    can_be_scored = captures.paths and not captures.single
    if not (can_be_scored and evaluation.in_loop and evaluation.every):
        raise UserError(
            f'train.patience={config.train.patience} needs two or more captures of each scene, '
            'evaluated during the run (eval.in_loop=True, eval.every above 0): write 0.'
        )
