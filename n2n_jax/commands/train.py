"""`n2n train`: a training on one's own captures."""

import argparse
import dataclasses
import logging
import sys
from typing import TYPE_CHECKING, Any

from n2n_jax import console
from n2n_jax.commands import options
from n2n_jax.errors import UserError

if TYPE_CHECKING:
    from n2n_jax.config import CapturesConfig, Config

_log = logging.getLogger(__name__)


def add_parser(commands: Any) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        'train',
        help='train on your own noisy captures',
        description=(
            'Trains on two or more noisy captures of each scene; no clean image is needed. With '
            '--single on unrelated noisy images, or on one.'
        ),
    )
    options.add_captures(parser)
    options.add_fix(parser)
    parser.add_argument('--workdir', required=True, type=options.run_folder, metavar='RUN')
    parser.add_argument('--minutes', type=float, help='of training (default: 20)')
    parser.add_argument('--steps', type=int, help='in place of --minutes')
    parser.add_argument(
        '--pairing', choices=('1:1', '1:X', 'X:1'),
        help='1:1: any two captures are a pair; 1:X (default): the target is the mean of all other '
        'captures; X:1: the input is',
    )  # fmt: skip
    parser.add_argument(
        '--single', action='store_true',
        help='every image stands by itself, and pairs are made of neighbouring pixels; assumes '
        'noise of mean 0 that is independent between these; no PSNR can be told',
    )  # fmt: skip
    parser.add_argument(
        '--allow-correlated-noise', action='store_true',
        help='with --single: train even if the noise of neighbouring pixels looks correlated',
    )  # fmt: skip
    parser.add_argument(
        '--held-out', type=float, metavar='SHARE',
        help='of the scenes, or of each if they are few, is not trained on but scores the model '
        '(default: 0.2)',
    )  # fmt: skip
    parser.add_argument('--model', default='', help='unet (default) or resnet50')
    parser.add_argument(
        '--init-from', type=options.run_folder, metavar='OLD_RUN',
        help='fine-tune: start from the weights of another run',
    )  # fmt: skip
    parser.add_argument(
        '--patience', type=int, metavar='N',
        help='stop after N evaluations in a row without gain; ten make a training '
        '(default: 5; 0: never)',
    )  # fmt: skip
    parser.add_argument('--batch-size', type=int, help='crops per step (default: 8)')
    parser.add_argument('--seed', type=int, help='(default: 0)')
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    from n2n_jax import own_training, train, uncertainty, verdict
    from n2n_jax.data import fixes
    from n2n_jax.denoiser import Denoiser
    from n2n_jax.workdir import Workdir

    if arguments.single and arguments.held_out is not None:
        raise UserError(
            '--single holds nothing out, as nothing can be scored: leave --held-out out.'
        )
    if arguments.steps is not None and arguments.steps < 1:
        raise UserError(f'--steps {arguments.steps}: write a number above 0.')
    console.keep_compiled_code()
    captures = options.captures(arguments)
    captures = dataclasses.replace(
        captures,
        pairing=arguments.pairing or ('1:1' if arguments.single else '1:X'),
        allow_correlated_noise=arguments.allow_correlated_noise,
        held_out=captures.held_out if arguments.held_out is None else arguments.held_out,
    )
    fixes.parse(captures.fix)
    workdir = Workdir(arguments.workdir)
    if (arguments.workdir / 'config.json').exists():
        config = _going_on(workdir.config(), captures, arguments)
    else:
        given = {
            name: getattr(arguments, name)
            for name in ('steps', 'minutes', 'batch_size', 'seed', 'patience')
            if getattr(arguments, name) is not None
        }
        config = own_training.make_config(
            captures, model=arguments.model, init_from=str(arguments.init_from or ''), **given
        )
    complete = train.train(config, arguments.workdir)
    own_training.write_config(config, arguments.workdir)
    if not complete:
        sys.exit(console.EXIT_INTERRUPTED)
    if captures.single:
        _log.info('%s', verdict.use(arguments.workdir))
        return
    denoiser = Denoiser.load(arguments.workdir)
    held_out = uncertainty.held_out_captures(arguments.workdir, denoiser)
    uncertainty.calibrate_run(arguments.workdir, denoiser, held_out=held_out)
    _log.info('%s', verdict.after_training(held_out, denoiser.denoise, arguments.workdir))


def _going_on(
    config: 'Config', captures: 'CapturesConfig', arguments: argparse.Namespace
) -> 'Config':
    """The config of a run that is there, if what was asked for is the same training.

    Raises:
      UserError: it is not.
    """
    from n2n_jax.config import check

    if config.captures.paths != captures.paths:
        raise UserError(
            f'{arguments.workdir} holds a training on other captures '
            f'({config.captures.paths or "none"}): choose another --workdir.'
        )
    was, now = dataclasses.asdict(config.captures), dataclasses.asdict(captures)
    for name, value in (
        ('steps', config.train.steps),
        ('batch_size', config.data.batch_size),
        ('seed', config.seed),
        ('model', config.model.name),
        ('init_from', config.model.init_from),
    ):
        asked = getattr(arguments, name)
        was[name] = value
        now[name] = value if asked in (None, '') else type(value)(asked)
    for name, value in was.items():
        if now[name] != value:
            option = '--' + name.replace('_', '-')
            raise UserError(
                f'{arguments.workdir} holds a training with {option} {value or "left out"}, not '
                f'{now[name] or "left out"}: give that to go on with it, or choose another '
                '--workdir.'
            )
    if arguments.minutes is not None:
        _log.info('It goes on to step %d, as was planned at its start.', config.train.steps)
    if arguments.patience is not None:
        settings = dataclasses.replace(config.train, patience=arguments.patience)
        config = dataclasses.replace(config, train=settings)
        check(config)
    return config
