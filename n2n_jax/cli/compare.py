"""`n2n compare`: compares evaluated runs image by image."""

import argparse
import logging
from typing import Any

from n2n_jax.cli import options

_log = logging.getLogger(__name__)


def add_parser(commands: Any) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        'compare',
        help='compare evaluated runs image by image, with confidence intervals',
        description='Compares the scores of runs with those of a reference run, image by image, '
        'with 95 % confidence intervals.',
    )
    parser.add_argument(
        'reference',
        type=options.path,
        metavar='REFERENCE',
        help='folder of the run to compare with (its --workdir)',
    )
    parser.add_argument(
        'runs', nargs='+', type=options.path, metavar='RUN', help='folders of the runs to compare'
    )
    parser.add_argument(
        '--json', type=options.path, metavar='FILE', help='also write the results to FILE'
    )
    options.add_imports(parser)
    parser.add_argument('--force', action='store_true', help='overwrite FILE')
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    from n2n_jax.evaluate import compare
    from n2n_jax.runtime import json_files
    from n2n_jax.runtime.atomic_files import write_text
    from n2n_jax.runtime.workdir import Workdir

    options.check_free(arguments.json, '--json', arguments)
    options.run_imports(arguments)
    rows = []
    reference = Workdir(arguments.reference).config()
    for run in arguments.runs:
        differing = compare.differences(reference, Workdir(run).config())
        found = compare.compare(arguments.reference, run)
        print(f'{run} compared with {arguments.reference}. They differ in: {differing}.\n')
        print(compare.markdown_table(found))
        names = {'reference': str(arguments.reference), 'run': str(run), 'differ_in': differing}
        rows += [{**names, **row} for row in found]
    if arguments.json:
        write_text(arguments.json, json_files.dumps(rows, indent=1))
        _log.info('%s', arguments.json)
