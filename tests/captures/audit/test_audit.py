"""The audit detects problems of captures, and raises no false alarms."""

import json
import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from clean_captures import SCENES, clean_set
from scipy import ndimage

from n2n_jax.captures import audit
from n2n_jax.captures.audit import html_page
from n2n_jax.captures.measure import noise_model as noise_models
from n2n_jax.captures.measure import regions
from n2n_jax.captures.measure.noise_model import noise_model
from n2n_jax.captures.scene_captures import SceneCaptures
from n2n_jax.cli import n2n as cli
from n2n_jax.data.sources import dead_leaves, photos
from n2n_jax.images import image_io


@pytest.fixture(scope='module')
def clean_HW1():
    return photos.photos()['astronaut'][:300, :300].mean(axis=-1, keepdims=True) * 0.7 + 30


def noisy(*images_HW1, sigma=15.0, seed=0):
    rng = np.random.default_rng(seed)
    return np.stack([image + rng.normal(0, sigma, image.shape) for image in images_HW1])


def test_no_false_alarm_on_twelve_good_sets():
    images = [*photos.photos().values(), *dead_leaves.dead_leaves(6)]
    for k, image in enumerate(images):
        clean_HW1 = image[:256, :256].mean(axis=-1, keepdims=True) * 0.6 + 50
        rng = np.random.default_rng(k)
        captures = [
            rng.poisson(clean_HW1 / 2) * 2
            if k % 2
            else clean_HW1 + rng.normal(0, 6 + k % 8, clean_HW1.shape)
            for _ in range(2 + k % 3)
        ]
        x_NHWC = np.rint(np.stack(captures)).clip(0, 255).astype(np.uint8)
        findings = audit.audit([SceneCaptures('s', x_NHWC)])
        assert audit.worst(findings) == audit.FINE, (k, audit.markdown(findings))


def alarms(seeds, **kind):
    """Returns the alarms on clean sets, all of them false."""
    found = []
    for seed in seeds:
        what, x_NHWC = clean_set(seed, **kind)
        scene = audit.audit_scene(SceneCaptures('s', x_NHWC))
        found += [
            (what, finding.check, finding.text)
            for finding in scene.findings
            if finding.verdict != audit.FINE
        ]
    return found


@pytest.mark.parametrize('kind', SCENES)
def test_no_false_alarm_on_small_clean_sets_of_any_kind(kind):
    assert not alarms(range(8), kind=kind, side=32)
    assert not alarms(range(4), kind=kind, side=96)


@pytest.mark.slow
def test_no_false_alarm_on_a_thousand_clean_sets():
    assert not alarms(range(1000))


@pytest.mark.parametrize('sigma', [5, 15, 30])
def test_a_shift_of_half_a_pixel(clean_HW1, sigma):
    moved_HW1 = ndimage.shift(clean_HW1, (0, 0.5, 0), order=5, mode='reflect')
    finding = audit.shift(noisy(clean_HW1, moved_HW1, sigma=sigma)[:, 10:266, 10:266])
    assert finding.value == pytest.approx(0.5, abs=0.1)
    assert finding.verdict == audit.WARNING
    np.testing.assert_allclose(finding.numbers['shifts'][1], (0, 0.5), atol=0.1)


@pytest.mark.slow
def test_half_a_pixel_is_found_wherever_it_is_measurable():
    measured = wrong = 0
    for seed in range(200):
        what, x_NHWC = clean_set(seed, side=192, level=6.0)
        if what.split()[1] in ('flat', 'ramp') or x_NHWC.shape[1] < 100:
            continue
        moved_HWC = ndimage.shift(x_NHWC[0].astype(np.float64), (0.3, 0.4, 0), order=3)
        shifted_NHWC = np.concatenate([moved_HWC[None], x_NHWC[1:]])[:, 4:-4, 4:-4]
        finding = audit.shift(shifted_NHWC)
        if finding.text == 'not measurable' or 'in one direction' in finding.text:
            continue
        measured += 1
        wrong += finding.verdict != audit.WARNING or abs(finding.value - 0.5) > 0.1
    assert measured > 100
    assert wrong <= 0.03 * measured


def test_counts_of_single_photons_are_not_taken_for_copies():
    rng = np.random.default_rng(0)
    photons_NHWC = rng.poisson(0.02, (2, 128, 128, 1)).astype(np.uint8)
    assert audit.duplicates(photons_NHWC).verdict == audit.FINE
    photons_NHWC[1] = photons_NHWC[0]
    assert audit.duplicates(photons_NHWC).verdict == audit.UNUSABLE


def test_the_unit_of_the_pixels_does_not_matter(clean_HW1):
    x_NHWC = noisy(clean_HW1, clean_HW1).astype(np.float64)
    ours, tiny = (noise_model(scale * x_NHWC) for scale in (1, 1e-12))
    assert tiny.gain == pytest.approx(1e-12 * ours.gain, rel=1e-6)
    assert tiny.misfit == pytest.approx(ours.misfit, rel=1e-6)
    assert tiny.misfit > 1e-3


def test_a_shift_of_pixels_is_unusable(clean_HW1):
    x_NHWC = noisy(clean_HW1[:256, :256], clean_HW1[4:260, 3:259])
    finding = audit.shift(x_NHWC)
    assert finding.value == pytest.approx(5, abs=0.1)
    assert finding.verdict == audit.UNUSABLE
    assert 'capture 2' in finding.text
    np.testing.assert_allclose(finding.numbers['shifts'][1], (-4, -3), atol=0.1)
    assert audit.same_scene(x_NHWC).verdict == audit.FINE


def test_a_shift_across_a_single_edge():
    profile_H = 100 + 50 * np.tanh((np.arange(140) - 70) / 2)
    edge, moved = (
        np.tile(ndimage.shift(profile_H, by, mode='nearest')[10:-10, None, None], (1, 120, 1))
        for by in (0, 0.6)
    )
    finding = audit.shift(noisy(edge, moved, sigma=4))
    assert finding.value == pytest.approx(0.6, abs=0.1)
    assert (finding.verdict, 'in one direction' in finding.text) == (audit.WARNING, True)


def test_findings_that_a_shift_may_cause_mention_it(clean_HW1):
    x_NHWC = noisy(clean_HW1[:256, :256], clean_HW1[2:258, 2:258], sigma=5)
    findings = {f.check: f for f in audit.audit([SceneCaptures('s', x_NHWC)])}
    assert findings['correlation'].verdict == audit.WARNING
    assert 'The shift may be the only cause' in findings['correlation'].advice
    assert 'The shift' not in findings['shift'].advice


def test_scenes_without_measurable_quantities_cause_no_warning():
    rows, columns = np.mgrid[:64, :64]
    ramp_HW1 = (rows + columns)[..., None] + 50.0
    finding = audit.shift(noisy(ramp_HW1, ramp_HW1 + 3))
    assert (finding.verdict, finding.text) == (audit.FINE, 'not measurable')
    assert finding.as_dict()['value'] is None
    json.dumps(finding.as_dict(), allow_nan=False)


def test_a_drift_of_three_percent(clean_HW1):
    finding = audit.brightness(noisy(clean_HW1, 1.03 * clean_HW1))
    assert 'gain 1.0' in finding.text
    gain = float(finding.text.split()[1].rstrip(','))
    assert gain == pytest.approx(1.03, abs=0.005)
    assert finding.verdict == audit.WARNING


def test_residual_is_in_units_of_the_noise(clean_HW1):
    x_NHWC = noisy(clean_HW1, clean_HW1 + 3, clean_HW1)
    finding = audit.residual(x_NHWC)
    # Relative to a mean of two, whose noise counts too.
    assert finding.value == pytest.approx(3 / (15 * np.sqrt(1.5)), abs=0.02)
    assert finding.verdict == audit.WARNING
    assert finding.text.startswith('capture 2: mean +0.1')
    brighter = audit.residual(noisy(clean_HW1, 1.15 * clean_HW1 - 0.15 * clean_HW1.mean()))
    assert [abs(row['mean']) < 0.05 for row in brighter.numbers['captures']] == [True]
    expected = -0.15 * clean_HW1.std() / (15 * np.sqrt(2))
    assert brighter.value == pytest.approx(expected, rel=0.15)
    assert 'where the scene is bright' in brighter.advice


def test_noise_of_different_strength_leaves_no_residual():
    rng = np.random.default_rng(0)
    flat = np.full((128, 128, 1), 100.0)
    x_NHWC = np.stack([flat + rng.normal(0, sigma, flat.shape) for sigma in (30, 3)])
    assert audit.residual(x_NHWC).verdict == audit.FINE
    assert audit.duplicates(noisy(flat, flat, flat, sigma=1)).verdict == audit.FINE


@pytest.mark.parametrize('side', [64, 300])
def test_correlated_noise(clean_HW1, side):
    rng = np.random.default_rng(0)
    noise = [ndimage.gaussian_filter(rng.normal(0, 30, clean_HW1.shape), (1, 1, 0)) for _ in '12']
    x_NHWC = np.stack([clean_HW1 + n for n in noise])[:, :side, :side]
    finding = audit.correlation(x_NHWC)
    expected = np.exp(-0.25)  # at 1 px, for noise blurred by a Gaussian of 1 px
    assert finding.value == pytest.approx(expected, abs=0.03)
    assert finding.verdict == audit.WARNING
    map_LL = audit.autocorrelation(x_NHWC)
    assert map_LL.shape == (11, 11)
    assert map_LL[5, 5] == 1
    assert map_LL[5, 6] == pytest.approx(expected, abs=0.05)
    assert map_LL[6, 6] == pytest.approx(expected**2, abs=0.08)
    np.testing.assert_allclose(map_LL, map_LL[::-1, ::-1])


def test_lines_correlate_in_one_direction_and_sharpening_negatively(clean_HW1):
    rng = np.random.default_rng(0)
    lines = rng.normal(0, 10, (2, 300, 1, 1)) + rng.normal(0, 10, (2, *clean_HW1.shape))
    finding = audit.correlation(clean_HW1 + lines)
    assert finding.numbers['right'] == pytest.approx(0.5, abs=0.06)
    assert abs(finding.numbers['down']) < 0.1
    noise = rng.normal(0, 10, (2, *clean_HW1.shape))
    sharper = noise + 0.5 * (noise - ndimage.uniform_filter(noise, (1, 3, 3, 1)))
    finding = audit.correlation(clean_HW1 + sharper)
    assert finding.value < -0.05
    assert finding.verdict == (audit.WARNING if finding.value < -0.1 else audit.FINE)


def test_colors_that_share_noise(clean_HW1):
    rng = np.random.default_rng(0)
    shape = (2, *clean_HW1.shape[:2], 3)
    own, shared = rng.normal(0, 10, shape), rng.normal(0, 10, (*shape[:3], 1))
    assert audit.channels(clean_HW1 + own).verdict == audit.FINE
    finding = audit.channels(clean_HW1 + own * (1, 2, 1) + shared * (1, 2, 0))
    assert finding.verdict == audit.WARNING
    assert finding.value == pytest.approx(0.5, abs=0.02)
    assert finding.numbers['1-3'] == pytest.approx(0, abs=0.02)
    assert audit.channels(noisy(clean_HW1, clean_HW1)).text == 'gray'


def test_two_percent_of_saturated_pixels(clean_HW1):
    x_NHWC = np.rint(noisy(clean_HW1, clean_HW1)).clip(0, 254).astype(np.uint8)
    assert audit.saturation(x_NHWC).verdict == audit.FINE
    x_NHWC[:, : round(0.02 * 300)] = 255
    finding = audit.saturation(x_NHWC)
    assert finding.value == pytest.approx(0.02, abs=0.001)
    assert finding.verdict == audit.WARNING


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.float32])
def test_clipping_is_found_at_any_value(clean_HW1, dtype):
    x = noisy(clean_HW1, clean_HW1)
    ends = np.percentile(x, [3, 98])
    scale = {np.uint8: 1, np.uint16: 16, np.float32: 1 / 255}[dtype]
    for low, high, word in ((0, ends[1], 'highest'), (ends[0], 255, 'lowest')):
        clipped = x.clip(low, high) * scale
        clipped = (np.rint(clipped) if dtype != np.float32 else clipped).astype(dtype)
        finding = audit.saturation(clipped)
        assert finding.verdict == audit.WARNING
        assert finding.value == pytest.approx(0.02 if word == 'highest' else 0.03, abs=0.004)
        assert word in finding.advice


def test_photon_counts_and_masks_are_not_clipped_but_a_clipped_background_is():
    rng = np.random.default_rng(0)
    spots = np.zeros((128, 128, 1))
    spots[rng.integers(128, size=60), rng.integers(128, size=60)] = 1500
    signal = ndimage.gaussian_filter(spots, (2, 2, 0)) + 0.2
    counts = rng.poisson(signal, (2, *signal.shape)).astype(np.uint8)
    assert (counts == 0).mean() > 0.5
    finding = audit.saturation(counts)
    assert (finding.verdict, 'counts' in finding.text) == (audit.FINE, True)
    cut = np.rint(signal + rng.normal(0, 8, counts.shape)).clip(0, 255).astype(np.uint8)
    assert audit.saturation(cut).verdict == audit.WARNING
    masked = np.rint(signal + 60 + rng.normal(0, 8, counts.shape)).clip(0, 255).astype(np.uint8)
    masked[:, :20] = 0
    finding = audit.saturation(masked)
    assert (finding.verdict, 'mask' in finding.text) == (audit.FINE, True)
    flat = rng.poisson(0.4, (2, 64, 64, 1)).astype(np.uint16) * 3
    assert audit.saturation(flat).verdict == audit.FINE


def test_copies_and_captures_of_another_scene(clean_HW1):
    x_NHWC = noisy(clean_HW1, clean_HW1, clean_HW1)
    assert audit.duplicates(x_NHWC).verdict == audit.FINE
    assert audit.duplicates(x_NHWC[[0, 0]]).verdict == audit.UNUSABLE
    finding = audit.duplicates(x_NHWC[[0, 1, 0]])
    assert (finding.verdict, finding.advice[:14]) == (audit.WARNING, 'captures 1 and')
    strange = noisy(clean_HW1, clean_HW1, clean_HW1[::-1])
    assert 'capture 3 differs from the others' in audit.outliers(strange).advice
    assert audit.outliers(x_NHWC).verdict == audit.FINE


def test_copies_that_were_saved_again(clean_HW1):
    x = noisy(clean_HW1, clean_HW1, clean_HW1)
    again = x[0] + np.random.default_rng(5).normal(0, 2, x[0].shape)
    finding = audit.duplicates(np.stack([x[0], x[1], again]))
    assert finding.numbers['pairs'] == [[1, 3]]
    rounded = np.rint(x[0]).clip(0, 255).astype(np.uint8)
    finding = audit.duplicates(np.stack([rounded, rounded ^ 1]))
    assert finding.verdict == audit.UNUSABLE
    # Two captures with little noise among noisier ones are not copies.
    quiet = noisy(clean_HW1, clean_HW1, sigma=1.5)
    assert audit.duplicates(np.concatenate([quiet, x[:1]])).verdict == audit.FINE


def test_captures_of_different_scenes():
    images = photos.photos()
    a, b = (images[name][:200, :200, :1].astype(float) for name in ('coffee', 'chelsea'))
    finding = audit.same_scene(noisy(a, b))
    assert finding.verdict == audit.UNUSABLE
    assert finding.value < 0.5
    finding = audit.same_scene(noisy(a, a, b, a))
    assert (finding.verdict, finding.numbers['captures']) == (audit.WARNING, [3])
    assert audit.same_scene(noisy(a, 0.5 * a + 20)).verdict == audit.FINE


def test_a_capture_that_two_scenes_share(clean_HW1):
    x = noisy(*[clean_HW1] * 5)
    scenes = [SceneCaptures('a', x[:2]), SceneCaptures('b', x[2:4]), SceneCaptures('c', x[[4, 1]])]
    between = [f for f in audit.audit(scenes) if f.check == 'between scenes']
    assert [(f.scene, f.text, f.verdict) for f in between] == [('c', 'as in a', audit.WARNING)]


def test_the_noise_model_recovers_the_simulated_noise(clean_HW1):
    rng = np.random.default_rng(0)
    captures = [
        3.0 * rng.poisson(clean_HW1 / 3.0) + rng.normal(0, 8, clean_HW1.shape) for _ in range(2)
    ]
    model = noise_model(np.stack(captures))
    assert model.gain == pytest.approx(3.0, rel=0.1)
    assert model.read == pytest.approx(8.0, abs=3.0)
    assert model.r2 > 0.9
    assert model.misfit < 0.1
    assert (np.abs(model.variance_B - 3 * model.signal_B - 64) < 5 * model.error_B).all()


def test_fine_texture_does_not_bend_the_line():
    rng = np.random.default_rng(0)
    stripes_HW1 = np.tile(np.array([20.0, 60, 100, 60]), 40)[None, :, None] * np.ones((160, 1, 1))
    model = noise_model(2.0 * rng.poisson(stripes_HW1 / 2, (2, *stripes_HW1.shape)))
    np.testing.assert_allclose(model.variance_B, 2 * model.signal_B, rtol=0.15)


def test_clipped_bins_are_excluded_from_the_fit(clean_HW1):
    rng = np.random.default_rng(0)
    clean = clean_HW1 + 60
    captures = 2.0 * rng.poisson(clean / 2, (2, *clean.shape))
    model = noise_model(captures.clip(0, np.percentile(captures, 80)))
    assert not model.used_B.all()
    assert model.gain == pytest.approx(2.0, rel=0.15)


def test_a_set_is_unusable_only_if_all_scenes_are():
    fine = audit.Finding('a', 'x', 0, '', audit.FINE)
    bad = audit.Finding('b', 'x', 0, '', audit.UNUSABLE)
    assert audit.worst([fine]) == audit.FINE
    assert audit.worst([fine, bad]) == audit.WARNING
    assert audit.worst([bad]) == audit.UNUSABLE


def saved(folder, name, *captures, dtype=np.uint8):
    for k, capture in enumerate(captures):
        top = np.iinfo(dtype).max
        pixels = np.rint(np.clip(capture, 0, top)).astype(dtype)
        image_io.write_pixels(folder / f'{name}_{k + 1}.png', pixels)


@pytest.fixture
def texture():
    def draw(seed, side=64):
        rng = np.random.default_rng(seed)
        clean = 120 + 200 * ndimage.gaussian_filter(rng.normal(size=(side, side)), 2)
        return [clean + rng.normal(0, 5, clean.shape) for _ in range(3)]

    return draw


def run(*arguments):
    """Runs n2n audit and returns its exit status."""
    try:
        cli.main(['audit', *map(str, arguments)])
    except SystemExit as end:
        return end.code
    return 0


def test_the_command_reports_the_problems_of_each_scene(tmp_path, texture, capsys):
    folder = tmp_path / 'captures'
    folder.mkdir()
    saved(folder, 'good', *texture(0))
    assert run(folder) == 0
    assert 'Verdict: fine.' in capsys.readouterr().err
    a, b, _ = texture(1)
    saved(folder, 'copied', a, a)
    saved(folder, 'sizes', a, b[:60])
    saved(folder, 'types', *texture(2), dtype=np.uint16)
    saved(folder, 'colors', *(np.stack([x] * 3, axis=-1) for x in texture(3)))
    status = run(folder, '--json', tmp_path / 'a.json', '--html', tmp_path / 'a.html')
    assert status == 1
    printed = capsys.readouterr().err
    assert '64x64 with 1 channel of uint8' in printed
    content = json.loads((tmp_path / 'a.json').read_text())
    verdicts = {scene['scene']: scene['verdict'] for scene in content['scenes']}
    # All scenes must have the channels and type of the first.
    assert verdicts == {
        'colors': 'warning', 'copied': 'unusable', 'good': 'unusable', 'sizes': 'unusable',
        'types': 'unusable',
    }  # fmt: skip
    assert 'Verdict: warning' in (tmp_path / 'a.html').read_text()
    assert run(folder, '--json', tmp_path / 'a.json') == 2  # not overwritten
    assert 'a.json exists' in capsys.readouterr().err


def test_the_json_contains_the_numbers_of_every_check(tmp_path, texture):
    saved(tmp_path, 'cells', *texture(0))
    run(tmp_path, '--json', tmp_path / 'out.json')
    (scene,) = json.loads((tmp_path / 'out.json').read_text())['scenes']
    assert [finding['check'] for finding in scene['findings']] == list(audit.CHECKS)
    numbers = {finding['check']: finding['numbers'] for finding in scene['findings']}
    assert np.shape(numbers['shift']['shifts']) == (3, 2)
    assert np.shape(numbers['shift']['standard_errors']) == (3, 2)
    assert len(scene['noise']['signal']) == len(scene['noise']['variance']) == 20
    assert np.shape(scene['autocorrelation']) == (11, 11)
    assert (scene['shape'], scene['type']) == ([3, 64, 64, 1], 'uint8')
    assert scene['sampled'] is False


def test_images_of_a_stack_that_differ_in_size(tmp_path, capsys):
    import tifffile

    pages = [np.zeros((40, 50), np.uint8), np.zeros((40, 48), np.uint8)]
    for name, chosen in (('bad', pages), ('good', [pages[0] + k for k in range(3)])):
        with tifffile.TiffWriter(tmp_path / f'{name}.tif') as tif:
            for page in chosen:
                tif.write(page, contiguous=False)
    assert run(tmp_path / 'bad.tif') == 2
    assert 'different sizes or types (50x40 of uint8, 48x40 of uint8)' in capsys.readouterr().err
    run(tmp_path / 'good.tif', '--json', tmp_path / 'good.json')  # pages written one by one
    (scene,) = json.loads((tmp_path / 'good.json').read_text())['scenes']
    assert scene['shape'] == [3, 40, 50, 1]


def test_large_scenes_are_audited_by_regions(texture, monkeypatch):
    monkeypatch.setattr(regions, 'REGION', 64)
    x_NHWC = np.stack(texture(0, 400))[..., None]
    scene = audit.audit_scene(SceneCaptures('large', x_NHWC))
    assert scene.sampled
    assert scene.shape == (3, 400, 400, 1)
    assert scene.verdict == audit.FINE
    assert scene.as_dict()['sampled'] is True


@pytest.fixture(scope='module')
def color_HWC():
    return photos.photos()['chelsea'][:192, :192].astype(float) * 0.8 + 20


def found_in(x_NHWC):
    scene = audit.audit_scene(SceneCaptures('s', x_NHWC))
    return scene, {finding.check: finding for finding in scene.findings}


def test_the_color_that_drifts_is_named(color_HWC):
    x_NHWC = noisy(color_HWC, color_HWC * (1, 1, 1.13), color_HWC, sigma=8)
    _, findings = found_in(x_NHWC)
    assert findings['brightness'].verdict == audit.WARNING
    assert findings['brightness'].text.startswith('gain 1.13')
    assert '(blue of capture 2)' in findings['brightness'].text
    assert 'the brightness of blue changed' in findings['brightness'].advice
    assert findings['residual'].text.startswith('blue of capture 2: mean +')
    red, _, blue = findings['brightness'].numbers['channels']
    assert (red['channel'], blue['channel']) == ('red', 'blue')
    assert red['gains'] == [1, 1, 1]
    assert blue['gains'][1] == pytest.approx(3 * 1.13 / 3.13, abs=0.01)
    two_NHWC = np.concatenate([x_NHWC, x_NHWC[..., :1]], axis=-1)
    assert '(channel 3 of capture 2)' in audit.brightness(two_NHWC).text


def test_a_drift_of_all_colors_is_reported_as_one_of_the_light(color_HWC):
    finding = audit.brightness(noisy(color_HWC, 1.05 * color_HWC, sigma=8))
    assert finding.text.endswith('(capture 2)')
    assert finding.text.startswith('gain 1.05')
    assert finding.advice.startswith('the light changed')


def test_the_color_that_is_clipped_is_named(color_HWC):
    x_NHWC = noisy(color_HWC, color_HWC, sigma=8)
    top = np.percentile(x_NHWC[..., 0], 98)
    x_NHWC[..., 0] = x_NHWC[..., 0].clip(None, top)
    finding = audit.saturation(x_NHWC)
    assert finding.verdict == audit.WARNING
    assert finding.text.endswith('(red)')
    assert finding.text.startswith('2.0% at')


BORDERS = [-9999.0, float(np.finfo(np.float32).min), 1e20, np.nan, np.inf]


@pytest.mark.parametrize('value', BORDERS)
def test_a_border_without_data_is_reported_and_excluded(value, clean_HW1):
    small_HW1 = clean_HW1[100:220, 100:220]
    x_NHWC = noisy(small_HW1, small_HW1, sigma=8).astype(np.float32)
    plain, _ = found_in(x_NHWC[:, 30:, 20:])
    x_NHWC[:, :30] = x_NHWC[:, :, :20] = value
    scene, findings = found_in(x_NHWC)
    assert scene.verdict == audit.FINE
    share = 1 - 90 * 100 / 120**2
    assert findings['saturation'].text.startswith(f'{share:.1%} are {np.float32(value):g} in all')
    (constant,) = scene.as_dict()['constants']
    assert constant['share'] == pytest.approx(share)
    assert scene.noise.gain == pytest.approx(plain.noise.gain)
    for ours, theirs in zip(scene.findings, plain.findings, strict=True):
        np.testing.assert_equal(ours.value, theirs.value)
    json.dumps(scene.as_dict(), allow_nan=False)


def test_holes_without_data_hide_no_shift(clean_HW1):
    moved_HW1 = ndimage.shift(clean_HW1, (0.4, 0.5, 0), order=5, mode='reflect')
    x_NHWC = noisy(clean_HW1, moved_HW1)[:, 10:266, 10:266]
    holes_HW = np.random.default_rng(3).random((256, 256)) < 0.02
    x_NHWC[:, holes_HW] = -9999
    finding = audit.shift(x_NHWC)
    np.testing.assert_allclose(finding.numbers['shifts'][1], (0.4, 0.5), atol=0.1)
    assert audit.correlation(x_NHWC).verdict == audit.FINE
    x_NHWC[:, 100:200, 40:200] = -9999
    finding = audit.shift(x_NHWC)
    np.testing.assert_allclose(finding.numbers['shifts'][1], (0.4, 0.5), atol=0.15)


def odd_captures():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :72]
    clean_HW1 = (500 + 300 * np.sin(x / 9) * np.cos(y / 7))[..., None]
    n = clean_HW1 + 30 * rng.standard_normal((3, 64, 72, 1))
    row = rng.random((1, 64, 72, 1))
    return {
        'one pixel': (np.zeros((2, 1, 1, 1), np.uint8), audit.UNUSABLE),
        'one row': (n[:, :1], audit.UNUSABLE),
        'narrow': (n[:, :, :9], audit.FINE),
        'identical': (n[[0, 0]], audit.UNUSABLE),
        'constant': (np.full((3, 64, 64, 1), 5.0), audit.UNUSABLE),
        'nothing but NaN': (np.full((3, 64, 64, 1), np.nan), audit.UNUSABLE),
        'NaN in one': (np.where(np.arange(3)[:, None, None, None] == 1, np.nan, n), audit.UNUSABLE),
        'int8': ((n / 8 - 64).astype(np.int8), audit.FINE),
        'all of int8': (rng.integers(-128, 128, (2, 64, 64, 3)).astype(np.int8), audit.FINE),
        'uint32 far up': ((4e9 + n).astype(np.uint32), audit.FINE),
        'float64 far up': (1e9 + n, audit.FINE),
        'float16': ((60 * n).astype(np.float16), audit.FINE),
        'tiny': ((1e-42 * n).astype(np.float32), audit.FINE),
        '1e34': ((1e31 * n).astype(np.float32), audit.FINE),
        '1e200': (1e197 * n, audit.UNUSABLE),
        '1e20 in one': (n * np.array([1, 1, 1e20])[:, None, None, None], audit.UNUSABLE),
        'bool': (row < np.array([0.5, 0.4])[:, None, None, None], audit.WARNING),
        'scattered': (np.where(row < 0.1, -9999, n), audit.FINE),
        'hardly any': (np.where(np.hypot(y - 32, x - 36)[..., None] < 3, n, -1), audit.UNUSABLE),
        'a color missing': (np.concatenate([n, 0 * n], axis=-1), audit.FINE),
    }


@pytest.mark.parametrize('name', odd_captures())
def test_odd_captures_are_audited_without_a_traceback(name):
    x_NHWC, verdict = odd_captures()[name]
    scene, _ = found_in(x_NHWC)
    assert scene.verdict == verdict
    details = html_page.Details()
    if scene.noise is not None:
        details.add(scene, x_NHWC)
    html_page.page([scene], details.by_scene())
    json.dumps(scene.as_dict(), allow_nan=False)


def test_captures_are_compared_only_once(texture, monkeypatch):
    calls = []
    once = noise_models.mean_squares
    monkeypatch.setattr(noise_models, 'mean_squares', lambda x: calls.append(1) or once(x))
    found_in(np.stack([*texture(0), *texture(0)[:0]])[..., None])
    assert len(calls) == 1


def test_mean_squares_are_those_of_differences():
    x_NHWC = np.random.default_rng(0).integers(0, 65536, (4, 50, 300, 2)).astype(np.uint16)
    found_NN = noise_models.mean_squares(x_NHWC)
    for i in range(4):
        for j in range(4):
            expected = np.mean((x_NHWC[i].astype(float) - x_NHWC[j]) ** 2)
            assert found_NN[i, j] == pytest.approx(expected, rel=1e-12)
    assert noise_models.mean_squares(x_NHWC[[0, 0]]).max() == 0


def test_the_pairs_of_fifty_captures_take_little_memory():
    x_NHWC = np.random.default_rng(0).integers(900, 1000, (50, 128, 128, 1)).astype(np.uint16)
    tracemalloc.start()
    noise_models.mean_squares(x_NHWC)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * 8 * x_NHWC.size  # all difference images would take 25 times as much


def test_a_set_without_images_is_not_fine(tmp_path, capsys):
    for name in 'ab':
        np.save(tmp_path / f'{name}.npy', np.zeros((0, 64, 64), np.uint16))
    assert run(tmp_path / 'a.npy', tmp_path / 'b.npy') == 2
    assert 'no images' in capsys.readouterr().err


def test_names_that_are_not_text_are_shown(tmp_path, texture):
    folder = tmp_path / 'captures'
    folder.mkdir()
    saved(folder, 'cafe', *texture(0))
    for file in folder.iterdir():
        name = os.fsencode(file.name).replace(b'cafe', b'caf\xe9')
        os.rename(file, os.path.join(os.fsencode(folder), name))
    assert run(folder, '--json', tmp_path / 'a.json', '--html', tmp_path / 'a.html') == 0
    assert 'caf\\udce9' in (tmp_path / 'a.html').read_text(encoding='utf-8')
    (scene,) = json.loads((tmp_path / 'a.json').read_text())['scenes']
    assert scene['scene'] == 'caf\udce9'


def test_it_works_in_a_locale_without_utf8(tmp_path, texture, monkeypatch):
    saved(tmp_path, 'cells', *texture(0))
    script = (
        'import sys; from n2n_jax.cli import n2n as cli; '
        "cli.main(['audit', sys.argv[1], '--html', sys.argv[2]])"
    )
    environment = {
        **os.environ,
        'LC_ALL': 'C',
        'PYTHONUTF8': '0',
        'PYTHONCOERCECLOCALE': '0',
        'PYTHONPATH': os.pathsep.join(sys.path),
    }
    page = tmp_path / 'a.html'
    subprocess.run([sys.executable, '-c', script, tmp_path, page], env=environment, check=True)
    assert 'σ' in page.read_text(encoding='utf-8')


def test_a_single_image_is_checked_without_its_border():
    x_NHWC = np.random.default_rng(0).normal(100, 10, (1, 256, 256, 1))
    plain = audit.audit_single(SceneCaptures('s', x_NHWC[:, 64:]))
    x_NHWC[:, :64] = -9999
    assert audit.audit_single(SceneCaptures('s', x_NHWC)).findings == plain.findings


def test_values_filled_in_before_are_excluded_too(clean_HW1):
    x_NHWC = noisy(clean_HW1, clean_HW1)[:, :120, :120]
    plain = audit.audit_scene(SceneCaptures('s', x_NHWC[:, 40:]))
    measured_HWC = np.ones((120, 120, 1), bool)
    measured_HWC[:40] = False
    x_NHWC[:, :40] = x_NHWC[:, 40:41]
    found = audit.audit_scene(SceneCaptures('s', x_NHWC, measured_HWC))
    ours, theirs = ([f.as_dict() for f in one.findings] for one in (found, plain))
    assert ours == theirs


def test_overlapping_averages_share_noise():
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:96, :112]
    clean_HW1 = (1500 + 500 * np.sin(x / 9) * np.cos(y / 7))[..., None]
    frames = clean_HW1 + 150 * rng.standard_normal((12, 96, 112, 1))
    windows = np.stack([frames[2 * k : 2 * k + 4].mean(axis=0) for k in range(3)])
    rolling = np.stack([frames[k : k + 4].mean(axis=0) for k in range(8)])
    for captures_NHWC in (windows, rolling):
        finding = audit.shares_noise(captures_NHWC)
        assert finding.verdict == audit.WARNING
        assert finding.value > 0.3
        first, second = finding.numbers['pair']
        assert second - first <= 2
    apart = np.stack([frames[4 * k : 4 * k + 4].mean(axis=0) for k in range(3)])
    assert audit.shares_noise(apart).verdict == audit.FINE
    assert audit.shares_noise(apart[:2]).text == 'needs three captures'


def test_areas_without_photons_share_no_noise():
    what, x_NHWC = clean_set(801)
    assert 'spots' in what
    assert (x_NHWC == 0).mean() > 0.9
    assert audit.shares_noise(x_NHWC).verdict == audit.FINE
