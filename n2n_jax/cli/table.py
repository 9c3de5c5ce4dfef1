"""`n2n table`: a table of runs of one's own, with means over seeds."""

import argparse
import logging
from typing import Any

from n2n_jax.cli import options
from n2n_jax.runtime.errors import UserError

_log = logging.getLogger(__name__)

_HELP = """examples:
  n2n table runs/unet_seed* runs/resnet_seed*
  n2n table runs/* -o table.md -o table.tex -o table.csv -o table.json

Runs of one config with several seeds are one row. The first run's row is what the others are
compared with, image by image and seed by seed. Runs must have been trained on the same data for as
many steps, and evaluated on the same images under the same protocol.
"""


def add_parser(commands: Any) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        'table',
        help='make a table of evaluated runs, with means and intervals over seeds',
        description='Makes a table of evaluated runs: means over images and seeds, 95 % intervals, '
        'and differences with their significance.',
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('runs', nargs='+', type=options.path, metavar='RUN', help='workdirs')
    parser.add_argument(
        '-o', dest='outputs', action='append', default=[], type=options.path, metavar='FILE',
        help='also write the table to FILE: .md, .csv, .tex (LaTeX) or .json; may be repeated',
    )  # fmt: skip
    parser.add_argument('--force', action='store_true', help='overwrite FILE')
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    from n2n_jax.bench.tables import own_runs
    from n2n_jax.runtime.atomic_files import write_text

    for file in arguments.outputs:
        if file.suffix not in own_runs.FORMATS:
            known = ', '.join(own_runs.FORMATS)
            raise UserError(f'-o {file}: the name must end in one of {known}.')
        options.check_free(file, '-o', arguments)
    found = own_runs.rows(arguments.runs)
    print(own_runs.formatted(found, '.md'))
    for file in arguments.outputs:
        write_text(file, own_runs.formatted(found, file.suffix))
        _log.info('%s', file)
