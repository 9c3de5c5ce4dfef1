"""Rows of the benchmark, as JSON, Markdown and plot."""

import dataclasses
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from n2n_jax.runtime.workdir import provenance


@dataclasses.dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
      name: what was measured, with its sizes.
      ours: result of n2n_jax.
      theirs: result of the other side; None if there is none to compare with.
      unit: unit of both. In seconds smaller is better, in all other units larger.
      other: name of the other side; the best if there are several.
      detail: further results, by name.
    """

    name: str
    ours: float
    theirs: float | None
    unit: str
    other: str = ''
    detail: dict[str, float] = dataclasses.field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        """How many times as fast n2n_jax is; None if there is no other side."""
        if self.theirs is None:
            return None
        return self.theirs / self.ours if self.unit == 's' else self.ours / self.theirs

    def as_dict(self) -> dict[str, Any]:
        """Returns the row as JSON-compatible values."""
        return {**dataclasses.asdict(self), 'ratio': self.ratio, 'device': device()}

    def __str__(self) -> str:
        words = f'{self.name}: {self.ours:.4g} {self.unit}'
        if self.theirs is not None:
            words += f', {self.other} {self.theirs:.4g}: ratio {self.ratio:.2f}'
        return words + ''.join(f', {name} {value:.3g}' for name, value in self.detail.items())


def device() -> str:
    """Names the device that is measured."""
    first = jax.devices()[0]
    if first.platform != 'cpu':
        return first.device_kind
    return f'{os.cpu_count()} CPU cores, {_cpu_name()}'


def _cpu_name() -> str:
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(':')[1].strip() for line in lines if 'model name' in line), 'unknown')


def surroundings() -> dict[str, Any]:
    """Returns device, versions and commit, for the results file."""
    versions = {}
    for name in ('torch', 'bm3d'):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {'device': device(), 'provenance': provenance(), 'others': versions}


def markdown_table(rows: list[Row]) -> str:
    """Formats the rows as a Markdown table."""
    lines = ['| what | n2n_jax | other | unit | ratio | more |', '|---|---:|---:|---|---:|---|']
    for row in rows:
        theirs = '' if row.theirs is None else f'{row.theirs:.4g} ({row.other})'
        ratio = '' if row.ratio is None else f'**{row.ratio:.2f}**'
        detail = ', '.join(f'{name} {value:.3g}' for name, value in row.detail.items())
        lines.append(
            f'| {row.name} | {row.ours:.4g} | {theirs} | {row.unit} | {ratio} | {detail} |'
        )
    return '\n'.join(lines) + '\n'


def plot(rows: list[Row], file: Path) -> None:
    """Plots the ratios as bars on a logarithmic axis; 1 is the speed of the other side."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot, ticker

    ratio_of = {row.name: row.ratio for row in reversed(rows) if row.ratio is not None}
    if not ratio_of:
        return
    figure, axes = pyplot.subplots(figsize=(9, 1 + 0.3 * len(ratio_of)), layout='constrained')
    ratios = list(ratio_of.values())
    bars = axes.barh(list(ratio_of), [r - 1 for r in ratios], left=1)
    for bar, ratio in zip(bars, ratios, strict=True):
        bar.set_color('tab:blue' if ratio >= 1 else 'tab:red')
    axes.bar_label(bars, [f' {ratio:.2f} ' for ratio in ratios])
    axes.set_xscale('log')
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f'{value:g}'))
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.margins(x=0.15)
    axes.axvline(1, color='black', linewidth=1)
    axes.set_xlabel(f'n2n_jax / other (right of 1: n2n_jax is ahead), {device()}')
    figure.savefig(file, dpi=120)
    pyplot.close(figure)
