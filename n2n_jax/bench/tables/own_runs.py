"""A table of runs of one's own: grouped by config, with means over seeds and paired differences.

S seeds, I images.
"""

import csv
import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from n2n_jax.bench.tables import statistics
from n2n_jax.bench.tables.statistics import Estimate
from n2n_jax.evaluate.kept_scores import Evaluation, last_evaluations
from n2n_jax.evaluate.metrics import PSNR
from n2n_jax.runtime import json_files
from n2n_jax.runtime.config import Config, flatten
from n2n_jax.runtime.config_identity import config_hash, may_change
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.workdir import Workdir

FORMATS = '.md', '.csv', '.tex', '.json'

_Column = tuple[str, str, str]  # set, noise, protocol


@dataclasses.dataclass(frozen=True)
class Row:
    """A group of runs on one set under one noise.

    Attributes:
      group: what tells its configs from those of other groups, such as 'model.name=unet'.
      image_set: name of the set.
      noise: spec of the noise.
      psnr: of the outputs.
      seed_sd: standard deviation over its seeds; NaN for one.
      difference: to the first group; None for that one.
      p: of the difference, by Wilcoxon's test, adjusted after Holm; NaN for the first group.
      protocol: of the evaluation.
      runs: folders of its runs.
    """

    group: str
    image_set: str
    noise: str
    psnr: Estimate
    seed_sd: float
    difference: Estimate | None
    p: float
    protocol: str
    runs: list[str]


@dataclasses.dataclass(frozen=True)
class _Run:
    path: Path
    config: Config
    evaluations: dict[_Column, Evaluation]


def rows(paths: Sequence[Path]) -> list[Row]:
    """Returns the table of some runs; the first one's group is what others are compared with.

    Args:
      paths: workdirs.

    Raises:
      UserError: a run has no evaluation, two are the same, or they were not evaluated on the same
        images under the same protocol, or not trained on the same data for as many steps.
    """
    runs = [_read(path) for path in paths]
    _check_alike(runs)
    groups: dict[str, list[_Run]] = {}
    for run in runs:
        groups.setdefault(config_hash(run.config), []).append(run)
    for group in groups.values():
        _check_seeds(group)
    names = _names([group[0].config for group in groups.values()])
    named = dict(zip(names, groups.values(), strict=True))
    psnrs = {
        (name, column): _psnrs(group, column)
        for name, group in named.items()
        for column in runs[0].evaluations
    }
    compared = statistics.compared(
        psnrs,
        {key: (names[0], key[1]) for key in psnrs if key[0] != names[0]},
        lambda key: key[1],
    )
    return [
        Row(
            group=key[0],
            image_set=key[1][0],
            noise=key[1][1],
            psnr=compared.means[key],
            seed_sd=statistics.seed_sd(by_seed),
            difference=compared.differences.get(key),
            p=compared.p.get(key, math.nan),
            protocol=key[1][2],
            runs=[str(run.path) for run in named[key[0]]],
        )
        for key, by_seed in psnrs.items()
    ]


def _read(path: Path) -> _Run:
    workdir = Workdir(path)
    evaluations = {
        (one.row['set'], one.row['noise'], one.row['protocol']): one
        for one in last_evaluations(workdir)
    }
    return _Run(path, workdir.config(), evaluations)


def _check_alike(runs: Sequence[_Run]) -> None:
    """Raises UserError, with a line for each run, if runs cannot stand in one table."""
    for what, value_of in (
        ('data', _data),
        ('steps', _steps),
        ('sets, noise or protocol of the evaluation', _evaluated),
        ('images of the evaluation', _images),
    ):
        values = {run.path: value_of(run) for run in runs}
        if len(set(values.values())) > 1:
            listed = '\n'.join(f'  {path}: {value}' for path, value in values.items())
            raise UserError(
                f'These runs differ in their {what}:\n{listed}\nLeave out those that differ, or '
                'compare two runs with n2n compare.'
            )


def _data(run: _Run) -> str:
    data = run.config.data
    most = f', {data.max_images} images' if data.max_images else ''
    return run.config.captures.paths or f'{data.train}{most}'


def _steps(run: _Run) -> str:
    """Of the weights that were scored, which may not be the last of the run."""
    steps = sorted({one.row['step'] for one in run.evaluations.values()})
    return f'{", ".join(map(str, steps))} of {run.config.train.steps}'


def _evaluated(run: _Run) -> str:
    return '; '.join(f'{name}, {noise}: {how}' for name, noise, how in sorted(run.evaluations))


def _images(run: _Run) -> str:
    return ', '.join(
        f'{column[0]} {one.row.get("images_sha256", "")[:12]} ({len(one.scores)} images)'
        for column, one in sorted(run.evaluations.items())
    )


def _check_seeds(group: Sequence[_Run]) -> None:
    seen: dict[int, Path] = {}
    for run in group:
        other = seen.setdefault(run.config.seed, run.path)
        if other != run.path or [r.path for r in group].count(run.path) > 1:
            raise UserError(
                f'{other} and {run.path} are runs of the same config and the same seed '
                f'({run.config.seed}): leave one out.'
            )


def _names(configs: Sequence[Config]) -> list[str]:
    """Names each group by the values that not all groups share."""
    flat: list[Mapping[str, Any]] = [flatten(config) for config in configs]
    keys = [
        key
        for key in flat[0]
        if key != 'seed' and not may_change(key) and len({str(one[key]) for one in flat}) > 1
    ]
    return [
        ', '.join(f'{key}={one[key]}' for key in keys) or f'model.name={one["model.name"]}'
        for one in flat
    ]


def _psnrs(group: Sequence[_Run], column: _Column) -> dict[int, np.ndarray]:
    """Returns the PSNR of each image, (I,), by seed."""
    images = sorted(group[0].evaluations[column].scores)
    return {
        run.config.seed: np.array(
            [run.evaluations[column].scores[image][PSNR.name] for image in images]
        )
        for run in group
    }


def formatted(found: Sequence[Row], suffix: str) -> str:
    """Returns a table as the text of a file.

    Args:
      found: its rows.
      suffix: one of `FORMATS`.
    """
    if suffix == '.json':
        return json_files.dumps([dataclasses.asdict(row) for row in found], indent=1) + '\n'
    titles = ['runs', 'set', 'noise', 'seeds', 'PSNR', '95 %', 'sd over seeds', 'difference',
              '95 %', 'p (Holm)']  # fmt: skip
    cells = [_cells(row) for row in found]
    if suffix == '.csv':
        stream = io.StringIO()
        csv.writer(stream, lineterminator='\n').writerows([titles, *cells])
        return stream.getvalue()
    if suffix == '.tex':
        lines = [' & '.join(map(_escaped, row)) + r' \\' for row in [titles, *cells]]
        body = '\n'.join([lines[0], r'\hline', *lines[1:]])
        return f'\\begin{{tabular}}{{lllrrrrrrr}}\n{body}\n\\end{{tabular}}\n'
    lines = [f'| {" | ".join(row)} |' for row in [titles, *cells]]
    lines.insert(1, '|---|---|---|' + '---:|' * 7)
    protocols = dict.fromkeys(row.protocol for row in found)
    notes = [
        'PSNR: mean over images, then over seeds; intervals over images and seeds; differences to '
        f'{found[0].group}, paired by image and seed.',
        *(f'Protocol: {protocol}.' for protocol in protocols),
    ]
    return '\n'.join(lines) + '\n\n' + '\n\n'.join(notes) + '\n'


def _cells(row: Row) -> list[str]:
    difference = row.difference
    return [
        row.group,
        row.image_set,
        row.noise,
        str(row.psnr.seeds),
        f'{row.psnr.mean:.2f}',
        f'{row.psnr.over_both[0]:.2f} to {row.psnr.over_both[1]:.2f}',
        '' if math.isnan(row.seed_sd) else f'{row.seed_sd:.3f}',
        '' if difference is None else f'{difference.mean:+.2f}',
        ''
        if difference is None
        else f'{difference.over_both[0]:+.2f} to {difference.over_both[1]:+.2f}',
        '' if math.isnan(row.p) else statistics.p_in_words(row.p),
    ]


def _escaped(text: str) -> str:
    for letter in r'_%&#$':
        text = text.replace(letter, rf'\{letter}')
    return text
