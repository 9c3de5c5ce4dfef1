"""n2n_jax against PyTorch on the same networks, in one run.

Each row is measured alternately: ours, theirs, ours, theirs, ... The quotient of the two medians is
what to read; the absolute times are those of this machine in that hour.
"""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

from n2n_jax.bench.speed import denoising, inference, noise, peaks, pipeline, startup, training
from n2n_jax.bench.speed.report import Row, markdown_table, plot, surroundings
from n2n_jax.runtime import json_files
from n2n_jax.runtime.errors import UserError, did_you_mean
from n2n_jax.runtime.workdir import write_text

_log = logging.getLogger(__name__)

# In the order of the report. Each yields rows; `quick` leaves out what takes minutes.
SECTIONS: dict[str, Callable[[bool], Iterator[Row]]] = {
    'peaks': peaks.rows,
    'training': training.rows,
    'inference': inference.rows,
    'pipeline': pipeline.rows,
    'noise': noise.rows,
    'denoising': denoising.rows,
    'startup': startup.rows,
}

_PACKAGES = {'peaks': (), 'denoising': ('bm3d',)}  # the others need PyTorch


def packages(sections: list[str], *, plot: bool) -> list[str]:
    """What the sections need besides n2n_jax's own dependencies.

    Raises:
      UserError: unknown section.
    """
    for name in sections:
        if name not in SECTIONS:
            raise UserError(f"Unknown section '{name}'. {did_you_mean(name, SECTIONS)}")
    names = [p for name in sections or SECTIONS for p in _PACKAGES.get(name, ('torch',))]
    return list(dict.fromkeys([*names, *['matplotlib'] * plot]))


def run(sections: list[str], *, quick: bool, output: Path | None) -> list[Row]:
    """Measures the sections and prints each row when it is known.

    Args:
      sections: names in `SECTIONS`; empty: all.
      quick: leave out what takes minutes.
      output: JSON file; a table (.md) and a plot (.png) are written beside it. None: print only.
    """
    rows: list[Row] = []
    for name in sections or SECTIONS:
        for row in SECTIONS[name](quick):
            rows.append(row)
            _log.info('%s', row)
            if output is not None:  # after every row: a run that is stopped keeps what it has
                content = {**surroundings(), 'rows': [r.as_dict() for r in rows]}
                write_text(output, json_files.dumps(content, indent=1))
    if output is not None:
        write_text(output.with_suffix('.md'), markdown_table(rows))
        plot(rows, output.with_suffix('.png'))
    return rows
