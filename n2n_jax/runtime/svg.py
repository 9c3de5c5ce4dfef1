"""Small SVG plots for embedding in HTML.

Written by hand, so that the page needs no plotting library. Axes and text inherit the color of the
surrounding text; marks have the class 'data', 'fit' or 'bad' for the page's style sheet.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from html import escape

_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 10, 10, 38  # pixels around the axes
_TICK = 4
_CELL = 20  # pixels a side of a cell of a map


@dataclasses.dataclass(frozen=True)
class Plot:
    """A pair of axes.

    Attributes:
      x: values at the left and right end.
      y: values at the lower and upper end.
      width: width of the whole figure in pixels.
      height: height of the whole figure in pixels.
    """

    x: tuple[float, float]
    y: tuple[float, float]
    width: int = 320
    height: int = 210

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Returns the pixel position of a point; points outside the axes are moved to the edge."""
        across = _share(x, self.x) * (self.width - _LEFT - _RIGHT)
        up = _share(y, self.y) * (self.height - _TOP - _BOTTOM)
        return _LEFT + across, self.height - _BOTTOM - up


def _share(value: float, ends: tuple[float, float]) -> float:
    low, high = ends
    return min(1.0, max(0.0, (value - low) / (high - low))) if high > low else 0.5


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Returns round numbers from low to high: multiples of 1, 2 or 5 times a power of ten."""
    if not high > low:
        return [low]
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * k for k in (1, 2, 5, 10) if power * k >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [k * step for k in range(first, last + 1)]


def figure(plot: Plot, marks: Iterable[str], *, x_label: str, y_label: str, title: str) -> str:
    """Draws axes with ticks and marks.

    Args:
      plot: the axes.
      marks: elements from `line`, `points` and `bars`.
      x_label: label below the x axis.
      y_label: label beside the y axis.
      title: description for screen readers.
    """
    left, bottom = plot.place(plot.x[0], plot.y[0])
    right, top = plot.place(plot.x[1], plot.y[1])
    parts = [
        f'<path class="axes" fill="none" stroke="currentColor" '
        f'd="M{left:.1f} {top:.1f}V{bottom:.1f}H{right:.1f}"/>'
    ]
    for value in ticks(*plot.x):
        x, _ = plot.place(value, plot.y[0])
        parts.append(f'<path stroke="currentColor" d="M{x:.1f} {bottom:.1f}v{_TICK}"/>')
        parts.append(_text(x, bottom + 15, _number(value), 'middle'))
    for value in ticks(*plot.y):
        _, y = plot.place(plot.x[0], value)
        parts.append(f'<path stroke="currentColor" d="M{left:.1f} {y:.1f}h-{_TICK}"/>')
        parts.append(_text(left - 6, y + 4, _number(value), 'end'))
    parts.append(_text((left + right) / 2, plot.height - 6, x_label, 'middle'))
    middle = (top + bottom) / 2
    parts.append(_text(11, middle, y_label, 'middle', f' transform="rotate(-90 11 {middle:.1f})"'))
    return _svg(plot.width, plot.height, title, [*parts, *marks])


def line(plot: Plot, xs: Sequence[float], ys: Sequence[float], kind: str = 'fit') -> str:
    """Draws a line through points."""
    at = [plot.place(x, y) for x, y in zip(xs, ys, strict=True)]
    path = ' '.join(f'{x:.1f},{y:.1f}' for x, y in at)
    return f'<polyline class="{kind}" fill="none" stroke="currentColor" points="{path}"/>'


def points(plot: Plot, xs: Sequence[float], ys: Sequence[float], kind: str = 'data') -> str:
    """Draws a dot at each point."""
    dots = []
    for at in zip(xs, ys, strict=True):
        x, y = plot.place(*at)
        dots.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"/>')
    return f'<g class="{kind}" fill="currentColor">{"".join(dots)}</g>'


def bars(plot: Plot, edges: Sequence[float], heights: Sequence[float], kind: str = 'data') -> str:
    """Draws a bar between each edge and the next; needs one more edge than heights."""
    boxes = []
    for low, high, height in zip(edges[:-1], edges[1:], heights, strict=True):
        if height <= plot.y[0]:
            continue
        x, y = plot.place(low, height)
        end, bottom = plot.place(high, plot.y[0])
        size = f'width="{max(end - x, 1):.1f}" height="{bottom - y:.1f}"'
        boxes.append(f'<rect x="{x:.1f}" y="{y:.1f}" {size}/>')
    return f'<g class="{kind}" fill="currentColor">{"".join(boxes)}</g>'


def cells(rows: Sequence[Sequence[float]], *, title: str) -> str:
    """Draws a map of numbers from -1 to 1 by opacity; negative ones have the class 'bad'."""
    boxes = []
    for i, row in enumerate(rows):
        for j, value in enumerate(row):
            kind = 'bad' if value < 0 else 'data'
            boxes.append(
                f'<rect class="{kind}" fill="currentColor" x="{j * _CELL}" y="{i * _CELL}" '
                f'width="{_CELL}" height="{_CELL}" fill-opacity="{min(1.0, abs(value)):.3f}">'
                f'<title>{value:+.2f}</title></rect>'
            )
    width, height = _CELL * max(map(len, rows), default=0), _CELL * len(rows)
    frame = (
        f'<rect fill="none" stroke="currentColor" x="0.5" y="0.5" width="{width - 1}" '
        f'height="{height - 1}"/>'
    )
    return _svg(width, height, title, [*boxes, frame])


def _svg(width: int, height: int, title: str, parts: Iterable[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" font-size="11" '
        f'font-family="system-ui, sans-serif"><title>{escape(title)}</title>'
        f'{"".join(parts)}</svg>'
    )


def _text(x: float, y: float, text: str, anchor: str, more: str = '') -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="currentColor"{more}>'
        f'{escape(text)}</text>'
    )


def _number(value: float) -> str:
    return f'{value:.5g}' if abs(value) < 1e5 else f'{value:.1e}'
