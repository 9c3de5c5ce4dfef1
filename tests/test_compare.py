"""Comparing runs, and the command that does."""

import json

import numpy as np
import pytest
from tiny import tiny_config

from n2n_jax import cli, compare
from n2n_jax.errors import UserError
from n2n_jax.metrics import bootstrap_interval
from n2n_jax.workdir import Workdir, write_text


@pytest.fixture
def make_run(tmp_path):
    """(name, {image: psnr}, protocol, config keys...) -> workdir of a run so evaluated."""

    def make_run(name, psnr, protocol='p', **changes):
        workdir = Workdir(tmp_path / name)
        with workdir.claimed(tiny_config(**changes)):
            pass
        for step in (2, 4):
            values = list(psnr.values())
            row = {
                'step': step, 'set': 'photos', 'noise': 'gaussian:25', 'n': len(psnr),
                'psnr': float(np.mean(values)), 'psnr_input': 20.0, 'ssim': 0.5, 'ssim_input': 0.2,
                'ci95': [0, 0], 'protocol': protocol, 'seed': 0,
            }  # fmt: skip
            offset = 0 if step == 4 else -9  # only the last evaluation counts
            images = [
                {'image': image, 'replica': 0, 'psnr': value + offset, 'ssim': value / 40}
                for image, value in psnr.items()
            ]
            write_text(workdir.scores_file(row), json.dumps({**row, 'images': images}))
            workdir.add_rows([row])
        return workdir.path

    return make_run


def test_differences_are_paired_by_image(make_run):
    a = make_run('a', {'x': 20.0, 'y': 30.0, 'z': 40.0})
    b = make_run('b', {'z': 40.3, 'x': 20.1, 'w': 99.0, 'y': 30.2})  # another order, another image
    (row,) = compare.compare(a, b)
    assert row['n'] == 3
    assert row['steps'] == [4, 4]
    assert row['psnr_reference'] == pytest.approx(30)
    assert row['psnr'] == pytest.approx(30.2)
    assert row['difference'] == pytest.approx(0.2)
    assert row['ci95'] == pytest.approx(bootstrap_interval(np.array([0.1, 0.2, 0.3])))
    assert row['difference_ssim'] == pytest.approx(0.2 / 40)
    (back,) = compare.compare(b, a)
    assert back['difference'] == pytest.approx(-0.2)
    assert '**+0.20** (+0.10 to +0.30)' in compare.markdown_table([row])


def test_noisy_versions_of_an_image_are_not_more_images(make_run):
    a, b = make_run('a', {'x': 20.0, 'y': 30.0}), make_run('b', {'x': 20.1, 'y': 30.3})
    for workdir, gain in ((a, 0.0), (b, 0.2)):  # a second version of each image
        file = Workdir(workdir).scores_file(Workdir(workdir).rows()[-1])
        content = json.loads(file.read_text())
        content['images'] += [
            {**image, 'replica': 1, 'psnr': image['psnr'] + gain} for image in content['images']
        ]
        write_text(file, json.dumps(content))
    (row,) = compare.compare(a, b)
    assert row['n'] == 2
    assert row['ci95'] == pytest.approx(bootstrap_interval(np.array([0.2, 0.4])))


def test_what_differs_between_the_configs_is_said():
    words = compare.differences(
        tiny_config(),
        tiny_config(**{'noise.target': 'clean', 'eval.every': 7, 'train.steps': 9}),
    )
    assert words == "noise.target 'same' and 'clean'; train.steps 4 and 9"
    assert compare.differences(tiny_config(), tiny_config()) == 'nothing'


def test_runs_that_cannot_be_compared_are_refused(make_run, tmp_path):
    a = make_run('a', {'x': 20.0})
    with pytest.raises(UserError, match='same protocol'):
        compare.compare(a, make_run('b', {'x': 20.0}, protocol='q'))
    with pytest.raises(UserError, match='same images'):
        compare.compare(a, make_run('c', {'y': 20.0}))
    with Workdir(tmp_path / 'd').claimed(tiny_config()):
        pass
    with pytest.raises(UserError, match='holds no evaluation'):
        compare.compare(a, tmp_path / 'd')
    (file,) = (a / 'evaluation' / 'step_0000004').glob('*.json')
    file.write_text('{')
    with pytest.raises(UserError, match='photos_gaussian_25.json cannot be read'):
        compare.compare(a, make_run('e', {'x': 20.0}))


def test_the_command_prints_a_table_and_writes_json(make_run, tmp_path, capsys):
    a = make_run('a', {'x': 20.0, 'y': 21.0})
    b = make_run('b', {'x': 20.5, 'y': 21.5}, **{'noise.target': 'clean'})
    file = tmp_path / 'out.json'
    cli.main(['compare', str(a), str(b), '--json', str(file)])
    output = capsys.readouterr().out
    assert "They differ in: noise.target 'same' and 'clean'." in output
    assert '**+0.50**' in output
    (row,) = json.loads(file.read_text())
    assert row['run'] == str(b)
    assert row['difference'] == pytest.approx(0.5)
    with pytest.raises(SystemExit) as stopped:
        cli.main(['compare', str(a), str(b), '--json', str(file)])
    assert stopped.value.code == 2
