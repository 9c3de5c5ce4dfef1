"""The notebooks run from top to bottom, and are stored without what they showed."""

import json
from pathlib import Path

import command_line
import matplotlib
import pytest
from matplotlib import pyplot

FOLDER = Path(__file__).parents[1] / 'notebooks'
NAMES = sorted(path.name for path in FOLDER.glob('*.ipynb'))


def code_cells(name):
    """The source of each code cell, with its tags."""
    cells = json.loads((FOLDER / name).read_text('utf-8'))['cells']
    for cell in cells:
        if cell['cell_type'] == 'code':
            yield ''.join(cell['source']), cell['metadata'].get('tags', [])


@pytest.fixture
def shown(monkeypatch):
    """The figures that were shown."""
    matplotlib.use('Agg')
    figures = []
    monkeypatch.setattr(pyplot, 'show', lambda: figures.append(pyplot.gcf()))
    yield figures
    pyplot.close('all')


def in_this_process(*arguments):
    """In place of the notebook's own `n2n`, which starts a program."""
    assert command_line.n2n(*arguments) == 0, arguments


@pytest.mark.parametrize('name', NAMES)
def test_a_notebook_is_stored_without_outputs(name):
    for cell in json.loads((FOLDER / name).read_text('utf-8'))['cells']:
        assert not cell.get('outputs')
        assert cell.get('execution_count') is None


def run_own_captures(replaced):
    """Runs the cells, other code in place of those with a tag; gives the names they defined."""
    names = {}
    for source, tags in code_cells('own_captures.ipynb'):
        replacement = next((replaced[tag] for tag in tags if tag in replaced), None)
        exec(compile(source, 'own_captures.ipynb', 'exec'), names)
        names.update(replacement or {})
    return names


@pytest.mark.slow
def test_own_captures_are_denoised_from_the_first_cell_to_the_last(tmp_path, monkeypatch, shown):
    monkeypatch.chdir(tmp_path)
    names = run_own_captures(
        {
            'parameters': {'LENGTH': ['--steps', 2, '--model', 'tiny'], 'SCENES': ('coffee',)},
            'terminal': {'n2n': in_this_process},
        }
    )
    assert {name: image.shape for name, image in names['denoised'].items()} == {
        'coffee': names['clean']['coffee'].shape
    }
    assert len(list(tmp_path.rglob('denoised/**/*.tif'))) == 4
    assert len(shown) == 1


@pytest.mark.slow  # minutes: the network of the notebook, and a program for each command
def test_own_captures_are_denoised_as_in_a_terminal(tmp_path, monkeypatch, shown):
    monkeypatch.chdir(tmp_path)
    names = run_own_captures({'parameters': {'LENGTH': ['--steps', 3], 'SCENES': ('coffee',)}})
    assert set(names['denoised']) == {'coffee'}
    with pytest.raises(RuntimeError, match='n2n score ended with status 2'):
        names['n2n']('score', 'no such folder', '--model', 'no such run')
