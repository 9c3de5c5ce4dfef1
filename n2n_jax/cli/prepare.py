"""`n2n prepare`: a TensorFlow Datasets set, ready to be read."""

import argparse
import logging
from typing import Any

from n2n_jax.cli import options

_log = logging.getLogger(__name__)


def add_parser(commands: Any) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        'prepare', help='prepare a TensorFlow Datasets set (needs the extra n2n_jax[tfds])'
    )
    parser.add_argument('name', help='bsds500, kodak24, set14, or any TFDS image set')
    parser.add_argument(
        '--from',
        dest='source',
        type=options.path,
        metavar='FOLDER',
        help='use these files, no download',
    )
    parser.add_argument('--data-dir', type=options.path, help='where TFDS keeps its sets')
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    from n2n_jax.data.sources import tfds_source

    folder = tfds_source.prepare(
        arguments.name, data_dir=arguments.data_dir, manual_dir=arguments.source
    )
    _log.info('%s', folder)
