"""Comparing runs, and the command that does."""

import json

import numpy as np
import pytest
from tiny import tiny_config

from n2n_jax.cli import n2n as cli
from n2n_jax.evaluate import compare
from n2n_jax.evaluate.metrics import bootstrap_interval
from n2n_jax.runtime import json_files, result_rows
from n2n_jax.runtime.atomic_files import write_text
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.result_rows import row_id
from n2n_jax.runtime.workdir import Workdir


def scores(early, psnr, ssim):
    """Scores of an image or of a row, as early versions or as today's write them."""
    if early:
        return {'psnr': float(psnr), 'psnr_input': 20.0, 'ssim': ssim, 'ssim_input': 0.2}
    return {'metrics': {'psnr': {'in': 20.0, 'out': float(psnr)}, 'ssim': {'in': 0.2, 'out': ssim}}}


@pytest.fixture
def make_run(tmp_path):
    """(name, {image: psnr}, protocol, ...) -> workdir of a run so evaluated.

    With `hashes`, {image: hash of its pixels}, as present versions do it, else as early ones did.
    """

    def make_run(name, psnr, protocol='p', hashes=None, set_name='photos', **changes):
        workdir = Workdir(tmp_path / name)
        with workdir.claimed(tiny_config(**changes)):
            pass
        for step in (2, 4):
            values = list(psnr.values())
            row = {
                'step': step, 'set': set_name, 'noise': 'gaussian:25', 'n': len(psnr),
                'ci95': [0, 0], 'protocol': protocol, 'seed': 0,
                **scores(not hashes, np.mean(values), 0.5),
            }  # fmt: skip
            if hashes:
                row['id'] = row_id(set_name, 'gaussian:25', protocol, hashes.values())
            offset = 0 if step == 4 else -9  # only the last evaluation counts
            images = [
                {
                    'image': image, 'replica': 0,
                    **scores(not hashes, value + offset, value / 40),
                    **({'sha256': hashes[image]} if hashes else {}),
                }
                for image, value in psnr.items()
            ]  # fmt: skip
            write_text(workdir.scores_file(row), json.dumps({**row, 'images': images}))
            file = workdir.path / 'results.json'
            rows = json.loads(file.read_text()) if file.exists() else []
            write_text(file, json.dumps([*rows, row]))
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
    with pytest.raises(UserError, match=r'photos_gaussian_25\.json is damaged: evaluate .* again'):
        compare.compare(a, make_run('e', {'x': 20.0}))


def test_images_are_paired_by_their_pixels_whatever_they_and_their_sets_are_called(make_run):
    psnr = {'01.png': 20.0, '02.png': 30.0, '03.png': 40.0}
    a = make_run('a', psnr, hashes=dict(zip(psnr, 'pqr', strict=True)), set_name='kodak')
    psnr = {'kodim02': 30.5, 'kodim01': 20.1, '03.png': 99.0}  # the last is another image
    b = make_run('b', psnr, hashes=dict(zip(psnr, 'qpx', strict=True)), set_name='kodak24')
    (row,) = compare.compare(a, b)
    assert (row['set'], row['n'], row['n_of']) == ('kodak / kodak24', 2, [3, 3])
    assert (row['paired_by'], row['psnr_reference'], row['psnr']) == ('pixels', 25.0, 25.3)
    table = compare.markdown_table([row])
    assert '| 2 of 3 |' in table
    assert 'early version' not in table


def test_runs_of_an_early_version_are_paired_by_name_and_that_is_said(make_run):
    (row,) = compare.compare(make_run('a', {'x': 20.0}), make_run('b', {'x': 21.0}))
    assert row['paired_by'] == 'names'
    assert 'paired by their names: an early version' in compare.markdown_table([row])
    with pytest.raises(UserError, match='same images'):  # names of another set say nothing
        compare.compare(make_run('c', {'x': 20.0}), make_run('d', {'x': 21.0}, set_name='other'))


def test_noise_by_names_is_not_compared_with_noise_by_pixels(make_run):
    old = make_run('old', {'x': 20.0})
    new = make_run('new', {'x': 20.0}, protocol='q', hashes={'x': 'p'})
    for pair in ((old, new), (new, old)):
        with pytest.raises(UserError, match='/old was evaluated by an early version'):
            compare.compare(*pair)


def test_a_quick_look_does_not_take_the_place_of_the_whole_set(make_run):
    hashes = {'x': 'p', 'y': 'q', 'z': 'r'}
    runs = [make_run(name, {'x': 20.0, 'y': 21.0, 'z': 22.0}, hashes=hashes) for name in 'ab']
    for run in runs:
        workdir = Workdir(run)
        whole = workdir.rows()[-1]
        images = json.loads(workdir.scores_file(whole).read_text())['images'][:1]
        quick = {**whole, 'n': 1, 'id': row_id('photos', 'gaussian:25', 'p', ['p'])}
        write_text(workdir.scores_file(quick), json.dumps({**quick, 'images': images}))
        workdir.add_rows([quick])
    (row,) = compare.compare(*runs)
    assert row['n'] == 3


def test_exact_images_are_compared_too(make_run):
    a, b = make_run('a', {'x': 20.0, 'y': 30.0}), make_run('b', {'x': 21.0, 'y': 30.0})
    for run in (a, b):
        file = Workdir(run).scores_file(Workdir(run).rows()[-1])
        content = json.loads(file.read_text())
        content['images'][1]['psnr'] = None  # as JSON has what is infinite
        write_text(file, json.dumps(content))
    (row,) = compare.compare(a, b)
    assert row['difference'] == 0.5
    assert '| exact | exact | **+0.50**' in compare.markdown_table([row])


def test_a_network_whose_output_overflows_is_not_better_than_any(make_run):
    a, b = make_run('a', {'x': 20.0, 'y': 30.0}), make_run('b', {'x': 21.0, 'y': 30.0})
    file = Workdir(b).scores_file(Workdir(b).rows()[-1])
    content = json.loads(file.read_text())
    content['images'][1]['psnr'] = float('nan')
    write_text(file, json_files.dumps(content))
    table = compare.markdown_table(compare.compare(a, b))
    assert 'exact' not in table
    assert '| 25.00 | NaN |' in table


def as_today_with(run, **changes):
    """Rewrites the last evaluation of a run as today's version, with more scores and keys."""
    workdir = Workdir(run)
    row = workdir.rows()[-1]
    file = workdir.scores_file(row)
    content = {**json.loads(file.read_text()), **changes.pop('row', {})}
    images = [result_rows.upgraded(image) for image in content.pop('images')]
    for i, image in enumerate(images):
        image['metrics'] |= {name: {'in': 1.0, 'out': out + i} for name, out in changes.items()}
    content = result_rows.upgraded(content)
    write_text(file, json.dumps({**content, 'images': images}))
    workdir.add_rows([content])


def test_a_run_of_an_early_version_is_compared_with_one_that_has_more_metrics(make_run):
    a, b = make_run('a', {'x': 20.0, 'y': 30.0}), make_run('b', {'x': 20.1, 'y': 30.3})
    as_today_with(b, mse=0.5, **{'lpips:alex': 0.25})
    for pair in ((a, b), (b, a)):
        (row,) = compare.compare(*pair)
        assert row['metrics'] == ['psnr', 'ssim']
        assert abs(row['difference']) == pytest.approx(0.2)
    assert 'LPIPS' not in compare.markdown_table([row])


def test_a_metric_that_both_runs_have_is_compared_if_it_has_the_same_weights(make_run):
    runs = [make_run(name, {'x': 20.0, 'y': 30.0}) for name in 'abc']
    for run, score, weights in zip(runs, (0.5, 0.25, 0.25), ('p', 'p', 'q'), strict=True):
        kept = {'metric_weights': {'lpips:alex': weights}}
        as_today_with(run, row=kept, **{'lpips:alex': score})
    a, b, c = runs
    (row,) = compare.compare(a, b)
    assert row['difference_lpips:alex'] == -0.25
    assert row['ci95_lpips:alex'] == [-0.25, -0.25]
    table = compare.markdown_table([row])
    assert '| 1.0000 | 0.7500 | -0.2500 (-0.2500 to -0.2500) |' in table
    assert 'Smaller is better: LPIPS.' in table
    (row,) = compare.compare(a, c)
    assert row['metrics'] == ['psnr', 'ssim']
    assert 'Not compared, as its weights differ: LPIPS.' in compare.markdown_table([row])


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
