"""The files of a table: its JSON with all records, its page and its plot."""

import importlib.util
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from n2n_jax.bench.tables import gallery, page, plot, records
from n2n_jax.bench.tables.places import Places
from n2n_jax.bench.tables.results import Result, results
from n2n_jax.bench.tables.runner import Outcome, table_file
from n2n_jax.bench.tables.table import Table
from n2n_jax.images import pictures
from n2n_jax.runtime import json_files
from n2n_jax.runtime.atomic_files import renamed_when_complete, write_text
from n2n_jax.runtime.errors import UserError

_log = logging.getLogger(__name__)


def write(table: Table, budget: str, outcome: Outcome, folder: Path, places: Places) -> list[Path]:
    """Writes a table, also an incomplete one; there is no plot without matplotlib or results.

    Args:
      table: the table.
      budget: name of the budget.
      outcome: how far it has come.
      folder: where its runs are, and where to write.
      places: where images and weights lie.

    Returns:
      The files.
    """
    found = results(table, outcome.cells, outcome.records)
    file = table_file(folder, table, budget)
    # Also what the file held before: with fewer seeds, or other steps, it may be all that is left.
    before = records.read_table(file)
    now = {c.key: outcome.records[c.key] for c in outcome.cells if c.key in outcome.records}
    used = {**now, **{key: record for key, record in before.items() if key not in now}}
    content = {
        'table': table.name,
        'budget': budget,
        'seeds': max((cell.seed for cell in outcome.cells), default=0) + 1,
        'complete': outcome.complete,
        'cells': [records.as_json(record) for record in used.values()],
    }
    write_text(file, json_files.dumps(content, indent=None) + '\n')
    written = [file]
    drawn = file.with_suffix('.png')
    if any(result.psnr for result in found) and importlib.util.find_spec('matplotlib'):
        with renamed_when_complete(drawn) as stream:
            plot.save(table, found, stream, note=f'budget {budget}: {table.in_words(budget)}')
        written.append(drawn)
    pixels = _pictures(outcome, found, folder, places)
    if pixels is not None:
        written.append(file.with_name(f'{file.stem}-pictures.png'))
        pictures.save(written[-1], pixels)
    images = [path for path in written if path.suffix == '.png']
    text = page.markdown(table, budget, outcome, found, images=images)
    write_text(file.with_suffix('.md'), text)
    return [*written, file.with_suffix('.md')]


def _pictures(
    outcome: Outcome, found: Sequence[Result], folder: Path, places: Places
) -> np.ndarray | None:
    """Draws the pictures; None if the user is waiting for the end, or the images are elsewhere."""
    if outcome.interrupted:
        return None
    try:
        return gallery.draw(outcome, found, folder, places)
    except UserError as error:
        _log.info('There are no pictures: %s', error)
        return None
