"""`n2n find-rate`: suggests a learning rate for a config."""

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from n2n_jax.cli import options
from n2n_jax.runtime import config_flags, console
from n2n_jax.runtime.errors import UserError

if TYPE_CHECKING:
    from n2n_jax.runtime.config import Config
    from n2n_jax.train.rate_finder import Measured

_log = logging.getLogger(__name__)

_EXAMPLES = """examples:
  n2n find-rate configs/unet_gauss.py:quick
  n2n find-rate runs/cells/config.py -o rates/sgd --high 100 --config.optim.name=sgd

Keys of the config can be set as for python -m n2n_jax.main: --config.KEY=VALUE.
"""


def add_parser(commands: Any) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        'find-rate',
        help='find a learning rate for a config',
        description='Trains for some steps while the learning rate rises, and suggests a rate '
        'from where the loss falls and where it rises again (Smith 2017).',
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        'file', metavar='CONFIG',
        help='config file, with variants after a colon: FILE.py:quick,clean',
    )  # fmt: skip
    parser.add_argument(
        '-o', dest='output', type=options.path, default=Path('find_rate'), metavar='DIR',
        help='folder for rate.json and rate.png (default: find_rate)',
    )  # fmt: skip
    parser.add_argument(
        '--low', type=float, default=1e-6, metavar='RATE', help='first rate (default: 1e-6)'
    )
    parser.add_argument(
        '--high', type=float, default=1.0, metavar='RATE', help='last rate (default: 1)'
    )
    parser.add_argument(
        '--steps', type=int, default=200, metavar='N', help='steps from one to the other '
        '(default: 200)',
    )  # fmt: skip
    parser.add_argument('--force', action='store_true', help='overwrite the files in DIR')
    config_flags.add_keys(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Runs the command; what there is when Ctrl-C is pressed is written too."""
    from n2n_jax.runtime import user_code
    from n2n_jax.train import rate_finder, rate_report

    config = user_code.resolved(config_flags.load(arguments.file, arguments))
    config = rate_finder.config_of_test(config, arguments.low, arguments.high, arguments.steps)
    files = [arguments.output / name for name in (rate_report.JSON, rate_report.PLOT)]
    if not rate_report.can_plot():
        files.pop()
    for file in files:
        options.check_free(file, '-o', arguments)
    console.keep_compiled_code()
    measured = _measured(config)
    suggestion = rate_finder.suggest(measured)
    rate_report.write(arguments.output, config, measured, suggestion)
    for sentence in suggestion.sentences if suggestion.recommended else ():
        _log.info('%s', sentence)
    if suggestion.recommended:
        _log.info(
            'Recommended with optim.name=%s: --config.optim.learning_rate=%g',
            config.optim.name,
            suggestion.recommended,
        )
    if len(files) == 1:
        _log.info('There is no plot, because matplotlib is not installed.')
    for file in files:
        _log.info('%s', file)
    if measured.ended == rate_finder.STOPPED:
        sys.exit(console.EXIT_INTERRUPTED)
    if not suggestion.recommended:
        raise UserError(' '.join(suggestion.sentences))


def _measured(config: 'Config') -> 'Measured':
    """Runs the test with a progress line."""
    from n2n_jax.runtime.progress import ProgressLine
    from n2n_jax.train import rate_finder
    from n2n_jax.train.prepared import prepare
    from n2n_jax.train.run_checks import check_new
    from n2n_jax.train.stop_request import StopRequest

    prepared = prepare(config, check=check_new)
    prepared.step_of(min(prepared.per_dispatch, config.train.steps))  # before Ctrl-C means a stop
    with StopRequest() as stop, ProgressLine('step', config.train.steps) as progress:
        measured = rate_finder.measure(
            prepared,
            show=lambda step, loss: progress.update(step, f'loss {loss:.5f}'),
            stopped=lambda: stop.wanted,
        )
        stop.heeded = True  # also a signal during the last steps: what was measured is written
    return measured
