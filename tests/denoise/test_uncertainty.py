"""Intervals have their nominal coverage, and standard errors the size of the true errors."""

import dataclasses
import json

import numpy as np
import pytest
from scipy import ndimage

from n2n_jax.captures.scene_captures import SceneCaptures
from n2n_jax.data.sources import photos
from n2n_jax.denoise import uncertainty
from n2n_jax.runtime.errors import UserError


def blur(image_HWC):
    return ndimage.gaussian_filter(image_HWC, (1.2, 1.2, 0))


def clean(name, top=0):
    image = photos.photos()[name][top : top + 128, :128].astype(np.float64) / 255
    return image.mean(axis=-1, keepdims=True)


def scene(name, *, num=2, light=60, seed=0, top=0):
    x = clean(name, top)
    rng = np.random.default_rng(seed)
    return SceneCaptures(name, rng.poisson(light * x, (num, *x.shape)) / light)


@pytest.fixture(scope='module')
def calibration():
    scenes = [scene('chelsea', seed=1), scene('astronaut', light=20, seed=2, num=3)]
    return uncertainty.calibrate([*scenes, scene('coffee', seed=9)], blur, step=7)


def test_new_captures_lie_in_the_interval_as_often_as_it_says(calibration):
    # Other photographs and another brightness than in the calibration.
    tests = [scene('coffee', seed=3, top=200), scene('chelsea', seed=4, light=35, top=100, num=3)]
    for level in (0.5, 0.9, 0.95):
        shares = uncertainty.coverage(calibration, tests, blur, level=level)
        assert set(shares) == {'coffee', 'chelsea'}
        assert np.mean(list(shares.values())) == pytest.approx(level, abs=0.03)
    words = uncertainty.coverage_in_words({'a': 0.91, 'b': 0.86})
    assert 'nominal 90 %: they cover 88.5 %' in words
    assert 'b, 86.0 %' in words


def test_the_half_width_follows_the_noise(calibration):
    x = clean('astronaut')
    noisy = np.random.default_rng(5).poisson(60 * x) / 60
    width = calibration.half_width(noisy, blur(noisy))
    dark, bright = x < np.quantile(x, 0.3), x > np.quantile(x, 0.7)
    expected = np.sqrt(x[bright].mean() / x[dark].mean())
    assert width[bright].mean() / width[dark].mean() == pytest.approx(expected, rel=0.25)
    with pytest.raises(UserError, match=r'level 0.77 was not calibrated: choose from 0.5'):
        calibration.half_width(noisy, blur(noisy), level=0.77)


@pytest.mark.parametrize(('name', 'num'), [('chelsea', 2), ('coffee', 3)])
def test_the_standard_error_is_that_of_the_clean_value(name, num):
    # The calibration only sees the noise at the same pixel; a blur errs more elsewhere.
    calibration = uncertainty.calibrate([scene(name, num=num, light=40, seed=1, top=140)], blur)
    x = clean(name, 140)
    noisy = np.random.default_rng(6).poisson(40 * x) / 40
    denoised = blur(noisy)
    expected = calibration.standard_error(noisy, denoised)
    ratio = np.sqrt(np.mean((denoised - x) ** 2) / np.mean(expected**2))
    assert ratio == pytest.approx(1, abs=0.15)
    # Where the estimate is larger, so is the error.
    large = expected > np.quantile(expected, 0.8)
    errors = [np.sqrt(np.mean((denoised - x)[which] ** 2)) for which in (large, ~large)]
    assert errors[0] > 1.2 * errors[1]
    # It is not the interval of a new capture, which includes that capture's noise.
    assert expected.mean() < 0.7 * calibration.half_width(noisy, denoised, level=0.68).mean()


def test_the_noise_of_an_image_is_read_off_its_residual():
    x = np.tile(np.linspace(0.1, 1, 128), (128, 1))[..., None]
    noisy = x + np.random.default_rng(7).normal(0, 0.1 * x)
    scale = uncertainty.noise_scale(noisy, x)
    np.testing.assert_allclose(scale[:, 8:-8], 0.1 * x[:, 8:-8], rtol=0.15)
    assert (uncertainty.noise_scale(x, x) > 0).all()


def test_errors_ascend_with_the_detail():
    np.testing.assert_allclose(
        uncertainty._isotonic(np.array([1.0, 3, 2, 0, 5])), [1, 5 / 3, 5 / 3, 5 / 3, 5]
    )


def test_copies_are_no_new_captures():
    once = scene('chelsea', seed=1)
    twice = dataclasses.replace(once, captures_NHWC=once.captures_NHWC[[0, 0]])
    assert uncertainty.coverage(uncertainty.calibrate([once], blur), [twice], blur) == {}


def test_it_is_kept_with_the_run(calibration, tmp_path):
    assert uncertainty.load(tmp_path, step=7) is None
    file = tmp_path / uncertainty.FILE
    file.write_text(json.dumps(calibration.as_dict()))
    assert uncertainty.load(tmp_path, step=7) == calibration
    assert uncertainty.load(tmp_path, step=8) is None  # the calibration is of other weights
    file.write_text('{}')
    with pytest.raises(UserError, match='is damaged: remove it'):
        uncertainty.load(tmp_path, step=7)


def test_a_border_without_data_makes_no_interval_narrower():
    # Half of every capture is a border filled with neighboring values: no error at all there.
    whole = scene('coffee', num=4, seed=1)
    measured_HWC = np.ones(whole.captures_NHWC.shape[1:], bool)
    measured_HWC[:, :64] = False
    captures_NHWC = np.where(measured_HWC, whole.captures_NHWC, 0.5)
    half = SceneCaptures('half', captures_NHWC, measured_HWC, (-9999.0,))
    calibrations = [uncertainty.calibrate([each], blur) for each in (whole, half)]
    new = [scene('coffee', num=4, seed=2)]
    for calibration in calibrations:
        share = uncertainty.coverage(calibration, new, blur)['coffee']
        assert share == pytest.approx(0.9, abs=0.02)
        assert min(calibration.errors_K) > 0.1  # no error bar of 0
    # Nor does a border count as covered.
    share = uncertainty.coverage(calibrations[0], [half], blur)['half']
    assert share == pytest.approx(0.9, abs=0.02)


def test_the_edge_of_a_border_is_no_detail():
    x = clean('coffee')
    with_border = x.copy()
    with_border[:, :40] = np.nan
    scale = np.full_like(x, 0.05)
    found = uncertainty.detail(with_border, np.where(np.isfinite(with_border), scale, 0))
    assert np.abs(found - uncertainty.detail(x, scale))[:, 50:].max() < 1e-2
    assert found[:, 40:48].mean() < 2 * uncertainty.detail(x, scale)[:, 40:48].mean()


def test_held_out_captures_without_any_measured_pixel_are_an_error():
    whole = scene('coffee', seed=1)
    none = dataclasses.replace(whole, measured_HWC=np.zeros(whole.captures_NHWC.shape[1:], bool))
    with pytest.raises(UserError, match='nothing to calibrate on'):
        uncertainty.calibrate([none], blur)


def test_intervals_of_each_color_are_as_wide_as_its_own_noise():
    clean_HWC = np.repeat(clean('coffee'), 2, axis=-1)
    sigma_C = np.array([0.01, 0.1])

    def two_colors(seed):
        noise_NHWC = np.random.default_rng(seed).normal(size=(3, *clean_HWC.shape))
        return SceneCaptures(f's{seed}', clean_HWC + sigma_C * noise_NHWC)

    calibration = uncertainty.calibrate([two_colors(0), two_colors(1)], lambda x: clean_HWC)
    a_HWC, b_HWC, _ = two_colors(9).captures_NHWC
    inside_HWC = np.abs(b_HWC - clean_HWC) <= calibration.half_width(a_HWC, clean_HWC)
    np.testing.assert_allclose(inside_HWC.mean(axis=(0, 1)), 0.9, atol=0.02)
    # Nor does the noise of one color change the detail of another.
    scale_HWC = uncertainty.noise_scale(a_HWC, clean_HWC)
    both = uncertainty.detail(clean_HWC, scale_HWC)
    for channel in (np.s_[..., :1], np.s_[..., 1:]):
        alone_HWC = uncertainty.detail(clean_HWC[channel], scale_HWC[channel])
        np.testing.assert_allclose(both[channel], alone_HWC)
