"""`n2n bench list`, `run` and `show`: the tables of the source papers."""

import argparse
import logging
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from n2n_jax.cli import options
from n2n_jax.runtime import console
from n2n_jax.runtime.errors import UserError

if TYPE_CHECKING:
    from n2n_jax.bench.tables.places import Places
    from n2n_jax.bench.tables.runner import Runner, Share

_log = logging.getLogger(__name__)

_FOLDER = Path('runs', 'tables')
_RUN_HELP = """examples:
  n2n bench run noise2noise                                   (minutes, built-in images)
  n2n bench run noise2noise --budget cpu --data images/       (hours)
  n2n bench run noise2noise --budget cpu --seeds 4            (one more seed)
  n2n bench run noise2noise --budget full --cells 2/8         (one of eight machines)

A cell of a table is a run in FOLDER/runs and, once done, a small record in FOLDER/cells. The same
command continues after an interruption, and tables share the cells that they have in common.
Processes on several machines may share FOLDER; copy FOLDER/cells together if they do not.
"""


def add_parsers(benches: Any) -> None:
    """Adds the commands."""
    benches.add_parser('list', help='list the tables of the source papers').set_defaults(
        run=run_list
    )
    parser = benches.add_parser(
        'run',
        help='train and score all that a table of a paper compares',
        description='Trains and scores all that a table of a paper compares.',
        epilog=_RUN_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_common(parser)
    parser.add_argument(
        '--data', type=options.path, metavar='DIR',
        help='folder that holds bsds500/{train,test,val}, kodak24 and set14 (default: as prepared '
        'by n2n prepare)',
    )  # fmt: skip
    parser.add_argument(
        '--file', action='append', default=[], metavar='NAME=PATH',
        help='weights that some tables need: vgg, lpips, imagenet50, imagenet101, imagenet152',
    )  # fmt: skip
    parser.add_argument(
        '--cells', default='1/1', metavar='I/N',
        help='run only every N-th cell, from the I-th: one of N processes or machines',
    )  # fmt: skip
    parser.add_argument(
        '--any-commit', action='store_true',
        help='use cells of other versions of the code, too; the table lists them',
    )  # fmt: skip
    parser.set_defaults(run=run_table)
    parser = benches.add_parser(
        'show', help='print a table of a paper, as far as it was run in a folder'
    )
    _add_common(parser)
    parser.set_defaults(run=run_show)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('table', metavar='TABLE', help='a name from n2n bench list')
    parser.add_argument(
        '--budget', default='quick', metavar='NAME', help='quick (default), cpu or full'
    )
    parser.add_argument(
        '--seeds', type=int, metavar='N', help='number of seeds (default: that of the budget)'
    )
    parser.add_argument(
        '-o', dest='folder', type=options.path, default=_FOLDER, metavar='FOLDER',
        help=f'folder of runs, records and tables (default: {_FOLDER})',
    )  # fmt: skip


def run_list(_: argparse.Namespace) -> None:
    """Runs `n2n bench list`."""
    from n2n_jax.bench import tables

    for table in tables.REGISTRY.values():
        print(f'{table.name}\n    {table.question}\n    From {table.source}.')
        for name in table.budgets:
            print(f'    --budget {name}: {table.in_words(name)}')


def run_table(arguments: argparse.Namespace) -> None:
    """Runs `n2n bench run`."""
    from n2n_jax.bench.tables import files

    share, places = _share(arguments.cells), _places(arguments)
    runner = _runner(arguments, places, share=share, any_commit=arguments.any_commit)
    console.keep_compiled_code()
    outcome = runner.run()
    written = files.write(runner.table, arguments.budget, outcome, arguments.folder, places)
    for title in outcome.elsewhere:
        _log.info('In training by another process: %s', title)
    for title, why in outcome.failed.items():
        _log.error('Failed: %s: %s', title, why)
    done = sum(cell.key in outcome.records for cell in outcome.cells)
    _log.info('\n%d of %d cells are done.', done, len(outcome.cells))
    for file in written:
        _log.info('%s', file)
    if outcome.interrupted:
        sys.exit(console.EXIT_INTERRUPTED)
    for title in outcome.waiting:
        _log.info('Its learning rate is being searched by another process: %s', title)
    if outcome.waiting or outcome.elsewhere:
        _log.info('Run the same command again when the other processes are done.')
    if outcome.failed or outcome.waiting or outcome.elsewhere:
        sys.exit(console.EXIT_FAILED)


def run_show(arguments: argparse.Namespace) -> None:
    """Runs `n2n bench show`."""
    from n2n_jax.bench.tables import page
    from n2n_jax.bench.tables.places import Places
    from n2n_jax.bench.tables.results import results
    from n2n_jax.bench.tables.runner import ALL

    runner = _runner(arguments, Places(), share=ALL, any_commit=True)
    outcome = runner.outcome()
    found = results(runner.table, outcome.cells, outcome.records)
    if not found:
        print(page.description(runner.table))
        _log.info(
            '%s holds no cell of this table for --budget %s.', arguments.folder, arguments.budget
        )
        return
    print(page.markdown(runner.table, arguments.budget, outcome, found, images=[]))


def _runner(
    arguments: argparse.Namespace, places: 'Places', *, share: 'Share', any_commit: bool
) -> 'Runner':
    from n2n_jax.bench import tables
    from n2n_jax.bench.tables.runner import Runner

    table = tables.find(arguments.table)
    seeds = arguments.seeds
    if seeds is None:
        seeds = table.budget(arguments.budget).seeds
    if seeds < 1:
        raise UserError(f'--seeds {seeds}: must be at least 1.')
    return Runner(
        table,
        arguments.budget,
        seeds,
        arguments.folder,
        places=places,
        share=share,
        any_commit=any_commit,
    )


def _share(text: str) -> 'Share':
    from n2n_jax.bench.tables.runner import Share

    match = re.fullmatch(r'(\d+)/(\d+)', text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise UserError(f'--cells {text}: write I/N, such as 1/4 to 4/4.')
    return Share(int(match[1]), int(match[2]))


def _places(arguments: argparse.Namespace) -> 'Places':
    from n2n_jax.bench.tables.places import Places

    files = {}
    for text in arguments.file:
        name, equals, path = text.partition('=')
        if not equals or not path:
            raise UserError(f'--file {text}: write NAME=PATH.')
        files[name] = Path(path)
    return Places(arguments.data, files)
