"""`n2n score`: the PSNR of a model, estimated from captures alone."""

import argparse
import json
import logging
from typing import Any

from n2n_jax.commands import options
from n2n_jax.errors import UserError

_log = logging.getLogger(__name__)


def add_parser(commands: Any) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        'score',
        help='estimate PSNR on noisy captures, without a clean image',
        description='Estimates the PSNR of a model on captures, beside that of simpler methods.',
    )
    options.add_captures(parser)
    parser.add_argument('--model', required=True, type=options.path, metavar='RUN')
    parser.add_argument(
        '--truth',
        type=options.path,
        metavar='DIR',
        help='clean images: true PSNR beside the estimate',
    )
    parser.add_argument('--json', type=options.path, metavar='FILE', help='write the rows there')
    parser.add_argument('--force', action='store_true', help='overwrite FILE')
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    from n2n_jax import score
    from n2n_jax.data import own_captures
    from n2n_jax.denoiser import Denoiser
    from n2n_jax.workdir import write_text

    options.check_free(arguments.json, '--json', arguments)
    denoiser = Denoiser.load(arguments.model)
    captures = options.captures(arguments)
    scenes = own_captures.load(captures)
    truth = score.read_truth(arguments.truth, scenes) if arguments.truth else None
    black, white = denoiser.config.black, denoiser.config.white
    if black == white:
        raise UserError(f'{arguments.model} was not trained on captures: its units are not known.')
    rows = score.score(
        scenes,
        lambda pixels: own_captures.to_network(pixels, black, white),
        denoiser.denoise,
        truth=truth,
    )
    _log.info('%s', score.markdown(rows))
    if arguments.json:
        write_text(arguments.json, json.dumps(rows, indent=1))
        _log.info('%s', arguments.json)
