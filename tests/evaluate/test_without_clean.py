"""The PSNR from captures alone is the PSNR against the clean image."""

import numpy as np
import pytest
from scipy import ndimage

from n2n_jax.data.sources import photos
from n2n_jax.evaluate import without_clean
from n2n_jax.runtime import result_rows

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


@pytest.mark.parametrize('kind', NOISE)
@pytest.mark.parametrize('num', [2, 4])
def test_the_estimate_has_no_bias(clean_HWC, kind, num):
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(NUM_DRAWS):
        captures = np.stack([NOISE[kind](rng, clean_HWC) for _ in range(num)])
        denoised = np.stack([blur(capture) for capture in captures])
        true = np.mean((denoised - clean_HWC) ** 2)
        errors.append(without_clean.error_maps(denoised, captures).mean() / true)
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
        maps = without_clean.error_maps(denoised, captures).mean(axis=(1, 2, 3))
        # Three captures tell the inputs apart, two give the mean of both directions.
        ratios.append(maps / true if num > 2 else [maps[0] / true.mean()])
    assert np.all(np.abs(10 * np.log10(np.mean(ratios, axis=0))) < 0.3)


def test_products_of_many_captures_are_those_written_out():
    rng = np.random.default_rng(2)
    f, x = rng.random((4, 2, 3, 1)), rng.random((4, 2, 3, 1))
    pairs = [(j, k) for j in range(4) for k in range(4) if 1 not in (j, k) and j != k]
    want = np.mean([(f[1] - x[j]) * (f[1] - x[k]) for j, k in pairs], axis=0)
    np.testing.assert_allclose(without_clean.error_maps(f, x)[1], want, rtol=1e-10)


def test_one_direction_by_the_cross_moment(clean_HWC):
    rng = np.random.default_rng(3)
    ratios = []
    for _ in range(NUM_DRAWS):
        a, b = (clean_HWC + rng.normal(0, s, clean_HWC.shape) for s in (0.05, 0.15))
        true = np.mean((blur(a) - clean_HWC) ** 2)
        ratios.append(without_clean.cross_moment_map(blur(a), a, b).mean() / true)
    assert abs(10 * np.log10(np.mean(ratios))) < 0.3


def test_the_mask_leaves_out_what_is_saturated():
    map_HWC = np.ones((40, 40, 1))
    map_HWC[:, :8] = 100
    mask_HWC = np.ones((40, 40, 1), bool)
    mask_HWC[:, :8] = False
    patches = without_clean.patch_sums(map_HWC, mask_HWC)
    assert patches.mse == 1
    np.testing.assert_allclose(patches.residuals_P, 0, atol=1e-15)
    assert np.isnan(without_clean.patch_sums(map_HWC, np.zeros_like(mask_HWC)).mse)


def test_an_error_too_small_to_be_measured_is_said_to_be():
    result = without_clean.estimate_psnr([without_clean.Patches(-0.05, np.array([0.01, -0.02]))])
    assert result.psnr == np.inf
    assert result.as_dict()['psnr_estimate'] is None


def test_one_scene_too_good_to_measure_leaves_the_others_measured():
    deviations = np.array([1e-4, -1e-4])
    scenes = [without_clean.Patches(mse, deviations) for mse in (1e-3, 3e-3, -1e-6)]
    of_squares = without_clean.estimate_psnr(scenes, mean_of='mse')
    assert of_squares.psnr == pytest.approx(-10 * np.log10(np.mean([1e-3, 3e-3, -1e-6])))
    assert of_squares.mse_error == pytest.approx(np.sqrt(6e-8) / 3)
    assert of_squares.ci95[0] < of_squares.psnr < of_squares.ci95[1]
    assert without_clean.estimate_psnr(scenes).as_dict()['psnr_estimate'] is None
    row = {'psnr_estimate': None, 'ci95': [40.0, None], 'psnr_estimate_input': 20.0}
    assert result_rows.with_gain_in_words(row) == 'not measurable: the error is too small'


def intervals(clean_HWC, kind, num, draws=100):
    """How often the interval holds the truth, and widths in standard deviations of the estimate."""
    rng = np.random.default_rng(4)
    covered, off, widths = 0, [], []
    for _ in range(draws):
        captures = np.stack([NOISE[kind](rng, clean_HWC) for _ in range(num)])
        denoised = np.stack([blur(capture) for capture in captures])
        map_HWC = without_clean.error_maps(denoised, captures).mean(axis=0)
        side = without_clean.patch_side(captures)
        true = -10 * np.log10(np.mean((denoised - clean_HWC) ** 2))
        result = without_clean.estimate_psnr([without_clean.patch_sums(map_HWC, side=side)])
        covered += result.ci95[0] <= true <= result.ci95[1]
        off.append(result.psnr - true)
        widths.append(result.ci95[1] - result.ci95[0])
    return covered / draws, np.mean(widths) / np.std(off)


@pytest.mark.parametrize('kind', NOISE)
def test_intervals_cover_the_truth_and_are_not_far_too_wide(clean_HWC, kind):
    covered, width = intervals(clean_HWC, kind, 2)
    assert 0.9 <= covered <= 1
    assert 3.3 < width < 7  # 3.92 for a normal distribution whose spread is known


def test_patches_are_larger_where_noise_is_related(clean_HWC):
    rng = np.random.default_rng(5)
    sides = []
    for sigma in (0, 1, 2, 8):
        noise = rng.normal(0, 1, (2, *clean_HWC.shape))
        noise = ndimage.gaussian_filter(noise, (0, sigma, sigma, 0)) if sigma else noise
        sides.append(without_clean.patch_side(clean_HWC + noise))
    assert sides == [4, 8, 16, 32]
    assert without_clean.patch_side(np.zeros((2, 3, 3, 1))) == 4


def test_what_is_known_of_the_error_narrows_the_interval_alone(clean_HWC):
    rng = np.random.default_rng(6)
    captures = np.stack([NOISE['poisson'](rng, clean_HWC) for _ in range(4)])
    denoised = np.stack([blur(capture) for capture in captures])
    map_HWC = without_clean.error_maps(captures, captures).mean(axis=0)
    control_HWC = without_clean.control_variate(captures, denoised, captures)
    before, after = (
        without_clean.estimate_psnr([without_clean.patch_sums(map_HWC, control_HWC=control)])
        for control in (None, control_HWC)
    )
    assert after.psnr == before.psnr
    assert np.diff(after.ci95) < 0.8 * np.diff(before.ci95)
    # Not where it would not be safe: results as noisy as the captures, or noise that is related.
    assert without_clean.control_variate(captures, captures, captures) is None
    related = np.stack([NOISE['correlated'](rng, clean_HWC) for _ in range(2)])
    better = np.stack([ndimage.gaussian_filter(x, (4, 4, 0)) for x in related])
    assert without_clean.control_variate(related, better, related) is None


def test_methods_on_the_same_captures_are_compared_far_more_sharply(clean_HWC):
    rng = np.random.default_rng(7)
    captures = np.stack([NOISE['gaussian'](rng, clean_HWC) for _ in range(2)])
    both = []
    for sigma in (1.0, 1.1):
        denoised = ndimage.gaussian_filter(captures, (0, sigma, sigma, 0))
        true = np.mean((denoised - clean_HWC) ** 2)
        map_HWC = without_clean.error_maps(denoised, captures)[0]
        both.append((without_clean.patch_sums(map_HWC), -10 * np.log10(true)))
    (first, true_first), (second, true_second) = both
    value, (low, high) = without_clean.difference([(first, second)])
    assert low < true_first - true_second < high
    assert value == pytest.approx(true_first - true_second, abs=0.1)
    alone = without_clean.estimate_psnr([first]).ci95
    assert high - low < 0.5 * (alone[1] - alone[0])
    assert without_clean.difference([(first, first)]) == (0, (0, 0))
