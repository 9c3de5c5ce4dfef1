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
    rows = score.score(
        [SceneCaptures('s', captures_NHWC)], lambda x: x, blur, truth={'s': clean_HWC}
    )
    overall = {row['method']: row for row in rows if not row['scene']}
    assert len(overall) == (4 if num == 2 else 6)
    for name, row in overall.items():
        assert row['psnr_estimate'] == pytest.approx(row['psnr_true'], abs=0.4), name
        low, high = row['ci95']
        assert low < row['psnr_estimate'] < high
        assert row['trusted']
    assert overall['one capture']['psnr_true'] == pytest.approx(20, abs=0.2)
    gain = overall[f'mean of {num} captures']['psnr_true'] - overall['one capture']['psnr_true']
    assert gain == pytest.approx(10 * np.log10(num), abs=0.2)


def test_the_strength_of_non_local_means_comes_from_the_captures(clean_HWC):
    captures_NHWC = noisy(clean_HWC, 2).astype(np.float32)
    methods = {m.name: m for m in score.score_scene(captures_NHWC, blur)}
    chosen = np.mean((methods['non-local means'].first_HWC - clean_HWC) ** 2)
    sigma = 0.1
    errors = [
        np.mean((score._nlm(s * sigma, sigma)(captures_NHWC[0]) - clean_HWC) ** 2)
        for s in score._NLM_STRENGTHS
    ]
    assert chosen < 1.1 * min(errors)


def test_captures_that_break_the_assumptions_are_named():
    rng = np.random.default_rng(0)
    fine = rng.integers(50, 200, (2, 40, 40, 1)).astype(np.uint8)
    assert score.why_not_trusted(fine) == ''
    assert 'captures 1 and 3 are the same' in score.why_not_trusted(fine[[0, 1, 0]])
    clipped = fine.copy()
    clipped[:, :, :2] = 255
    assert '5.0% of the values are the highest' in score.why_not_trusted(clipped)


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


def test_rows_are_json_and_the_table_says_what_is_estimated(clean_HWC):
    captures_NHWC = noisy(clean_HWC, 2).astype(np.float32)[:, :64, :64]
    rows = score.score([SceneCaptures('s', captures_NHWC)], lambda x: x, blur)
    assert json.loads(json.dumps(rows)) == rows
    table = score.markdown(rows)
    assert 'PSNR, estimated' in table
    assert 'against the clean image' not in table
