"""`n2n bench`: n2n_jax measured against others."""

import argparse
import logging
import os
from typing import Any

from n2n_jax.cli import options
from n2n_jax.runtime import console
from n2n_jax.runtime.errors import UserError

_log = logging.getLogger(__name__)


def add_parser(commands: Any) -> None:
    """Adds the command."""
    bench = commands.add_parser('bench', help='measure n2n_jax against others')
    benches = bench.add_subparsers(required=True, metavar='WHAT')
    speed = benches.add_parser('speed', help='against PyTorch (needs the extra n2n_jax[bench])')
    speed.add_argument(
        'sections', nargs='*', metavar='SECTION',
        help='peaks, training, inference, pipeline, noise, denoising, startup (default: all)',
    )  # fmt: skip
    speed.add_argument('--quick', action='store_true', help='leave out what takes minutes')
    speed.add_argument(
        '--json',
        type=options.path,
        metavar='FILE',
        help='write the rows there, a table and a plot beside',
    )
    speed.add_argument('--force', action='store_true', help='overwrite FILE')
    speed.set_defaults(run=run_speed)
    estimates = benches.add_parser(
        'estimates', help='PSNR estimated without a clean image against PSNR, in a simulation'
    )
    estimates.add_argument(
        '--draws', type=int, default=50, help='of the noise for each photograph (default: 50)'
    )
    estimates.add_argument('--json', type=options.path, metavar='FILE', help='write the rows there')
    estimates.add_argument('--force', action='store_true', help='overwrite FILE')
    estimates.set_defaults(run=run_estimates)


def run_speed(arguments: argparse.Namespace) -> None:
    """Runs the benchmark."""
    import importlib.util

    from n2n_jax.bench import speed

    for package in speed.packages(arguments.sections, plot=arguments.json is not None):
        if importlib.util.find_spec(package) is None:
            raise UserError(
                f"This needs {package}: pip install 'n2n_jax[bench]', "
                'or EXTRAS=dev,bench launch/local.sh n2n bench speed ...'
            )
    if arguments.json and arguments.json.suffix != '.json':
        raise UserError(f'--json {arguments.json}: choose a name that ends in .json.')
    options.check_free(arguments.json, '--json', arguments)
    console.keep_compiled_code()
    # JAX would take most of a GPU's memory for itself; PyTorch works beside it here.
    os.environ.setdefault('XLA_CLIENT_MEM_FRACTION', '0.5')
    rows = speed.run(arguments.sections, quick=arguments.quick, output=arguments.json)
    print(speed.markdown_table(rows))
    if arguments.json:
        for suffix in ('.md', '.png', '.json'):
            _log.info('%s', arguments.json.with_suffix(suffix))


def run_estimates(arguments: argparse.Namespace) -> None:
    """Runs the simulation."""
    from n2n_jax.bench import estimates
    from n2n_jax.runtime import json_files
    from n2n_jax.runtime.workdir import write_text

    options.check_free(arguments.json, '--json', arguments)
    if arguments.draws < 1:
        raise UserError(f'--draws {arguments.draws}: write a number above 0.')
    rows = estimates.rows(arguments.draws)
    print(estimates.markdown(rows))
    if arguments.json:
        content = {**estimates.surroundings(), 'rows': rows}
        write_text(arguments.json, json_files.dumps(content, indent=1))
        _log.info('%s', arguments.json)
