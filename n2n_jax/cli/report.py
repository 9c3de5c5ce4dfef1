"""`n2n report`: a run as one web page."""

import argparse
import logging
from typing import Any

from n2n_jax.cli import options

_log = logging.getLogger(__name__)

_EXAMPLES = """examples:
  n2n report runs/quick                     writes runs/quick/report.html
  n2n report runs/quick -o quick.html

The page is one file without links to others, for a browser or an e-mail. Every training writes it
at its end; this command writes it anew, also while a run is in training.
"""


def add_parser(commands: Any) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        'report',
        help='write a run as one web page: scores, curves, pictures, settings',
        description='Writes the scores, curves, pictures, settings and origin of a run as one web '
        'page.',
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('run_folder', type=options.path, metavar='RUN', help='folder of the run')
    parser.add_argument(
        '-o', dest='output', type=options.path, metavar='FILE',
        help='the page (default: RUN/report.html, which is written anew)',
    )  # fmt: skip
    parser.add_argument('--force', action='store_true', help='overwrite FILE')
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    from n2n_jax.evaluate import run_page
    from n2n_jax.runtime.atomic_files import write_text

    options.check_free(arguments.output, '-o', arguments)
    content = run_page.page(arguments.run_folder)
    file = arguments.output or arguments.run_folder / run_page.FILE
    write_text(file, content)
    _log.info('%s', file)
