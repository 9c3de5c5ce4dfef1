"""Paths as one text in a config."""

from pathlib import Path

import pytest

from n2n_jax.runtime import path_list


@pytest.mark.parametrize(
    'names',
    [
        ['a.tif'],
        ['a.tif', 'b c.tif'],
        ['cells, day 1'],
        [' a1.tif', 'b1.tif '],
        ['a,b.tif', 'c.tif'],
        ['[x].tif'],
        ['["x"]'],
        ['caf\udce9.tif', 'é, ü.tif'],
        ['a\n'],
    ],
)
def test_every_path_survives(names):
    paths = [Path(name) for name in names]
    assert path_list.parted(path_list.joined(paths)) == paths


def test_plain_paths_look_as_they_always_have():
    assert path_list.joined([Path('a.tif'), Path('cells/b.tif')]) == 'a.tif,cells/b.tif'
    assert path_list.parted('a.tif, b.tif') == [Path('a.tif'), Path('b.tif')]
