"""`n2n models`: the models that come with n2n_jax."""

import argparse
import logging
import sys
from typing import Any

from n2n_jax.cli import options
from n2n_jax.runtime import console

_log = logging.getLogger(__name__)

_EXAMPLES = """examples:
  n2n models                                   list them
  n2n models show gaussian-color               what it is for, and how well it denoises
  n2n models check gaussian-color              score it again, as its card says
  n2n models train gaussian-color -o models/   train it anew, or go on with it

n2n denoise picks one by the noise that it finds, or takes one with --model NAME.
"""


def add_parser(commands: Any) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        'models',
        help='list the models that come with n2n_jax, show and check their cards, train them',
        description='Lists the models that come with n2n_jax, shows and checks their cards, and '
        'trains them.',
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run_list)
    actions = parser.add_subparsers(metavar='ACTION')
    actions.add_parser('list', help='list them (default)').set_defaults(run=run_list)
    show = actions.add_parser('show', help='print the card of a model')
    show.add_argument('name', metavar='NAME')
    show.set_defaults(run=run_show)
    check = actions.add_parser(
        'check', help='score a model again, and compare with its card; exits with 1 if it differs'
    )
    check.add_argument('name', metavar='NAME')
    _add_data(check)
    check.set_defaults(run=run_check)
    train = actions.add_parser('train', help='train a model and write its file and its card')
    train.add_argument('name', metavar='NAME')
    train.add_argument(
        '-o', dest='folder', type=options.path, required=True, metavar='FOLDER',
        help='for the run and the two files; the same command goes on with an interrupted run',
    )  # fmt: skip
    train.add_argument(
        '--budget', default='cpu', choices=('quick', 'cpu', 'full'),
        help='cpu: about half an hour on two cores (default); full: for a GPU; quick: to try it',
    )  # fmt: skip
    train.add_argument('--seed', type=int, default=0, metavar='N', help='seed (default: 0)')
    _add_data(train)
    train.set_defaults(run=run_train)


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--data', type=options.path, metavar='DIR',
        help='folder that holds bsds500/{train,test,val}, kodak24 and set14 (default: as prepared '
        'by n2n prepare)',
    )  # fmt: skip


def run_list(_: argparse.Namespace) -> None:
    """Runs `n2n models`."""
    from n2n_jax.models import zoo

    if not zoo.names():
        _log.info('No models come with this version of n2n_jax.')
        return
    for name in zoo.names():
        print(f'{name} ({zoo.file_of(name).stat().st_size / 1e6:.1f} MB)')
        print(f'    For {zoo.recipe(name).summary}.')
    _log.info('n2n models show NAME prints what one was trained on and how well it denoises.')


def run_show(arguments: argparse.Namespace) -> None:
    """Runs `n2n models show`."""
    from n2n_jax.models.zoo import card

    print(card.markdown(card.read(arguments.name)))


def run_check(arguments: argparse.Namespace) -> None:
    """Runs `n2n models check`."""
    from n2n_jax.bench import zoo
    from n2n_jax.bench.tables.places import Places

    console.keep_compiled_code()
    differences = zoo.check(arguments.name, Places(arguments.data))
    for each in differences:
        off = '' if each.is_small else '  DIFFERS'
        _log.info('%s %.4g on the card, %.4g now%s', each.what, each.on_card, each.now, off)
    wrong = sum(not each.is_small for each in differences)
    if wrong:
        _log.error('error: %d of %d numbers of the card differ.', wrong, len(differences))
        sys.exit(console.EXIT_FAILED)
    _log.info('All numbers are those of the card, within %g dB.', zoo.TOLERANCE)


def run_train(arguments: argparse.Namespace) -> None:
    """Runs `n2n models train`."""
    from n2n_jax.bench import zoo as training
    from n2n_jax.bench.tables.places import Places
    from n2n_jax.models import zoo

    console.keep_compiled_code()
    files = training.train(
        zoo.recipe(arguments.name),
        arguments.budget,
        arguments.folder,
        Places(arguments.data),
        seed=arguments.seed,
    )
    if files is None:
        _log.info('Stopped; the same command goes on.')
        sys.exit(console.EXIT_INTERRUPTED)
    for file in files:
        _log.info('%s', file)
