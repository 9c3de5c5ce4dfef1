"""Training on single images, from one noisy file to a denoised one."""

import json
import os
import re
import signal

import numpy as np
import pytest
import tifffile
from scipy import ndimage

from n2n_jax.captures import grouping, scene_captures, scene_files, single_images
from n2n_jax.cli import n2n as cli
from n2n_jax.evaluate.held_out_single_images import SingleImageEvaluator
from n2n_jax.images import image_io
from n2n_jax.runtime.config import CapturesConfig
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.workdir import Workdir


def noisy(side=96, *, blur=0.0, seed=0):
    rng = np.random.default_rng(seed)
    drawn = rng.normal(size=(side, side))
    if blur:
        drawn = ndimage.gaussian_filter(drawn, blur)
    clean = np.linspace(60, 180, side)[None, :] * np.ones((side, 1))
    return np.rint(clean + 12 * drawn / drawn.std()).astype(np.uint8)


def train(tmp_path, *options, name='run'):
    cli.main([
        'train', str(tmp_path / 'photo.png'), '--single', '--workdir', str(tmp_path / name),
        '--model', 'tiny', *options,
    ])  # fmt: skip


def test_one_image_to_a_model_for_it(tmp_path, capsys):
    image_io.write_pixels(tmp_path / 'photo.png', noisy())
    train(tmp_path, '--steps', '2')
    run = tmp_path / 'run'
    log = capsys.readouterr().err
    assert 'PSNR cannot be measured without a second capture: take two captures' in log
    assert 'independent between neighboring pixels' in log
    # No PSNR was measured, and none is reported.
    assert Workdir(run).rows() == []
    assert not (run / 'results.json').exists()
    assert not (run / 'best').exists()
    assert 'PSNR' not in log.replace('PSNR cannot be measured', '')
    picture = image_io.read_image(run / 'evaluation/step_0000002/image_1.png').pixels
    assert picture.shape[1] > 3 * 96

    assert Workdir(run).config().captures.single
    assert 'captures.single' in (run / 'config.py').read_text()
    cli.main([
        'denoise', str(tmp_path / 'photo.png'), '-o', str(tmp_path / 'clean.png'),
        '--model', str(run),
    ])  # fmt: skip
    assert image_io.read_image(tmp_path / 'clean.png').pixels.shape == (96, 96)
    with pytest.raises(SystemExit) as stopped:
        cli.main(['score', str(tmp_path / 'photo.png'), '--model', str(run)])
    assert stopped.value.code == 2
    assert 'holds one capture, but two of a scene are needed' in capsys.readouterr().err


@pytest.mark.parametrize('kind', ['side', 'frame', 'disc'])
def test_an_image_with_a_border_of_no_data_is_not_refused(kind):
    rng = np.random.default_rng(0)
    y_HW, x_HW = np.mgrid[:256, :256]
    image_HW = 1000 + 300 * np.sin(x_HW / 40) * np.cos(y_HW / 50) + rng.normal(0, 50, (256, 256))
    border_HW = {
        'side': x_HW < 60,
        'frame': np.maximum(abs(x_HW - 127.5), abs(y_HW - 127.5)) > 112,
        'disc': np.hypot(x_HW - 128, y_HW - 128) > 110,
    }[kind]
    pixels = np.where(border_HW, -9999, image_HW).astype(np.float32)[None, ..., None]
    scene = scene_captures.without_constants(scene_captures.SceneCaptures('a', pixels))
    assert scene.measured_HWC is not None
    config = CapturesConfig(paths='a', single=True)
    assert single_images.check([scene], config, crop=64) == []
    # Problems inside the border are still reported.
    blurred_HW = 1000 + 300 * ndimage.gaussian_filter(rng.normal(size=(256, 256)), 1)
    pixels = np.where(border_HW, -9999, blurred_HW).astype(np.float32)[None, ..., None]
    scene = scene_captures.without_constants(scene_captures.SceneCaptures('a', pixels))
    with pytest.raises(UserError, match='correlated in 1 of 1 images'):
        single_images.check([scene], config, crop=64)


@pytest.mark.slow
def test_a_run_that_was_stopped_ends_with_the_same_weights(tmp_path, monkeypatch):
    image_io.write_pixels(tmp_path / 'photo.png', noisy())
    train(tmp_path, '--steps', '6', name='whole')

    draw = SingleImageEvaluator.__call__

    def stop_at_3(self, variables, step):
        if step == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return draw(self, variables, step)

    with monkeypatch.context() as patched:
        patched.setattr(SingleImageEvaluator, '__call__', stop_at_3)
        with pytest.raises(SystemExit) as stopped:
            train(tmp_path, '--steps', '6', name='parts')
    assert stopped.value.code == 130
    assert not (tmp_path / 'parts/DONE.json').exists()
    train(tmp_path, '--steps', '6', name='parts')
    hashes = [
        json.loads((tmp_path / name / 'DONE.json').read_text())['weights_sha256']
        for name in ('whole', 'parts')
    ]
    assert hashes[0] == hashes[1]


def test_correlated_noise_is_refused_unless_allowed(tmp_path, capsys):
    image_io.write_pixels(tmp_path / 'photo.png', noisy(256, blur=1))
    with pytest.raises(SystemExit) as stopped:
        train(tmp_path, '--steps', '2')
    assert stopped.value.code == 2
    assert 'is correlated in 1 of 1 images: photo.png (+0.' in capsys.readouterr().err
    assert not (tmp_path / 'run').exists()
    train(tmp_path, '--steps', '2', '--allow-correlated-noise')
    assert 'It will remain in the results' in capsys.readouterr().err


def test_the_audit_says_whether_single_images_are_suitable(tmp_path, capsys):
    image_io.write_pixels(tmp_path / 'sharp.png', noisy(256))
    image_io.write_pixels(tmp_path / 'blurred.png', noisy(256, blur=1))
    cli.main(['audit', str(tmp_path / 'sharp.png'), '--single'])
    assert 'Verdict: fine.' in capsys.readouterr().err
    for files, status in ((['blurred.png'], 2), (['blurred.png', 'sharp.png'], 1)):
        with pytest.raises(SystemExit) as stopped:
            cli.main([
                'audit', *(str(tmp_path / file) for file in files), '--single',
                '--json', str(tmp_path / 'a.json'), '--html', str(tmp_path / 'a.html'), '--force',
            ])  # fmt: skip
        assert stopped.value.code == status
        log = capsys.readouterr().err
        assert re.search('unusable: blurred.png: the noise of neighbou?ring pixels is corr', log)
        assert '| correlated (+0.' in log
        found = json.loads((tmp_path / 'a.json').read_text())['scenes']
        assert found[0]['findings'][0]['value'] > 0.3
        assert 'correlated (+0.' in (tmp_path / 'a.html').read_text()


def test_a_model_of_single_images_is_scored_where_there_are_two_captures(tmp_path, capsys):
    for name, seed in (('photo', 0), ('other', 1)):
        image_io.write_pixels(tmp_path / f'{name}.png', noisy(seed=seed))
    train(tmp_path, '--steps', '2')
    capsys.readouterr()
    score = [
        'score', *(str(tmp_path / f'{name}.png') for name in ('photo', 'other')),
        '--model', str(tmp_path / 'run'), '--without', 'nlm', '--without', 'bm3d',
    ]  # fmt: skip
    cli.main(score)
    log = capsys.readouterr().err
    assert 'No intervals, as ' in log
    assert 'was trained on single images and held nothing out.' in log
    assert 'The model was trained on photo: ' in log
    with pytest.raises(SystemExit) as stopped:
        cli.main([*score, '--held-out'])
    assert stopped.value.code == 2
    assert 'held nothing out: score without --held-out.' in capsys.readouterr().err


def test_nothing_is_held_out_of_single_images(tmp_path, capsys):
    image_io.write_pixels(tmp_path / 'photo.png', noisy())
    with pytest.raises(SystemExit) as stopped:
        train(tmp_path, '--steps', '2', '--held-out', '0.3')
    assert stopped.value.code == 2
    assert 'leave out --held-out' in capsys.readouterr().err
    assert not (tmp_path / 'run').exists()


def test_every_image_of_every_file_is_a_scene(tmp_path):
    folder = tmp_path / 'images'
    for name in ('b', 'a_10', 'a_2'):
        (folder / 'deep').mkdir(parents=True, exist_ok=True)
        image_io.write_pixels(folder / 'deep' / f'{name}.png', noisy(40))
    stack = np.random.default_rng(0).integers(0, 255, (3, 40, 40)).astype(np.uint8)
    tifffile.imwrite(tmp_path / 'stack.tif', stack, photometric='minisblack')
    found = grouping.find_single_images([folder, tmp_path / 'stack.tif'])
    assert [scene.name for scene in found] == [
        'a_2.png', 'a_10.png', 'b.png', 'stack.tif 1', 'stack.tif 2', 'stack.tif 3',
    ]  # fmt: skip
    np.testing.assert_array_equal(scene_files.read_scene(found[4])[0, ..., 0], stack[1])
    assert all(len(scene.captures) == 1 for scene in found)
    (tmp_path / 'list.csv').write_text('scene,path\n')
    with pytest.raises(UserError, match='is not an image'):
        grouping.find_single_images([tmp_path / 'list.csv'])
    with pytest.raises(UserError, match='no such file'):
        grouping.find_single_images([tmp_path / 'c.png'])


@pytest.mark.parametrize('changes', [{'pattern': 'a'}, {'interleaved': 2}, {'pairing': '1:X'}])
def test_options_for_pairs_of_captures_are_refused(changes):
    with pytest.raises(UserError, match=f'--single and --{next(iter(changes))} are mutually excl'):
        scene_captures.load(CapturesConfig(paths='x', single=True, **changes))
