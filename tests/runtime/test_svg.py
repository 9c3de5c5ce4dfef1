"""Plots in SVG: axes, marks and maps."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from n2n_jax.runtime import svg


@pytest.mark.parametrize(
    ('low', 'high', 'expected'),
    [(0, 10, [0, 2, 4, 6, 8, 10]), (-1, 1, [-1, -0.5, 0, 0.5, 1]), (3, 3, [3]), (90, 255, None)],
)
def test_ticks_are_round_numbers_inside(low, high, expected):
    found = svg.ticks(low, high)
    assert all(low <= tick <= high for tick in found)
    assert 1 <= len(found) <= 7
    if expected:
        np.testing.assert_allclose(found, expected)


def test_points_are_placed_on_the_axes():
    plot = svg.Plot((0, 10), (0, 100))
    left, bottom = plot.place(0, 0)
    right, top = plot.place(10, 100)
    assert left < right
    assert top < bottom
    assert plot.place(5, 50) == pytest.approx(((left + right) / 2, (top + bottom) / 2))
    assert plot.place(20, -5) == (right, bottom)  # not outside the axes
    picture = svg.figure(
        plot,
        [svg.points(plot, [0, 10], [0, 100]), svg.line(plot, [0, 10], [0, 100])],
        x_label='a < b', y_label='y', title='t & u',
    )  # fmt: skip
    root = ET.fromstring(picture)
    dots = [e for e in root.iter() if e.tag.endswith('circle')]
    assert float(dots[1].get('cx')) == pytest.approx(right, abs=0.1)
    assert 'a < b' in [e.text for e in root.iter()]
    heights = [
        float(h) for h in re.findall(r'height="([\d.]+)"/>', svg.bars(plot, [0, 5, 10], [50, 100]))
    ]
    assert heights[1] == pytest.approx(2 * heights[0], abs=0.2)
    assert '<rect' not in svg.bars(plot, [0, 5], [0])


def test_a_map_shows_size_and_sign():
    root = ET.fromstring(svg.cells([[1.0, -0.5], [0.0, 2.0]], title='t'))
    boxes = [e for e in root.iter() if e.get('fill-opacity')]
    assert [float(e.get('fill-opacity')) for e in boxes] == [1, 0.5, 0, 1]
    assert [e.get('class') for e in boxes] == ['data', 'bad', 'data', 'data']
