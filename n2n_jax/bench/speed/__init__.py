"""Speed of n2n_jax compared with PyTorch, on the same networks and in one run.

The two sides of a row are measured alternately: ours, theirs, ours, theirs, ... Read the ratio of
the medians; absolute times depend on the machine and its load.
"""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

from n2n_jax.bench.speed import denoising, inference, noise, peaks, pipeline, startup, training
from n2n_jax.bench.speed.report import Row, markdown_table, plot, surroundings
from n2n_jax.runtime import json_files
from n2n_jax.runtime.atomic_files import write_text
from n2n_jax.runtime.errors import UserError, did_you_mean

_log = logging.getLogger(__name__)

# In the order of the report. Each yields rows; the argument is `quick`, see `run`.
SECTIONS: dict[str, Callable[[bool], Iterator[Row]]] = {
    'peaks': peaks.rows,
    'training': training.rows,
    'inference': inference.rows,
    'pipeline': pipeline.rows,
    'noise': noise.rows,
    'denoising': denoising.rows,
    'startup': startup.rows,
}

_PACKAGES = {'peaks': (), 'denoising': ('bm3d',)}  # all others need PyTorch


def packages(sections: list[str], *, plot: bool) -> list[str]:
    """Lists the packages that the sections need beyond the dependencies of n2n_jax.

    Args:
      sections: names in `SECTIONS`; empty: all.
      plot: whether a plot will be drawn.

    Raises:
      UserError: a section is unknown.
    """
    for name in sections:
        if name not in SECTIONS:
            raise UserError(f"Unknown section '{name}'. {did_you_mean(name, SECTIONS)}")
    names = [p for name in sections or SECTIONS for p in _PACKAGES.get(name, ('torch',))]
    return list(dict.fromkeys([*names, *['matplotlib'] * plot]))


def run(sections: list[str], *, quick: bool, output: Path | None) -> list[Row]:
    """Measures the sections, and logs each row as soon as it is measured.

    Args:
      sections: names in `SECTIONS`; empty: all.
      quick: skip cases that take minutes.
      output: JSON file; a table (.md) and a plot (.png) are written beside it. None: only log.
    """
    rows: list[Row] = []
    for name in sections or SECTIONS:
        for row in SECTIONS[name](quick):
            rows.append(row)
            _log.info('%s', row)
            if output is not None:  # after every row, so that an interrupted run keeps its rows
                content = {**surroundings(), 'rows': [r.as_dict() for r in rows]}
                write_text(output, json_files.dumps(content, indent=1))
    if output is not None:
        write_text(output.with_suffix('.md'), markdown_table(rows))
        plot(rows, output.with_suffix('.png'))
    return rows
