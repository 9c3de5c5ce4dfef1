"""`n2n prepare`: downloads and prepares a TensorFlow Datasets (TFDS) data set."""

import argparse
import logging
from typing import Any

from n2n_jax.cli import options

_log = logging.getLogger(__name__)


def add_parser(commands: Any) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        'prepare',
        help='prepare a TensorFlow Datasets (TFDS) data set (needs the extra n2n_jax[tfds])',
        description='Downloads and prepares a data set, so that training can read it as tfds:NAME.',
    )
    parser.add_argument(
        'name', metavar='NAME', help='bsds500, kodak24, set14, or any image data set of TFDS'
    )
    parser.add_argument(
        '--from',
        dest='source',
        type=options.path,
        metavar='FOLDER',
        help='read the images from FOLDER instead of downloading them',
    )
    parser.add_argument(
        '--data-dir',
        type=options.path,
        metavar='FOLDER',
        help='where TFDS stores data sets (default: TFDS_DATA_DIR or ~/tensorflow_datasets)',
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    from n2n_jax.data.sources import tfds_source

    folder = tfds_source.prepare(
        arguments.name, data_dir=arguments.data_dir, manual_dir=arguments.source
    )
    _log.info('%s', folder)
