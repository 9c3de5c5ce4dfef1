"""A table as a plot, one column of panels per set.

Arms are rows of dots with their differences to the control below; lines over the levels of the
noise; or curves over the steps.
"""

import textwrap
from collections.abc import Sequence
from typing import Any, BinaryIO

from n2n_jax import corruptions
from n2n_jax.bench.tables.results import Result
from n2n_jax.bench.tables.statistics import Estimate
from n2n_jax.bench.tables.table import Table

_LINE = 0.28  # inches per row of dots, enough for two lines of small letters
_LABEL_LETTERS = 44  # of a line of a row's name
_TITLE_LETTERS, _NOTE_LETTERS, _SMALL_LETTERS = 11, 15, 13  # that fit into an inch


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
    compared = [result for result in shown if result.difference is not None]
    sets = list(dict.fromkeys(result.image_set for result in shown))
    parts = [(_curves if table.curves else _lines, shown)] if table.curves or table.axis else []
    if not parts:
        parts = [(_dots, shown), (_differences, compared)][: 1 + bool(compared)]
    heights = [
        3.6 if draw in (_curves, _lines) else 0.7 + _LINE * len({_title(r, shown) for r in results})
        for draw, results in parts
    ]
    longest = max(len(_title(result, shown)) for result in shown)
    labels = 0.6 + min(longest, _LABEL_LETTERS) / _SMALL_LETTERS
    figure, panels = pyplot.subplots(
        len(parts), len(sets), figsize=(labels + 3.4 * len(sets), 0.8 + sum(heights)),
        squeeze=False, layout='constrained', sharey='row', height_ratios=heights,
    )  # fmt: skip
    for row, (draw, results) in zip(panels, parts, strict=True):
        for axes, image_set in zip(row, sets, strict=True):
            draw(axes, [r for r in results if r.image_set == image_set], table)
            axes.grid(alpha=0.3)
    for axes, image_set in zip(panels[0], sets, strict=True):
        axes.set_title(image_set)
    width = figure.get_figwidth()
    figure.suptitle(textwrap.fill(table.title, int(_TITLE_LETTERS * width)))
    figure.supxlabel(textwrap.fill(note, int(_NOTE_LETTERS * width)), fontsize='small')
    figure.savefig(stream, format='png', dpi=110)
    pyplot.close(figure)


def _title(result: Result, shown: Sequence[Result]) -> str:
    noises = {r.noise for r in shown if r.arm.title == result.arm.title}
    return f'{result.arm.title}, {result.noise}' if len(noises) > 1 else result.arm.title


def _dots(axes: Any, shown: Sequence[Result], table: Table) -> None:
    """Means with intervals, and a ring for each published number."""
    _draw_rows(axes, shown, [result.psnr for result in shown])
    for row, result in zip(_rows(shown), shown, strict=True):
        if result.published is not None:
            axes.plot(result.published, row, 'o', mfc='none', mec='black', markersize=7)
    published = any(result.published is not None for result in shown)
    axes.set_xlabel('PSNR, dB' + (' (ring: published)' if published else ''))


def _differences(axes: Any, shown: Sequence[Result], table: Table) -> None:
    axes.axvline(0, color='black', linewidth=1)
    _draw_rows(axes, shown, [result.difference for result in shown])
    axes.set_xlabel('difference to the control, dB')


def _rows(shown: Sequence[Result]) -> range:
    return range(len(shown) - 1, -1, -1)


def _draw_rows(axes: Any, shown: Sequence[Result], estimates: Sequence[Estimate | None]) -> None:
    for row, result, estimate in zip(_rows(shown), shown, estimates, strict=True):
        assert estimate is not None
        color = 'tab:gray' if result.arm.method else 'tab:blue'
        axes.plot(estimate.over_both, [row, row], color=color, linewidth=2)
        axes.plot(estimate.mean, row, 'o', color=color, markersize=5)
    names = [textwrap.fill(_title(result, shown), _LABEL_LETTERS) for result in shown]
    axes.set_yticks(_rows(shown), names, fontsize='small')
    axes.set_ylim(-0.5, len(shown) - 0.5)  # half a row above and below, also of a single one


def _lines(axes: Any, shown: Sequence[Result], table: Table) -> None:
    """PSNR over the levels of the noise, one line per arm."""
    for title in dict.fromkeys(result.arm.title for result in shown):
        results = [result for result in shown if result.arm.title == title]
        estimates = [result.psnr for result in results if result.psnr is not None]
        values = [corruptions.parse(result.noise).stages[0].low for result in results]
        (line,) = axes.plot(values, [e.mean for e in estimates], 'o-', markersize=4, label=title)
        low, high = zip(*(e.over_both for e in estimates), strict=True)
        axes.fill_between(values, low, high, color=line.get_color(), alpha=0.15)
    axes.set_xlabel(table.axis)
    axes.set_ylabel('PSNR, dB')
    axes.legend(fontsize='small')


def _curves(axes: Any, shown: Sequence[Result], table: Table) -> None:
    """PSNR over steps: a color for each group, a style for each arm."""
    groups = list(dict.fromkeys(result.arm.group for result in shown))
    names = list(dict.fromkeys(result.arm.name for result in shown))
    for result in shown:
        color = f'C{groups.index(result.arm.group)}'
        style = ('-', '--', ':', '-.')[names.index(result.arm.name) % 4]
        steps = list(result.curve)
        axes.plot(
            steps, [result.curve[step] for step in steps], style, color=color,
            label=result.arm.title,
        )  # fmt: skip
    axes.set_xlabel('steps')
    axes.set_ylabel('PSNR, dB')
    axes.legend(fontsize='small')
