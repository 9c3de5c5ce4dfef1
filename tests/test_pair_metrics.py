"""The PSNR from captures alone is the PSNR against the clean image."""

import numpy as np
import pytest
from scipy import ndimage

from n2n_jax import pair_metrics
from n2n_jax.data import photos

NUM_DRAWS = 50


@pytest.fixture(scope='module')
def clean_HWC():
    image = photos.photos()['astronaut'][:192, :192].astype(np.float64) / 255
    return image.mean(axis=-1, keepdims=True)


def blur(image_HWC):
    return ndimage.gaussian_filter(image_HWC, (1, 1, 0))


NOISE = {
    'gaussian': lambda rng, x: x + rng.normal(0, 0.1, x.shape),
    'poisson': lambda rng, x: rng.poisson(60 * x) / 60,
    'correlated': lambda rng, x: x + 3 * 0.1 * blur(rng.normal(0, 1, x.shape)),
}


def estimate(maps, rows=None):
    rows = range(len(maps)) if rows is None else rows
    return pair_metrics.estimate_psnr([pair_metrics.patch_sums(maps[i]) for i in rows])


@pytest.mark.parametrize('kind', NOISE)
@pytest.mark.parametrize('num', [2, 4])
def test_the_estimate_has_no_bias(clean_HWC, kind, num):
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(NUM_DRAWS):
        captures = np.stack([NOISE[kind](rng, clean_HWC) for _ in range(num)])
        denoised = np.stack([blur(capture) for capture in captures])
        true = np.mean((denoised - clean_HWC) ** 2)
        errors.append(pair_metrics.error_maps(denoised, captures).mean() / true)
    assert abs(10 * np.log10(np.mean(errors))) < 0.3


@pytest.mark.parametrize('num', [2, 3])
def test_unequal_noise_does_not_matter(clean_HWC, num):
    rng = np.random.default_rng(1)
    sigmas = (0.05, 0.15, 0.1)[:num]
    ratios = []
    for _ in range(NUM_DRAWS):
        captures = np.stack([clean_HWC + rng.normal(0, s, clean_HWC.shape) for s in sigmas])
        denoised = np.stack([blur(capture) for capture in captures])
        true = ((denoised - clean_HWC) ** 2).mean(axis=(1, 2, 3))
        maps = pair_metrics.error_maps(denoised, captures).mean(axis=(1, 2, 3))
        # Three captures tell the inputs apart, two give the mean of both directions.
        ratios.append(maps / true if num > 2 else [maps[0] / true.mean()])
    assert np.all(np.abs(10 * np.log10(np.mean(ratios, axis=0))) < 0.3)


def test_products_of_many_captures_are_those_written_out():
    rng = np.random.default_rng(2)
    f, x = rng.random((4, 2, 3, 1)), rng.random((4, 2, 3, 1))
    pairs = [(j, k) for j in range(4) for k in range(4) if 1 not in (j, k) and j != k]
    want = np.mean([(f[1] - x[j]) * (f[1] - x[k]) for j, k in pairs], axis=0)
    np.testing.assert_allclose(pair_metrics.error_maps(f, x)[1], want, rtol=1e-10)


def test_one_direction_by_the_cross_moment(clean_HWC):
    rng = np.random.default_rng(3)
    ratios = []
    for _ in range(NUM_DRAWS):
        a, b = (clean_HWC + rng.normal(0, s, clean_HWC.shape) for s in (0.05, 0.15))
        true = np.mean((blur(a) - clean_HWC) ** 2)
        ratios.append(pair_metrics.cross_moment_map(blur(a), a, b).mean() / true)
    assert abs(10 * np.log10(np.mean(ratios))) < 0.3


def test_the_mask_leaves_out_what_is_saturated():
    map_HWC = np.ones((40, 40, 1))
    map_HWC[:, :8] = 100
    mask_HWC = np.ones((40, 40, 1), bool)
    mask_HWC[:, :8] = False
    sums, counts = pair_metrics.patch_sums(map_HWC, mask_HWC)
    assert counts.tolist() == [24 * 32, 8 * 32, 24 * 8, 8 * 8]
    np.testing.assert_array_equal(sums, counts)


def test_an_error_too_small_to_be_measured_is_said_to_be():
    result = pair_metrics.estimate_psnr([(np.array([1.0, -2.0]), np.array([10, 10]))])
    assert result.psnr == np.inf
    assert result.as_dict()['psnr_estimate'] is None


def test_intervals_cover_the_truth(clean_HWC):
    rng = np.random.default_rng(4)
    covered = 0
    denoised_of = [blur]
    for _ in range(100):
        captures = np.stack([NOISE['gaussian'](rng, clean_HWC) for _ in range(2)])
        denoised = np.stack([denoised_of[0](capture) for capture in captures])
        true = -10 * np.log10(np.mean((denoised - clean_HWC) ** 2))
        low, high = estimate(pair_metrics.error_maps(denoised, captures), rows=[0]).ci95
        covered += low <= true <= high
    assert 90 <= covered <= 100
