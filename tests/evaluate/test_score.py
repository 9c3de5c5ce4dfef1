"""Scores without a clean image, of every method, against the truth."""

import dataclasses
import json

import numpy as np
import pytest
from scipy import ndimage

from n2n_jax.captures import corrections
from n2n_jax.captures.scene_captures import SceneCaptures, without_constants
from n2n_jax.data.sources import photos
from n2n_jax.evaluate import (
    baselines,
    methods,
    score,
    score_table,
    scored_scenes,
    truth_images,
    verdict,
)
from n2n_jax.runtime.errors import UserError


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
        scored_scenes.prepare(scenes, truth={'s': clean_HWC}), lambda x: x, blur, without=['bm3d']
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
    gain = overall[methods.MEAN]['psnr_true'] - overall['one capture']['psnr_true']
    assert gain == pytest.approx(10 * np.log10(num), abs=0.2)


def test_more_baselines_are_tuned_on_the_captures(clean_HWC):
    captures_NHWC = noisy(clean_HWC, 2).astype(np.float32)[:, :64, :64]
    more = {'total variation': baselines.make('tv'), 'median filter': baselines.make('median')}
    rows = score.score(
        scored_scenes.prepare([SceneCaptures('s', captures_NHWC)]),
        lambda x: x,
        blur,
        without=['bm3d', 'nlm'],
        more=more,
    )
    estimates = {row['method']: row['psnr_estimate'] for row in rows if not row['scene']}
    assert all(estimates[name] > estimates[methods.ONE] + 3 for name in more)


def test_rows_are_json_and_the_table_says_what_is_estimated(clean_HWC):
    captures_NHWC = noisy(clean_HWC, 2).astype(np.float32)[:, :64, :64]
    scenes = [SceneCaptures('s', captures_NHWC)]
    rows = score.score(scored_scenes.prepare(scenes), lambda x: x, blur, without=['bm3d', 'nlm'])
    assert json.loads(json.dumps(rows)) == rows
    table = score_table.markdown(rows)
    assert 'PSNR, estimated' in table
    assert '| PSNR against the clean image |' not in table
    assert 'requires a third capture' in table
    assert table.count('Protocol:') == 1


def test_scenes_that_cannot_be_trusted_are_named_and_left_out(clean_HWC):
    fine = np.rint(255 * noisy(clean_HWC, 3, sigma=0.03).clip(0, 1)).astype(np.uint8)
    scenes = [SceneCaptures('fine', fine), SceneCaptures('copied', fine[[0, 1, 0]])]
    rows = score.score(
        scored_scenes.prepare(scenes), lambda x: np.float32(x / 255), blur, without=['bm3d', 'nlm']
    )
    assert [row['trusted'] for row in rows if row['method'] == methods.MODEL] == [True, False, True]
    overall = [row for row in rows if not row['scene']]
    assert {row['n'] for row in overall} == {1}
    first = next(row for row in rows if row['scene'] == 'fine' and row['method'] == methods.MODEL)
    model = next(row for row in overall if row['method'] == methods.MODEL)
    assert model['psnr_estimate'] == first['psnr_estimate']
    table = score_table.markdown(rows)
    assert 'over 1 of 2 scenes' in table
    assert 'Not trusted: copied (duplicates' in table
    assert table.count('duplicates: copies of one image share their noise.') == 1
    alone = score.score(
        scored_scenes.prepare(scenes[1:]),
        lambda x: np.float32(x / 255),
        blur,
        without=['bm3d', 'nlm'],
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
        scored_scenes.prepare(scenes), lambda x: np.float32(x / 255), blur, without=['bm3d', 'nlm']
    )
    assert 0.07 < rows[0]['masked'] < 0.15
    assert '% left out, clipped' in score_table.markdown(rows)
    assert 'saturation' in rows[0]['why']
    truth = {'s': np.float32(255 * bright)}
    rows = score.score(
        scored_scenes.prepare(scenes, truth=truth),
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
        scored_scenes.prepare(scenes, truth=truth), lambda x: x, restore, without=['bm3d', 'nlm']
    )
    true = {row['method']: row['psnr_true'] for row in rows if not row['scene']}
    expected = true[methods.ON_THE_MEAN] - true[methods.MEAN_OF_RESULTS]
    low, high = rows[-1]['over_mean_of_results_ci95']
    assert low < rows[-1]['over_mean_of_results'] < high
    assert rows[-1]['over_mean_of_results'] == pytest.approx(expected, abs=0.3)
    words = score_table.combining_text([row for row in rows if not row['scene']])
    first = 'the model on the mean of both' if expected > 0 else 'the mean of both results'
    assert f'{first} is better' in words
    assert f'{abs(rows[-1]["over_mean_of_results"]):.2f} dB' in words


def test_equal_ways_of_combining_are_not_called_better_by_nothing():
    row = {'method': methods.ON_THE_MEAN, 'over_mean_of_results': 0.0016}
    words = score_table.combining_text([{**row, 'over_mean_of_results_ci95': [0.0004, 0.0041]}])
    assert 'are equally good' in words
    words = score_table.combining_text([{**row, 'over_mean_of_results_ci95': [0.0004, 0.0061]}])
    assert 'do not differ significantly' in words


def test_the_protocol_says_what_was_scored_and_how_scenes_were_averaged(clean_HWC):
    scenes = [
        SceneCaptures('noisy', noisy(clean_HWC, 2).astype(np.float32)),
        SceneCaptures('fine', noisy(clean_HWC, 2, seed=2).astype(np.float32)),
    ]

    def perfect(noisy_HWC):
        return clean_HWC

    for restore, mean_of in ((blur, 'dB'), (perfect, 'mse')):
        rows = score.score(
            scored_scenes.prepare(scenes), lambda x: x, restore, without=['nlm', 'bm3d']
        )
        of_model = [row for row in rows if row['method'] == methods.MODEL]
        raw = [row for row in rows if row['method'] == methods.ONE]
        # An error of 0 is measured as negative in one scene of two, or as positive: force it.
        if mean_of == 'mse' and min(row['mse_estimate'] for row in of_model[:2]) > 0:
            continue
        assert {row['mean_of'] for row in rows if not row['scene']} == {mean_of}
        if mean_of == 'mse':
            mean = np.mean([row['mse_estimate'] for row in raw[:2]])
            assert raw[2]['psnr_estimate'] == pytest.approx(-10 * np.log10(mean))
        words = score_table.markdown(rows, held_out=mean_of == 'mse')
        assert ('dB are averaged' in words) == (mean_of == 'dB')
        assert ('Held-out parts, peak 1' in words) == (mean_of == 'mse')


def test_scenes_whose_brightness_drifts_are_told_with_what_noise_alone_would_say(clean_HWC):
    noise = np.random.default_rng(0).normal(0, 0.05, (4, *clean_HWC.shape))
    gains = np.reshape([0.9, 1.0, 1.05, 1.12], (4, 1, 1, 1))
    raw = [SceneCaptures('s', (gains * clean_HWC + noise).astype(np.float32))]
    fixed, _ = corrections.fix(raw, 'gain')
    rows = score.score(
        scored_scenes.prepare(raw, fixed=fixed), lambda x: x, blur, without=['nlm', 'bm3d']
    )
    row = next(row for row in rows if row['method'] == methods.MODEL)
    assert row['gain_spread'] == pytest.approx(np.std(gains, ddof=1), rel=0.1)
    assert row['ci95'][0] < row['ci95_noise'][0] - 0.5
    low, _ = row['ci95_noise']
    words = score_table.markdown(rows)
    assert (
        f's by {row["gain_spread"]:.1%} (interval of the model from noise alone: {low:.2f} to'
        in words
    )


def test_without_a_drift_intervals_are_those_of_the_noise(clean_HWC):
    scenes = [SceneCaptures('s', noisy(clean_HWC, 3).astype(np.float32))]
    rows = score.score(scored_scenes.prepare(scenes), lambda x: x, blur, without=['nlm', 'bm3d'])
    assert all(row['ci95'] == row['ci95_noise'] for row in rows)
    assert 'Brightness drifts' not in score_table.markdown(rows)


@pytest.mark.parametrize('contains', [True, False])
def test_the_noise_of_a_clean_image_that_is_a_mean_is_found_and_taken_off(clean_HWC, contains):
    x = noisy(clean_HWC, 19, sigma=0.1).astype(np.float32)
    truth = {'s': (x[:16] if contains else x[3:]).mean(axis=0)}
    scenes = scored_scenes.prepare([SceneCaptures('s', x[:3])], truth=truth)
    assert scenes[0].truth_noise.contains == contains
    assert scenes[0].truth_noise.captures == pytest.approx(16, rel=0.3)
    rows = score.score(scenes, lambda x: x, blur, without=['nlm', 'bm3d'])
    for row in rows:
        results = {
            methods.ONE: x[:3],
            methods.MEAN: x[:3].mean(axis=0, keepdims=True),
            methods.MODEL: np.stack([blur(capture) for capture in x[:3]]),
        }.get(row['method'])
        if results is not None:
            true = -10 * np.log10(np.mean((results - clean_HWC) ** 2))
            assert row['psnr_true_corrected'] == pytest.approx(true, abs=0.4)
            assert abs(row['psnr_true_corrected'] - true) < abs(row['psnr_true'] - true)
    words = score_table.markdown(rows)
    assert '| less its noise |' in words
    assert ('including these' in words) == contains


def test_a_model_far_behind_is_told_though_one_scene_is_too_good_to_be_measured(clean_HWC):
    small_HWC = clean_HWC[:80, :80]
    calls = []

    def model(noisy_HWC):
        """Perfect on the first scene, and blurs the others to nothing."""
        calls.append(1)
        if len(calls) <= 2:
            return small_HWC
        return ndimage.gaussian_filter(noisy_HWC, (20, 20, 0))

    for seed in range(20):  # an error of 0 is measured as negative in every other draw
        calls.clear()
        scenes = [
            SceneCaptures(f's{k}', noisy(small_HWC, 2, 0.03, seed + 50 * k).astype(np.float32))
            for k in range(3)
        ]
        rows = score.score(
            scored_scenes.prepare(scenes), lambda x: x, model, without=['nlm', 'bm3d']
        )
        found = {row['method']: row for row in rows if not row['scene']}
        if found[methods.MODEL]['mean_of'] == 'mse':
            break
    behind = found[methods.ONE]['psnr_estimate'] - found[methods.MODEL]['psnr_estimate']
    assert behind > 1
    assert found[methods.MODEL]['over_captures'] == pytest.approx(-behind)
    assert found[methods.MODEL]['over_captures_ci95'][1] < 0
    assert 'no better than the captures' in verdict.from_scores(rows).warning()


def test_pixels_without_a_photon_are_not_left_out_as_clipped():
    rows, columns = np.mgrid[:128, :128]
    light = 1.2 + np.sin(columns / 9) * np.cos(rows / 7) + 1.5 * (columns > 80)
    light_HWC = light.clip(0.05)[..., None].astype(np.float32)
    counts = np.random.default_rng(1).poisson(light_HWC, (4, *light_HWC.shape)).astype(np.uint8)
    assert (counts == 0).mean() > 0.1
    prepared = scored_scenes.prepare([SceneCaptures('s', counts)], truth={'s': light_HWC})
    assert prepared[0].mask_HWC.all()
    rows = score.score(prepared, lambda x: np.float32(x / 5), blur, without=['nlm', 'bm3d'])
    for row in rows:
        assert row['masked'] == 0
        if row['method'] in (methods.ONE, methods.MODEL):
            assert row['psnr_estimate'] == pytest.approx(row['psnr_true'], abs=0.3)
    assert 'left out, clipped' not in score_table.markdown(rows)


def scored(raw, restore=blur, *, fix='', truth=None, to_network=lambda x: x, without=('nlm',)):
    fixed, _ = corrections.fix(raw, fix)
    scenes = scored_scenes.prepare(raw, fixed=fixed, truth=truth)
    rows = score.score(scenes, to_network, restore, without=[*without, 'bm3d'])
    overall = {row['method']: row for row in rows if not row['scene']}
    return rows, overall, score_table.markdown(rows, fix=fix)


def test_a_drift_of_the_black_level_alone_is_told(clean_HWC):
    offsets = np.reshape([-0.05, 0.03, 0.05, -0.02], (4, 1, 1, 1))
    raw = [SceneCaptures('s', (noisy(clean_HWC, 4, 0.03) + offsets).astype(np.float32))]
    rows, _, words = scored(raw, fix='gain')
    assert rows[0]['gain_spread'] == 0
    assert rows[0]['offset_spread'] == pytest.approx(offsets.std(ddof=1), rel=0.05)
    assert 's by an offset of 0.04' in words


def test_a_dim_channel_that_the_model_wipes_out_is_told(clean_HWC):
    dim_HWC = np.concatenate([clean_HWC, 0.02 * clean_HWC], -1)[:96, :96]
    noise = np.random.default_rng(0).normal(0, 1, (4, *dim_HWC.shape)) * [0.05, 0.001]
    raw = [SceneCaptures('s', (dim_HWC + noise).astype(np.float32))]

    def wipes(noisy_HWC):
        result_HWC = blur(noisy_HWC)
        result_HWC[..., 1] = noisy_HWC[..., 1].mean()
        return result_HWC

    rows, good, words = scored(raw)
    assert not verdict.from_scores(rows).worse_channels
    rows, bad, words = scored(raw, wipes)
    hidden = good[methods.MODEL]['psnr_estimate'] - bad[methods.MODEL]['psnr_estimate']
    assert abs(hidden) < 0.3  # one peak for all hides it
    of_dim = bad[methods.MODEL]['channels'][1]
    assert of_dim['channel'] == 'channel 2'
    assert of_dim['over_captures'] < -5
    assert 'by channel, in dB: channel 1 +' in words
    assert (
        verdict.from_scores(rows)
        .warning()
        .startswith(
            'The model is not worth using yet: in channel 2 it is no better than the captures'
        )
    )


@pytest.mark.parametrize('value', [-9999.0, np.nan])
def test_a_border_without_data_counts_in_no_number(clean_HWC, value, tmp_path):
    small_HWC = 1000 * clean_HWC[:96, :96]
    captures_NHWC = (small_HWC + 1000 * noisy(0 * small_HWC, 3, 0.05)).astype(np.float32)
    captures_NHWC[:, :, :30] = value
    truth_HWC = small_HWC.copy()
    truth_HWC[:, :30] = value
    np.save(tmp_path / 's.npy', truth_HWC)
    raw = [without_constants(SceneCaptures('s', captures_NHWC))]
    truth = truth_images.read(tmp_path, raw)
    rows, overall, words = scored(raw, truth=truth, to_network=lambda x: np.float32(x / 1000))
    # The same without the border.
    cut = [SceneCaptures('s', captures_NHWC[:, :, 30:])]
    _, expected, _ = scored(
        cut, truth={'s': small_HWC[:, 30:]}, to_network=lambda x: np.float32(x / 1000)
    )
    assert raw[0].measured_HWC.mean() == pytest.approx(1 - 30 / 96)
    for key in ('psnr_true', 'psnr_true_all', 'psnr_true_first', 'psnr_estimate'):
        found, wanted = overall[methods.MODEL][key], expected[methods.MODEL][key]
        assert found == pytest.approx(wanted, abs=0.1), key
    assert overall[methods.MODEL]['ssim_true'] == pytest.approx(
        expected[methods.MODEL]['ssim_true'], abs=0.02
    )
    assert rows[0]['truth_mean_of'] is None
    assert rows[0]['clipped'] == 0
    assert 's: 31.2% left out, not measured.' in words
    assert 'left out, clipped' not in words


def test_a_clean_image_with_holes_where_there_are_measurements_is_refused(clean_HWC, tmp_path):
    raw = [SceneCaptures('s', noisy(clean_HWC, 2).astype(np.float32))]
    truth_HWC = clean_HWC.copy()
    truth_HWC[5, 5] = np.nan
    np.save(tmp_path / 's.npy', truth_HWC)
    with pytest.raises(UserError, match=r's.npy holds NaN'):
        truth_images.read(tmp_path, raw)


def test_each_row_of_the_first_table_says_over_how_many_scenes_it_is(clean_HWC):
    small_HWC = clean_HWC[:64, :64]
    raw = [
        SceneCaptures('two', noisy(small_HWC, 2).astype(np.float32)),
        SceneCaptures('three', noisy(small_HWC, 3, seed=1).astype(np.float32)),
    ]
    _, overall, words = scored(raw)
    assert overall[methods.MODEL]['n'] == 2
    assert overall[methods.ON_THE_MEAN]['n'] == 1
    assert f'First table: over 2 of 2 scenes ({methods.MEAN_OF_RESULTS} over 1; ' in words


def test_scenes_clipped_whole_do_not_count(clean_HWC):
    small_HWC = clean_HWC[:64, :64]
    fine = np.rint(200 * noisy(small_HWC, 3, 0.05).clip(0.1, 1)).astype(np.uint8)
    rng = np.random.default_rng(0)
    white = np.where(rng.random((3, 64, 64, 1)) < 0.3, 254, 255).astype(np.uint8)
    scenes = scored_scenes.prepare([SceneCaptures('fine', fine), SceneCaptures('white', white)])
    scenes = [dataclasses.replace(scene, why='') for scene in scenes]
    rows = score.score(scenes, lambda x: np.float32(x / 255), blur, without=['nlm', 'bm3d'])
    overall = [row for row in rows if not row['scene']]
    assert [row['masked'] for row in rows if row['method'] == methods.MODEL][1] == 1
    assert {row['n'] for row in overall} == {1}
    assert overall[0]['masked'] < 0.5


def test_no_verdict_on_a_model_by_captures_that_cannot_be_trusted_but_the_cure(clean_HWC):
    moved = [ndimage.shift(clean_HWC, (k * 2.0, 0, 0), mode='nearest') for k in range(2)]
    noise = np.random.default_rng(0).normal(0, 0.02, (2, *clean_HWC.shape))
    raw = [SceneCaptures('s', (np.stack(moved) + noise).astype(np.float32))]
    rows, _, words = scored(raw, lambda x: x)
    assert 'shift' in rows[0]['why']
    assert verdict.from_scores(rows).warning() == (
        'No verdict on the model: no scene can be trusted.'
    )
    assert 'shift: n2n score --fix shift corrects that.' in words
    assert '--fix shift puts' not in score_table.markdown(rows, fix='shift')
