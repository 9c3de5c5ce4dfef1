"""Borders and "no data" are separated from measurements. H height, W width, C channels."""

import numpy as np
import pytest
from clean_captures import clean_set
from scipy import ndimage

from n2n_jax.images.constant_areas import constant_mask, find


def counts(seed=0, shape=(3, 96, 112, 1), sigma=30.0):
    y, x = np.mgrid[: shape[1], : shape[2]]
    clean_HW1 = (500 + 300 * np.sin(x / 9) * np.cos(y / 7))[..., None]
    return clean_HW1 + sigma * np.random.default_rng(seed).standard_normal(shape)


BORDERS = [
    (-9999, np.float32), (-9999, np.int16), (0, np.uint16), (65535, np.uint16), (1e20, np.float32),
    (np.nan, np.float32), (np.inf, np.float64), (500.5, np.float32),
    *((np.finfo(kind).min, kind) for kind in (np.float16, np.float32, np.float64)),
]  # fmt: skip


@pytest.mark.parametrize(('value', 'dtype'), BORDERS)
def test_a_border_is_found_whatever_its_value(value, dtype):
    x_NHWC = (counts() + (200 if dtype == np.uint16 else 0)).astype(dtype)
    x_NHWC[:, :14] = x_NHWC[:, :, :10] = dtype(value)
    mask_HWC, areas = find(x_NHWC)
    expected_HWC = np.zeros(x_NHWC.shape[1:], bool)
    expected_HWC[:14] = expected_HWC[:, :10] = True
    np.testing.assert_array_equal(mask_HWC, expected_HWC)
    (area,) = areas
    np.testing.assert_equal(area.value, float(dtype(value)))
    assert area.share == expected_HWC.mean()


def test_two_kinds_of_no_data_and_a_dead_column():
    x_NHWC = counts().astype(np.float32)
    x_NHWC[:, :10] = -9999
    x_NHWC[:, -10:] = 1e20
    x_NHWC[:, :, 50] = 510
    mask_HWC, areas = find(x_NHWC)
    assert sorted(area.value for area in areas) == [-9999, 510, np.float32(1e20)]
    assert mask_HWC.sum() == 20 * 112 + 76


def test_each_channel_has_its_own_constants():
    x_NHWC = np.concatenate([counts(), counts(1)], axis=-1)
    x_NHWC[:, 20:40, 20:40, 1] = -9999
    mask_HWC, (area,) = find(x_NHWC)
    assert not mask_HWC[..., 0].any()
    assert mask_HWC[..., 1].sum() == 400
    assert (area.channel, area.value) == (1, -9999)


def test_pixels_missing_in_any_capture_are_masked_in_all():
    x_NHWC = counts()
    x_NHWC[:, :14] = -9999
    x_NHWC[1, 14:17] = -9999  # a capture that was moved before it was saved
    assert constant_mask(x_NHWC)[:17].all()
    assert not constant_mask(x_NHWC)[17:].any()


@pytest.mark.parametrize('rate', [0.001, 0.02, 0.2, 1.0, 3.0])
@pytest.mark.parametrize('num', [2, 4])
def test_zeros_of_dim_captures_are_not_a_constant(rate, num):
    rng = np.random.default_rng(0)
    assert not constant_mask(rng.poisson(rate, (num, 128, 128, 1)).astype(np.uint8)).any()
    spots_HW = np.zeros((128, 128))
    spots_HW[rng.integers(128, size=20), rng.integers(128, size=20)] = 3000 * rate
    signal_HW1 = ndimage.gaussian_filter(spots_HW, 2)[..., None]  # no photons between them
    x_NHWC = rng.poisson(signal_HW1, (num, 128, 128, 1))
    assert (x_NHWC == 0).all(axis=0).mean() > 0.3
    assert not constant_mask(x_NHWC.astype(np.uint16)).any()
    assert not constant_mask(x_NHWC.astype(np.float32) / 255).any()


def test_clipped_highlights_and_background_are_not_constants():
    x_NHWC = np.rint(counts(sigma=10) / 4)
    clipped_NHWC = x_NHWC.clip(90, 180).astype(np.uint8)
    assert (clipped_NHWC == 180).all(axis=0).mean() > 0.05
    assert not constant_mask(clipped_NHWC).any()


@pytest.mark.parametrize('sigma', [0.1, 0.3, 1.0])
def test_equal_integers_under_weak_noise_are_not_a_constant(sigma):
    x_NHWC = np.rint(counts(sigma=sigma) / 4).astype(np.uint8)
    assert (x_NHWC == x_NHWC[:1]).all(axis=0).any()
    assert not constant_mask(x_NHWC).any()


def test_nothing_is_constant_in_clean_captures():
    for seed in range(60):
        what, x_NHWC = clean_set(seed, side=64)
        assert not constant_mask(x_NHWC).any(), what


def test_in_one_capture_or_copies_only_values_outside_the_range_are_found():
    x_NHWC = np.rint(counts()[:1])
    assert not constant_mask(x_NHWC).any()
    assert not constant_mask(np.concatenate([x_NHWC, x_NHWC])).any()
    x_NHWC[:, :14] = -9999
    for captures_NHWC in (x_NHWC, np.concatenate([x_NHWC, x_NHWC])):
        assert constant_mask(captures_NHWC).sum() == 14 * 112


@pytest.mark.parametrize('shape', [(2, 1, 1, 1), (2, 0, 5, 1), (3, 64, 64, 2), (1, 1, 1, 3)])
def test_an_image_of_one_value_has_no_constant_area(shape):
    assert not constant_mask(np.full(shape, 7, np.uint8)).any()
    assert not constant_mask(np.full(shape, 1e300)).any()
