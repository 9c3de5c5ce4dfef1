"""`n2n table`: runs of one's own, whose evaluations are written by hand here."""

import csv
import json
import math

import numpy as np
import pytest
from command_line import n2n
from tiny import tiny_config

from n2n_jax.bench.tables import own_runs
from n2n_jax.evaluate.metrics import bootstrap_interval
from n2n_jax.runtime.atomic_files import write_text
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.workdir import Workdir


@pytest.fixture
def make_run(tmp_path):
    """(name, PSNR of each image, ...) -> workdir of a run so evaluated."""

    def make_run(name, psnrs, *, image_set='kodak24', protocol='p', images='a', **changes):
        workdir = Workdir(tmp_path / name)
        with workdir.claimed(tiny_config(**changes)):
            pass
        row = {
            'step': 4, 'set': image_set, 'noise': 'gaussian:25', 'n': len(psnrs), 'id': '1',
            'ci95': [0, 0], 'protocol': protocol, 'images_sha256': images,
            'metrics': {'psnr': {'in': 20.0, 'out': float(np.mean(psnrs))}},
        }  # fmt: skip
        scores = [
            {
                'image': str(i), 'sha256': str(i), 'replica': 0,
                'metrics': {'psnr': {'in': 20.0, 'out': psnr}},
            }
            for i, psnr in enumerate(psnrs)
        ]  # fmt: skip
        write_text(workdir.scores_file(row), json.dumps({**row, 'images': scores}))
        write_text(workdir.path / 'results.json', json.dumps([row]))
        return workdir.path

    return make_run


@pytest.fixture
def four(make_run):
    """Two configs with two seeds each."""
    clean = {'noise.target': 'clean'}
    return [
        make_run('clean0', [30.0, 32.0, 34.0], **clean),
        make_run('clean1', [30.2, 32.2, 34.2], seed=1, **clean),
        make_run('noisy0', [29.0, 31.5, 33.7]),
        make_run('noisy1', [29.4, 31.6, 34.1], seed=1),
    ]


def test_seeds_are_one_row_and_differences_are_paired(four):
    clean, noisy = own_runs.rows(four)
    assert (clean.group, noisy.group) == ('noise.target=clean', 'noise.target=same')
    assert clean.psnr.mean == pytest.approx(32.1)
    assert clean.seed_sd == pytest.approx(0.2 / math.sqrt(2))
    assert clean.difference is None
    per_image = np.array([-0.9, -0.55, -0.2])
    assert noisy.difference.mean == pytest.approx(per_image.mean())
    assert noisy.difference.over_images == pytest.approx(bootstrap_interval(per_image))
    assert noisy.p == 0.25  # of three images that all lose, Wilcoxon's smallest
    assert noisy.runs == [str(path) for path in four[2:]]
    # The order of the runs only decides which row is compared with.
    swapped = own_runs.rows(four[::-1])
    assert swapped[0].group == 'noise.target=same'
    assert swapped[1].difference.mean == pytest.approx(-noisy.difference.mean)


def test_every_format_holds_the_same_numbers(four, tmp_path, capsys):
    files = [tmp_path / f'table{suffix}' for suffix in own_runs.FORMATS]
    assert n2n('table', *four, *(f'-o{file}' for file in files)) == 0
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [str(file) for file in files]
    markdown, table, latex, content = (file.read_text() for file in files)
    assert markdown in captured.out
    assert '| noise.target=clean | kodak24 | gaussian:25 | 2 | 32.10 |' in markdown
    rows = list(csv.reader(table.splitlines()))
    assert rows[2][:5] == ['noise.target=same', 'kodak24', 'gaussian:25', '2', '31.55']
    assert rows[2][7] == '-0.55'
    assert r'noise.target=same & kodak24 & gaussian:25 & 2 & 31.55' in latex
    assert json.loads(content)[1]['psnr']['mean'] == pytest.approx(31.55)
    assert n2n('table', *four, '-o', files[0]) == 2  # it would be overwritten
    assert '--force' in capsys.readouterr().err
    assert n2n('table', *four, '-o', 'table.xlsx') == 2
    assert '.md, .csv, .tex, .json' in capsys.readouterr().err


def test_special_characters_survive_latex(make_run):
    runs = [make_run('a', [30.0], **{'model.name': 'tiny:norm=batch'}), make_run('b', [31.0])]
    assert r'\hline' in own_runs.formatted(own_runs.rows(runs), '.tex')
    with_underscore = make_run('c', [31.0], image_set='my_set')
    assert r'my\_set' in own_runs.formatted(own_runs.rows([with_underscore]), '.tex')


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'data.train': 'photos'}, ['their data', 'other: photos', 'dead_leaves:200']),
        ({'data.max_images': 3}, ['their data', 'dead_leaves:200, 3 images']),
        ({'train.steps': 8}, ['their steps', 'one: 4 of 4', 'other: 4 of 8']),
    ],
)
def test_runs_that_cannot_be_compared_are_listed(make_run, changes, words):
    runs = [make_run('one', [30.0]), make_run('other', [31.0], **changes)]
    with pytest.raises(UserError) as error:
        own_runs.rows(runs)
    for word in (*words, str(runs[0])):
        assert word in str(error.value)


@pytest.mark.parametrize(
    ('how', 'words'),
    [
        ({'protocol': 'other'}, 'sets, noise or protocol'),
        ({'image_set': 'set14'}, 'sets, noise or protocol'),
        ({'images': 'b'}, 'images of the evaluation'),
    ],
)
def test_other_evaluations_are_refused(make_run, how, words):
    runs = [make_run('one', [30.0]), make_run('other', [31.0], seed=1, **how)]
    with pytest.raises(UserError, match=words):
        own_runs.rows(runs)


def test_the_same_run_twice_is_refused(make_run):
    run = make_run('one', [30.0])
    for runs in ([run, run], [run, make_run('copy', [30.0])]):
        with pytest.raises(UserError, match='same config and the same seed'):
            own_runs.rows(runs)
