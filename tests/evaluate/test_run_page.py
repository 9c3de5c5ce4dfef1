"""`n2n report`: the page of a run is whole, well-formed and made of what the run has measured."""

import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from command_line import n2n
from tiny import tiny_config

from n2n_jax.evaluate import run_page
from n2n_jax.images.codecs import png
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.workdir import Workdir

EVIL = '<script>&"a|b"'


def tree_of(page):
    first, rest = page.split('\n', 1)
    assert first == '<!DOCTYPE html>'
    return ET.fromstring(rest)


def text_of(page):
    return ' '.join(' '.join(tree_of(page).itertext()).split())


@pytest.fixture
def run(tmp_path):
    """The folder of a run that was evaluated twice and then stopped."""
    workdir = Workdir(tmp_path / 'my run')
    with workdir.claimed(tiny_config(**{'eval.sets': f'photos,mine=folder:{EVIL}'})):
        pass
    for step, psnr in ((2, 28.5), (4, 30.25)):
        row = {
            'step': step, 'set': EVIL, 'noise': 'gaussian:25', 'n': 2, 'ci95': [29, 31],
            'protocol': 'whole images', 'seed': 0, 'id': 'abc',
            'metrics': {'psnr': {'in': 20.17, 'out': psnr}},
        }  # fmt: skip
        workdir.add_rows([row])
    folder = workdir.evaluation_folder(4)
    folder.mkdir(parents=True)
    name = workdir.scores_file(row).stem
    (folder / f'{name}_best.png').write_bytes(png.encode(np.zeros((4, 6, 3), np.uint8), 'rgb'))
    lines = [{'step': step, 'loss': 0.5 / step, 'learning_rate': None} for step in range(1, 5)]
    lines += [{'step': 2, 'photos/gaussian:25/psnr': 28.5}, {'step': 4, 'photos/x/psnr': 3}]
    lines += [{'step': step, 'held out/captures/psnr_estimate': 20 + step} for step in (2, 4)]
    text = '\n'.join(map(json.dumps, lines)) + '\n{"step": 5, "lo'  # a crash cut off the last line
    (workdir.path / 'metrics.jsonl').write_text(text)
    return workdir.path


def test_the_page_shows_scores_curves_pictures_settings_and_origin(run):
    page = run_page.page(run)
    root = tree_of(page)
    text = text_of(page)
    assert 'my run Not complete: the same command goes on' in text
    assert f'Last score: {EVIL}, gaussian:25: PSNR 30.25 dB, 20.17 before.' in text
    assert 'Scores at step 4' in text
    assert '30.25 (29.00 to 31.00) +10.08' in text
    assert '28.50' in text  # under all steps
    (image,) = root.iter('img')
    assert image.get('src').startswith('data:image/png;base64,')
    assert image.get('alt') == f'{EVIL}, gaussian:25: best'
    plots = [e for e in root.iter() if e.tag.endswith('polyline')]
    assert [len(e.get('points').split()) for e in plots] == [2, 4]  # one point is no curve
    assert 'data.crop 16' in text
    assert 'noise.target' in text
    assert 'estimated PSNR, dB: held out/captures; 24 in the end' in text
    assert 'packages' in text


def test_it_needs_no_other_file_and_names_are_text(run):
    page = run_page.page(run)
    assert '<script' not in page
    for element in tree_of(page).iter():
        for attribute in ('src', 'href'):
            assert element.get(attribute, 'data:').startswith('data:')
    assert 'url(' not in page


def test_it_says_how_the_run_stands(run):
    workdir = Workdir(run)
    with pytest.raises(RuntimeError), workdir.failure_marked():
        raise RuntimeError('out of <memory>')
    assert 'Ended with an error: RuntimeError: out of <memory>' in text_of(run_page.page(run))
    workdir.mark_done({'step': 4, 'wall_seconds': 75.0})
    assert 'Complete: 4 steps in 1 min 15 s.' in text_of(run_page.page(run))


def test_the_command_writes_it_anew_and_overwrites_nothing_else(run, tmp_path, capsys):
    for _ in range(2):
        assert n2n('report', run) == 0
        assert capsys.readouterr().err.splitlines()[-1] == str(run / 'report.html')
    tree_of((run / 'report.html').read_text())
    other = tmp_path / 'page.html'
    assert n2n('report', run, '-o', other) == 0
    assert n2n('report', run, '-o', other) == 2
    assert 'overwrite it with --force' in capsys.readouterr().err
    with pytest.raises(UserError, match='There is no run in'):
        run_page.page(tmp_path)
