"""Value range and noise of captures. N captures, H height, W width, C channels."""

import numpy as np
import pytest

from n2n_jax.captures.measure import capture_values


def scene(*, sigma=3.0, num=4, side=128, seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    clean = 100 + 30 * np.sin(x / 9) * np.cos(y / 7)
    return scale * (clean + rng.normal(0, sigma, (num, side, side)))[..., None]


def measured(*scenes, masks=None):
    return capture_values.measure(scenes, masks or [None] * len(scenes))


@pytest.mark.parametrize('num', [1, 2, 4])
def test_the_noise_is_that_of_a_single_capture(num):
    assert measured(scene(num=num)).noise[0] == pytest.approx(3, rel=0.06)


def test_lamp_drift_does_not_count_as_noise():
    x_NHWC = scene() * np.array([1, 1.2, 0.9, 1.1])[:, None, None, None]
    assert measured(x_NHWC).noise[0] == pytest.approx(3.2, rel=0.2)


def test_a_star_with_many_photons_does_not_set_the_noise():
    x_NHWC = scene()
    rng = np.random.default_rng(1)
    x_NHWC[:, 60:66, 50:56] = rng.poisson(60000, (4, 6, 6, 1))
    found = measured(x_NHWC)
    assert found.noise[0] == pytest.approx(3, rel=0.6)
    assert found.middle[0][1] < 200 < found.high[0]


def test_the_noise_is_measured_in_the_units_of_the_captures():
    small, large = measured(scene()), measured(scene(scale=1e6))
    assert large.noise[0] == pytest.approx(1e6 * small.noise[0], rel=1e-6)
    assert large.high[0] == pytest.approx(1e6 * small.high[0], rel=1e-6)


def test_areas_without_measurements_are_ignored():
    x_NHWC = scene()
    mask_HWC = np.ones(x_NHWC.shape[1:], bool)
    mask_HWC[:, :40] = False
    inside = measured(x_NHWC, masks=[mask_HWC])
    x_NHWC[:, :, :40] = np.random.default_rng(2).normal(-9999, 500, x_NHWC[:, :, :40].shape)
    assert measured(x_NHWC, masks=[mask_HWC]) == inside
    assert inside.low[0] > 50


def test_mostly_background_still_has_a_range():
    x_NHWC = np.zeros((2, 64, 64, 1))
    x_NHWC[0, 5, 5] = 7
    found = measured(x_NHWC)
    assert (found.low[0], found.high[0]) == (0, 7)


def test_captures_of_one_row_or_column():
    assert measured(np.random.default_rng(0).normal(size=(2, 1, 50, 1))).noise[0] > 0.5
    assert np.isfinite(measured(np.random.default_rng(0).normal(size=(1, 50, 1, 1))).noise[0])
