"""A table as a plot: each arm with its interval, one panel per set."""

from collections.abc import Sequence
from typing import Any, BinaryIO

from n2n_jax.bench.tables.results import Result
from n2n_jax.bench.tables.table import Table


def save(table: Table, found: Sequence[Result], stream: BinaryIO, *, note: str) -> None:
    """Draws a table.

    Args:
      table: the table.
      found: its results; some must have scores.
      stream: where the PNG goes.
      note: what stands below the plot.
    """
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    shown = [result for result in found if result.psnr is not None]
    sets = list(dict.fromkeys(result.image_set for result in shown))
    height = 4.0 if table.axis else 1.2 + 0.28 * len({_title(result, shown) for result in shown})
    figure, panels = pyplot.subplots(
        1, len(sets), figsize=(2.5 + 3.6 * len(sets), height), layout='constrained', squeeze=False,
        sharey=True,
    )  # fmt: skip
    draw = _lines if table.axis else _dots
    for axes, image_set in zip(panels[0], sets, strict=True):
        draw(axes, [result for result in shown if result.image_set == image_set], table)
        axes.set_title(image_set)
        axes.grid(alpha=0.3)
    figure.suptitle(table.title)
    figure.supxlabel(note, fontsize='small')
    figure.savefig(stream, format='png', dpi=110)
    pyplot.close(figure)


def _title(result: Result, shown: Sequence[Result]) -> str:
    noises = {r.noise for r in shown if r.arm.title == result.arm.title}
    return f'{result.arm.title}, {result.noise}' if len(noises) > 1 else result.arm.title


def _dots(axes: Any, shown: Sequence[Result], table: Table) -> None:
    """One row per arm: the mean with its interval, and a ring for the published number."""
    titles = [_title(result, shown) for result in shown]
    rows = range(len(shown) - 1, -1, -1)
    for row, result in zip(rows, shown, strict=True):
        assert result.psnr is not None
        low, high = result.psnr.over_both
        color = 'tab:gray' if result.arm.method else 'tab:blue'
        axes.plot([low, high], [row, row], color=color, linewidth=2)
        axes.plot(result.psnr.mean, row, 'o', color=color, markersize=5)
        if result.published is not None:
            axes.plot(result.published, row, 'o', mfc='none', mec='black', markersize=7)
    axes.set_yticks(rows, titles)
    axes.set_xlabel('PSNR, dB')


def _lines(axes: Any, shown: Sequence[Result], table: Table) -> None:
    """PSNR over the values of the groups, one line per arm."""
    for name in dict.fromkeys(result.arm.name for result in shown):
        results = [result for result in shown if result.arm.name == name]
        values = [float(result.arm.group) for result in results]
        estimates = [result.psnr for result in results if result.psnr is not None]
        (line,) = axes.plot(values, [e.mean for e in estimates], 'o-', markersize=4, label=name)
        low, high = zip(*(e.over_both for e in estimates), strict=True)
        axes.fill_between(values, low, high, color=line.get_color(), alpha=0.15)
    axes.set_xlabel(table.axis)
    axes.set_ylabel('PSNR, dB')
    axes.legend(fontsize='small')
