"""Shifts are found, undone, and not invented; the standard error is that of the estimate."""

import numpy as np
import pytest
from scipy import ndimage

from n2n_jax.captures.measure import block_statistics, regions, registration
from n2n_jax.data.sources import photos


@pytest.fixture(scope='module')
def photo_HW():
    return photos.photos()['astronaut'][:300, :300].mean(axis=-1) * 0.7 + 30


def moved(image_HW, shift_2):
    return ndimage.shift(image_HW, shift_2, order=5, mode='reflect')


def captures(*images_HW, sigma=15.0, seed=0):
    rng = np.random.default_rng(seed)
    return np.stack([x + rng.normal(0, sigma, x.shape) for x in images_HW])[..., None]


@pytest.mark.parametrize('sigma', [0, 5, 15, 30])
@pytest.mark.parametrize('shift_2', [(0.0, 0.5), (-0.3, 0.2), (1.4, -0.9), (3.3, -7.6)])
def test_a_shift_is_found(photo_HW, sigma, shift_2):
    x_NHWC = captures(photo_HW, moved(photo_HW, shift_2), sigma=sigma)[:, 22:278, 22:278]
    shifts_N2, errors_N2 = registration.shifts(x_NHWC)
    np.testing.assert_allclose(shifts_N2[1], shift_2, atol=0.1)
    np.testing.assert_allclose(shifts_N2[0], -shifts_N2[1])
    assert errors_N2.max() < 0.05
    assert (np.abs(shifts_N2[1] - shift_2) < 4 * errors_N2[1] + 0.01).all()


def test_shifts_are_undone_as_the_docstring_says(photo_HW):
    shifts = [(0.4, -0.2), (-0.6, 0.1), (0.0, 0.5)]
    x_NHWC = captures(*(moved(photo_HW, shift) for shift in shifts), sigma=8)
    shifts_N2, _ = registration.shifts(x_NHWC)
    n = len(x_NHWC)
    np.testing.assert_allclose(shifts_N2.sum(axis=0), 0, atol=0.02)
    undone_NHWC = np.stack(
        [
            ndimage.shift(x, (*(-(n - 1) / n * shift), 0), mode='nearest')
            for x, shift in zip(x_NHWC, shifts_N2, strict=True)
        ]
    )
    left_N2, _ = registration.shifts(undone_NHWC[:, 8:-8, 8:-8])
    assert np.abs(shifts_N2).max() > 0.5
    assert np.abs(left_N2).max() < 0.05


def test_the_standard_error_is_the_scatter_of_the_estimate(photo_HW):
    off = []
    for seed in range(40):
        top, left = np.random.default_rng(seed).integers(0, 150, 2)
        crop_HW = photo_HW[top : top + 96, left : left + 96]
        shift = registration.register(captures(crop_HW, crop_HW, seed=seed))[0]
        off += [value / error for value, error in shift.measurable()]
    assert len(off) > 40
    assert 0.75 < np.sqrt(np.mean(np.square(off))) < 1.4


def test_brightness_is_not_taken_for_a_shift(photo_HW):
    rows, columns = np.mgrid[:300, :300] / 300
    others = (
        0.8 * photo_HW + 10,
        photo_HW + 40 * columns,
        photo_HW * (1 - 0.1 * rows),
        photo_HW + 30 * (rows - 0.5) ** 2,
    )
    for other_HW in others:
        shift = registration.register(captures(photo_HW, other_HW, sigma=5))[0]
        assert np.abs(shift.pixels_2).max() < 0.06


@pytest.mark.parametrize('offset', [0, 8])
def test_the_shift_of_a_ramp_is_not_measurable(offset):
    rows, columns = np.mgrid[:128, :128]
    ramp_HW = rows + 0.5 * columns
    shifts_N2, errors_N2 = registration.shifts(captures(ramp_HW, ramp_HW + offset, sigma=3))
    assert not shifts_N2.any()
    assert np.isinf(errors_N2).all()


def test_a_single_edge_gives_the_shift_in_one_direction():
    edge_HW = np.repeat(100.0 * (ndimage.gaussian_filter1d(1.0 * (np.arange(128) > 60), 1)), 128)
    edge_HW = edge_HW.reshape(128, 128)  # varies with the row
    x_NHWC = captures(edge_HW, moved(edge_HW, (0.5, 0)), sigma=4)
    shifts_N2, errors_N2 = registration.shifts(x_NHWC)
    assert shifts_N2[1, 0] == pytest.approx(0.5, abs=0.05)
    assert errors_N2[1, 0] < 0.05
    assert np.isinf(errors_N2[1, 1])
    assert shifts_N2[1, 1] == 0


@pytest.mark.parametrize('side', [12, 32, 64, 256])
def test_the_shift_of_noise_is_not_measurable(side):
    shifts_N2, errors_N2 = registration.shifts(captures(*[np.full((side, side), 50.0)] * 3))
    assert not shifts_N2.any()
    assert np.isinf(errors_N2).all()


def test_equal_captures_are_not_shifted(photo_HW):
    shifts_N2, errors_N2 = registration.shifts(captures(photo_HW, photo_HW, sigma=0))
    assert not shifts_N2.any()
    assert not errors_N2.any()


def test_one_spot_is_not_enough_for_an_error_estimate():
    spot_HW = np.zeros((96, 96))
    spot_HW[48, 48] = 4000
    spot_HW = ndimage.gaussian_filter(spot_HW, 2)
    x_NHWC = captures(spot_HW, moved(spot_HW, (0, 0.5)), sigma=2)
    assert registration.register(x_NHWC)[1].significant() == 0


def test_large_scenes_are_registered_by_regions(photo_HW, monkeypatch):
    monkeypatch.setattr(regions, 'REGION', 64)
    tiled_HW = np.tile(photo_HW, (2, 2))
    x_NHWC = captures(tiled_HW, moved(tiled_HW, (0.3, 0.5)), sigma=5)
    assert regions.is_sampled(x_NHWC)
    parts = regions.regions(x_NHWC)
    assert [part.shape for part in parts] == [(2, 64, 64, 1)] * 9
    assert regions.sample(x_NHWC).shape == (2, 64, 9 * 64, 1)
    shifts_N2, _ = registration.shifts(x_NHWC)
    np.testing.assert_allclose(shifts_N2[1], (0.3, 0.5), atol=0.05)


def test_a_narrow_strip_is_sampled_too(monkeypatch):
    monkeypatch.setattr(regions, 'REGION', 64)
    parts = regions.regions(np.zeros((2, 40, 4000, 1)))
    assert [part.shape for part in parts] == [(2, 40, 64, 1)] * 3


def test_one_capture_is_refused(photo_HW):
    with pytest.raises(ValueError, match='two captures or more, not 1'):
        registration.shifts(captures(photo_HW))


def test_the_error_of_a_ratio_is_its_scatter():
    values, errors = [], []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        d_HW = ndimage.uniform_filter(rng.normal(size=(90, 96)), 3)
        squares_HW = d_HW[:, 1:] ** 2
        found = block_statistics.ratio(
            block_statistics.block_sums(d_HW[:, 1:] * d_HW[:, :-1], 15),
            block_statistics.block_sums(squares_HW, 15),
        )
        values.append(found.value)
        errors.append(found.error)
        assert found.exceeds(0.1)
    assert np.mean(values) == pytest.approx(2 / 3, abs=0.01)
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.25)


def test_block_sums_cover_the_whole_image():
    map_HW = np.arange(7.0 * 11).reshape(7, 11)
    sums_B = block_statistics.block_sums(np.stack([map_HW, -map_HW]), 3)
    assert sums_B.shape == (2, 3 * 4)
    np.testing.assert_allclose(sums_B.sum(axis=-1), [map_HW.sum(), -map_HW.sum()])
    assert sums_B[0, 0] == map_HW[:3, :3].sum()
    assert block_statistics.effective_count(np.array([2.0, 2.0, 2.0, 0.0])) == pytest.approx(3)
    assert block_statistics.ratio(np.ones(3), np.zeros(3)) == block_statistics.Ratio(
        0.0, float('inf'), 0.0
    )


@pytest.mark.parametrize('shift_2', [(0.0, 0.5), (-0.3, 0.2), (1.4, -0.9)])
def test_it_is_more_accurate_than_phase_correlation(photo_HW, shift_2):
    skimage = pytest.importorskip('skimage.registration')
    x_NHWC = captures(photo_HW, moved(photo_HW, shift_2), sigma=15)[:, 22:278, 22:278]
    theirs_2, _, _ = skimage.phase_cross_correlation(
        x_NHWC[1, ..., 0], x_NHWC[0, ..., 0], upsample_factor=100
    )
    ours_2 = registration.register(x_NHWC)[1].pixels_2
    off, off_theirs = (np.abs(found - shift_2).max() for found in (ours_2, theirs_2))
    assert off < 0.05
    assert off <= off_theirs


@pytest.mark.parametrize('unit', [1e-42, 1e20, 1e31])
def test_the_unit_of_the_pixels_does_not_matter(photo_HW, unit):
    x_NHWC = captures(photo_HW, moved(photo_HW, (0.3, -0.5)), sigma=5)
    plain = registration.register(x_NHWC)[1]
    scaled = registration.register((unit * x_NHWC).astype(np.float32))[1]
    np.testing.assert_allclose(scaled.pixels_2, plain.pixels_2, atol=0.02)


def test_bands_that_do_not_fit_into_memory_are_recomputed(photo_HW, monkeypatch):
    x_NHWC = captures(*[moved(photo_HW[:100, :110], (0, 0.2 * k)) for k in range(3)])
    kept, _ = registration.shifts(x_NHWC)
    monkeypatch.setattr(registration, '_CACHE_BYTES', 0)
    np.testing.assert_array_equal(registration.shifts(x_NHWC)[0], kept)
