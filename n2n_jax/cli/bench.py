"""`n2n bench`: the tables of papers, and benchmarks of speed and of the PSNR estimates."""

import argparse
import logging
import os
from typing import Any

from n2n_jax.cli import bench_tables, options
from n2n_jax.runtime import console
from n2n_jax.runtime.errors import UserError

_log = logging.getLogger(__name__)


def add_parser(commands: Any) -> None:
    """Adds the command."""
    bench = commands.add_parser('bench', help='reproduce tables of papers; benchmark speed')
    benches = bench.add_subparsers(required=True, metavar='BENCHMARK')
    bench_tables.add_parsers(benches)
    speed = benches.add_parser(
        'speed', help='speed compared with PyTorch (needs the extra n2n_jax[bench])'
    )
    speed.add_argument(
        'sections', nargs='*', metavar='SECTION',
        help='peaks, training, inference, pipeline, noise, denoising, startup (default: all)',
    )  # fmt: skip
    speed.add_argument('--quick', action='store_true', help='skip cases that take minutes')
    speed.add_argument(
        '--json',
        type=options.path,
        metavar='FILE',
        help='write the results to FILE, with a table (.md) and a plot (.png) beside it',
    )
    speed.add_argument(
        '--force', action='store_true', help='overwrite FILE, its table and its plot'
    )
    speed.set_defaults(run=run_speed)
    estimates = benches.add_parser(
        'estimates', help='PSNR estimated without a clean image compared with true PSNR, simulated'
    )
    estimates.add_argument(
        '--draws',
        type=int,
        default=50,
        metavar='N',
        help='noise draws per photograph (default: 50)',
    )
    estimates.add_argument(
        '--json', type=options.path, metavar='FILE', help='write the results to FILE'
    )
    estimates.add_argument('--force', action='store_true', help='overwrite FILE')
    estimates.set_defaults(run=run_estimates)


def run_speed(arguments: argparse.Namespace) -> None:
    """Runs `n2n bench speed`."""
    import importlib.util

    from n2n_jax.bench import speed

    for package in speed.packages(arguments.sections, plot=arguments.json is not None):
        if importlib.util.find_spec(package) is None:
            raise UserError(
                f"n2n bench speed needs {package}: run pip install 'n2n_jax[bench]', "
                'or EXTRAS=dev,bench launch/local.sh n2n bench speed ...'
            )
    if arguments.json and arguments.json.suffix != '.json':
        raise UserError(f'--json {arguments.json}: the name must end in .json.')
    options.check_free(arguments.json, '--json', arguments)
    console.keep_compiled_code()
    # By default JAX preallocates most of a GPU's memory; PyTorch needs some in the same process.
    os.environ.setdefault('XLA_CLIENT_MEM_FRACTION', '0.5')
    rows = speed.run(arguments.sections, quick=arguments.quick, output=arguments.json)
    print(speed.markdown_table(rows))
    if arguments.json:
        for suffix in ('.md', '.png', '.json'):
            _log.info('%s', arguments.json.with_suffix(suffix))


def run_estimates(arguments: argparse.Namespace) -> None:
    """Runs `n2n bench estimates`."""
    from n2n_jax.bench import estimates
    from n2n_jax.runtime import json_files
    from n2n_jax.runtime.atomic_files import write_text

    options.check_free(arguments.json, '--json', arguments)
    if arguments.draws < 1:
        raise UserError(f'--draws {arguments.draws}: must be at least 1.')
    rows = estimates.rows(arguments.draws)
    print(estimates.markdown(rows))
    if arguments.json:
        content = {**estimates.surroundings(), 'rows': rows}
        write_text(arguments.json, json_files.dumps(content, indent=1))
        _log.info('%s', arguments.json)
