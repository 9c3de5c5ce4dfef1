"""Scores without a clean image, of every method, against the truth."""

import json

import numpy as np
import pytest
from scipy import ndimage

from n2n_jax import io, score
from n2n_jax.data import photos
from n2n_jax.data.own_captures import SceneCaptures
from n2n_jax.errors import UserError


def blur(image_HWC):
    return ndimage.gaussian_filter(image_HWC, (1, 1, 0)).astype(np.float32)


@pytest.fixture(scope='module')
def clean_HWC():
    image = photos.photos()['chelsea'][:160, :160].astype(np.float32) / 255
    return image.mean(axis=-1, keepdims=True)


def noisy(clean_HWC, num, sigma=0.1, seed=0):
    rng = np.random.default_rng(seed)
    return np.stack([clean_HWC + rng.normal(0, sigma, clean_HWC.shape) for _ in range(num)])


@pytest.mark.parametrize('num', [2, 4])
def test_every_estimate_is_near_the_truth(clean_HWC, num):
    captures_NHWC = noisy(clean_HWC, num).astype(np.float32)
    scenes = [SceneCaptures('s', captures_NHWC)]
    rows = score.score(
        score.prepare(scenes, truth={'s': clean_HWC}), lambda x: x, blur, without=['bm3d']
    )
    overall = {row['method']: row for row in rows if not row['scene']}
    assert len(overall) == (4 if num == 2 else 6)
    for name, row in overall.items():
        assert row['psnr_estimate'] == pytest.approx(row['psnr_true'], abs=0.4), name
        low, high = row['ci95']
        assert low < row['psnr_estimate'] < high
        assert row['trusted']
        assert 0 < row['ssim_true'] < 1
    assert overall['one capture']['psnr_true'] == pytest.approx(20, abs=0.2)
    gain = overall[score.MEAN]['psnr_true'] - overall['one capture']['psnr_true']
    assert gain == pytest.approx(10 * np.log10(num), abs=0.2)


def test_truth_is_found_by_the_name_of_the_scene(tmp_path):
    pixels = np.zeros((8, 9), np.uint8)
    scenes = [
        SceneCaptures('a', pixels[None, ..., None]),
        SceneCaptures('b', pixels[None, ..., None]),
    ]
    io.write_pixels(tmp_path / 'a.png', pixels)
    with pytest.raises(UserError, match='no clean image for b'):
        score.read_truth(tmp_path, scenes)
    io.write_pixels(tmp_path / 'b_1.png', pixels)
    assert set(score.read_truth(tmp_path, scenes)) == {'a', 'b'}
    io.write_pixels(tmp_path / 'b_1.png', pixels[1:])
    with pytest.raises(UserError, match='b_1.png is of another size'):
        score.read_truth(tmp_path, scenes)
    (tmp_path / 'b_1.png').unlink()
    np.save(tmp_path / 'b.npy', np.full((8, 9), 0.5, np.float32))
    assert score.read_truth(tmp_path, scenes)['b'].shape == (8, 9, 1)
    np.save(tmp_path / 'b.npy', np.zeros((5, 8, 9), np.float32))
    with pytest.raises(UserError, match='b.npy holds 5 images, and one clean one is needed'):
        score.read_truth(tmp_path, scenes)


def test_truth_in_sub_folders_is_found_and_names_that_are_there_twice_are_refused(tmp_path):
    scenes = [SceneCaptures(f'{d}/cell1', np.zeros((2, 40, 44, 1), np.uint8)) for d in 'ab']
    for i, name in enumerate('ab'):
        (tmp_path / name).mkdir()
        io.write_pixels(tmp_path / name / 'cell1.png', np.full((40, 44), i, np.uint16))
    truth = score.read_truth(tmp_path, scenes)
    assert [truth[scene.name].max() for scene in scenes] == [0, 1]
    alone = [SceneCaptures('cell1', scenes[0].captures_NHWC)]
    with pytest.raises(UserError, match=r'more than one clean image for cell1: a.cell1.png, b'):
        score.read_truth(tmp_path, alone)
    np.save(tmp_path / 'a/cell1.npy', np.zeros((40, 44)))
    with pytest.raises(UserError, match=r'more than one clean image for a/cell1'):
        score.read_truth(tmp_path, scenes)
    (tmp_path / 'a/cell1.png').unlink()
    np.save(tmp_path / 'a/cell1.npy', np.full((40, 44), np.nan))
    with pytest.raises(UserError, match=r'cell1.npy holds NaN'):
        score.read_truth(tmp_path, scenes)
    np.save(tmp_path / 'a/cell1.npy', np.zeros((40, 44, 3)))
    with pytest.raises(UserError, match=r'cell1.npy has 3 channels, and .* of a/cell1 have 1'):
        score.read_truth(tmp_path, scenes)


def test_rows_are_json_and_the_table_says_what_is_estimated(clean_HWC):
    captures_NHWC = noisy(clean_HWC, 2).astype(np.float32)[:, :64, :64]
    scenes = [SceneCaptures('s', captures_NHWC)]
    rows = score.score(score.prepare(scenes), lambda x: x, blur, without=['bm3d', 'nlm'])
    assert json.loads(json.dumps(rows)) == rows
    table = score.markdown(rows)
    assert 'PSNR, estimated' in table
    assert '| PSNR against the clean image |' not in table
    assert 'takes a third capture' in table
    assert table.count('Protocol:') == 1


def test_scenes_that_cannot_be_trusted_are_named_and_left_out(clean_HWC):
    fine = np.rint(255 * noisy(clean_HWC, 3, sigma=0.03).clip(0, 1)).astype(np.uint8)
    scenes = [SceneCaptures('fine', fine), SceneCaptures('copied', fine[[0, 1, 0]])]
    rows = score.score(
        score.prepare(scenes), lambda x: np.float32(x / 255), blur, without=['bm3d', 'nlm']
    )
    assert [row['trusted'] for row in rows if row['method'] == score.MODEL] == [True, False, True]
    overall = [row for row in rows if not row['scene']]
    assert {row['n'] for row in overall} == {1}
    first = next(row for row in rows if row['scene'] == 'fine' and row['method'] == score.MODEL)
    model = next(row for row in overall if row['method'] == score.MODEL)
    assert model['psnr_estimate'] == first['psnr_estimate']
    table = score.markdown(rows)
    assert 'over 1 of 2 scenes' in table
    assert 'Not to be trusted: copied (duplicates' in table
    assert table.count('duplicates: captures that are one image share their noise.') == 1
    alone = score.score(
        score.prepare(scenes[1:]), lambda x: np.float32(x / 255), blur, without=['bm3d', 'nlm']
    )
    assert not any(row['trusted'] for row in alone)
    assert alone[-1]['why'] == 'no scene can be trusted'


def test_what_is_clipped_is_left_out_and_told(clean_HWC):
    bright = np.minimum(clean_HWC + 0.2 * (np.arange(160) < 12)[:, None, None], 1)
    bright[:12] = 1
    values = 255 * (bright + np.random.default_rng(0).normal(0, 0.05, (2, *bright.shape)))
    captures_NHWC = np.rint(values.clip(0, 255)).astype(np.uint8)
    scenes = [SceneCaptures('s', captures_NHWC)]
    rows = score.score(
        score.prepare(scenes), lambda x: np.float32(x / 255), blur, without=['bm3d', 'nlm']
    )
    assert 0.07 < rows[0]['masked'] < 0.15
    assert '% left out, clipped' in score.markdown(rows)
    assert 'saturation' in rows[0]['why']
    truth = {'s': np.float32(255 * bright)}
    rows = score.score(
        score.prepare(scenes, truth=truth),
        lambda x: np.float32(x / 255),
        blur,
        without=['bm3d', 'nlm'],
    )
    # Both are about the same pixels: clipped ones have half the noise.
    assert rows[0]['psnr_true'] == pytest.approx(rows[0]['psnr_estimate'], abs=0.1)
    assert rows[0]['psnr_true_all'] > rows[0]['psnr_true'] + 0.1


@pytest.mark.parametrize('on_mean_is_better', [True, False])
def test_which_way_of_combining_is_better_is_said_with_an_interval(clean_HWC, on_mean_is_better):
    def restore(noisy_HWC):
        """Good on two captures' mean, or on none: a blur as strong as the noise it expects."""
        noise = (noisy_HWC - blur(noisy_HWC)).std()
        strong = (noise > 0.07) == on_mean_is_better
        sigma = 3.0 if strong else 1.0
        return ndimage.gaussian_filter(noisy_HWC, (sigma, sigma, 0))

    scenes = [SceneCaptures('s', noisy(clean_HWC, 4).astype(np.float32))]
    truth = {'s': clean_HWC}
    rows = score.score(
        score.prepare(scenes, truth=truth), lambda x: x, restore, without=['bm3d', 'nlm']
    )
    true = {row['method']: row['psnr_true'] for row in rows if not row['scene']}
    expected = true[score.ON_THE_MEAN] - true[score.MEAN_OF_RESULTS]
    low, high = rows[-1]['over_ci95']
    assert low < rows[-1]['over_mean_of_results'] < high
    assert rows[-1]['over_mean_of_results'] == pytest.approx(expected, abs=0.3)
    words = score.combining_in_words([row for row in rows if not row['scene']])
    first = 'the model on the mean of both' if expected > 0 else 'the mean of both results'
    assert f'{first} is better' in words
    assert f'{abs(rows[-1]["over_mean_of_results"]):.2f} dB' in words
