"""Intervals where the brightness drifts: no few captures tell which one the clean image has."""

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from n2n_jax.captures.measure import brightness
from n2n_jax.data.sources import photos
from n2n_jax.evaluate import drift, without_clean


@pytest.fixture(scope='module')
def clean_HWC():
    image = photos.photos()['chelsea'][:160, :160].astype(np.float64) / 255
    return image.mean(axis=-1, keepdims=True)


def blur(image_HWC):
    return ndimage.gaussian_filter(image_HWC, (1, 1, 0))


def matched(raw, found):
    gains, offsets = (x.reshape(-1, 1, 1, 1) for x in (found.gain_N, found.offset_N))
    return (raw - offsets) / gains


def estimate(clean_HWC, gains, offsets, seed, *, sigma=0.05):
    """That of a blur, and what it is in truth, on captures that were brought to one brightness."""
    rng = np.random.default_rng(seed)
    gains, offsets = (np.reshape(x, (-1, 1, 1, 1)) for x in (gains, offsets))
    raw = gains * clean_HWC + offsets + rng.normal(0, sigma, (len(gains), *clean_HWC.shape))
    by_channel = brightness.compare_channels(raw)
    found = by_channel.together
    x = matched(raw, found)
    f = np.stack([blur(capture) for capture in x])
    patches = without_clean.patch_sums(without_clean.error_maps(f, x).mean(axis=0))
    seen = drift.find(by_channel, lambda pixels: pixels)
    if seen is not None:
        mask_HWC = np.ones(clean_HWC.shape, bool)
        drift_effect = drift.drift_effect(seen, f, x, mask_HWC, [(i,) for i in range(len(x))])
        patches = dataclasses.replace(patches, drift_effect=drift_effect)
    return without_clean.estimate_psnr([patches]), -10 * np.log10(np.mean((f - clean_HWC) ** 2))


def test_where_brightness_drifts_the_interval_holds_the_error_at_the_mean_brightness(clean_HWC):
    rng = np.random.default_rng(0)
    held, by_noise, draws = 0, 0, 40
    for seed in range(draws):
        found, true = estimate(clean_HWC, rng.normal(1, 0.1, 4), rng.normal(0, 0.01, 4), seed)
        held += found.ci95[0] <= true <= found.ci95[1]
        by_noise += found.ci95_noise[0] <= true <= found.ci95_noise[1]
    assert held >= 0.9 * draws
    assert by_noise < 0.3 * draws


def test_without_a_drift_nothing_is_added(clean_HWC):
    found, true = estimate(clean_HWC, np.ones(3), np.zeros(3), 0)
    assert found.ci95 == found.ci95_noise
    assert found.ci95[0] < true < found.ci95[1]


def test_the_units_of_the_files_do_not_matter(clean_HWC):
    noise = np.random.default_rng(0).normal(0, 0.05, (3, *clean_HWC.shape))
    raw = np.reshape([0.9, 1.0, 1.1], (3, 1, 1, 1)) * clean_HWC + noise
    of_network = drift.find(brightness.compare_channels(raw), lambda pixels: pixels)
    counts = 4000 * raw + 500
    of_counts = drift.find(
        brightness.compare_channels(counts), lambda pixels: (pixels - 500) / 4000
    )
    np.testing.assert_allclose(of_network.covariance_C22, of_counts.covariance_C22, rtol=1e-6)
    assert of_network.gain_spread == pytest.approx(of_counts.gain_spread)


def test_the_difference_of_two_methods_shares_the_brightness(clean_HWC):
    rng = np.random.default_rng(1)
    raw = np.reshape([0.85, 1.0, 1.15], (3, 1, 1, 1)) * clean_HWC
    raw = raw + rng.normal(0, 0.05, raw.shape)
    found = brightness.compare_channels(raw)
    x, seen = matched(raw, found.together), drift.find(found, lambda pixels: pixels)
    both = []
    for sigma in (1.0, 1.05):
        f = ndimage.gaussian_filter(x, (0, sigma, sigma, 0))
        patches = without_clean.patch_sums(without_clean.error_maps(f, x).mean(axis=0))
        drift_effect = drift.drift_effect(
            seen, f, x, np.ones(clean_HWC.shape, bool), [(0,), (1,), (2,)]
        )
        both.append(dataclasses.replace(patches, drift_effect=drift_effect))
    _, (low, high) = without_clean.difference([tuple(both)])
    alone = without_clean.estimate_psnr(both[:1]).ci95
    assert high - low < 0.3 * (alone[1] - alone[0])


@pytest.mark.parametrize('num', [2, 3, 4])
def test_however_few_captures_there_are_the_interval_holds_the_truth_as_often_as_it_says(
    clean_HWC, num
):
    # The spread of two captures is known badly: taken as it is, their interval held it in 60 %.
    if num > 2:  # of two captures the gain of a small image is not told from its offset
        clean_HWC = clean_HWC[:96, :96]
    rng = np.random.default_rng(num)
    held, draws = 0, 80
    for seed in range(draws):
        found, true = estimate(clean_HWC, rng.normal(1, 0.1, num), np.zeros(num), seed, sigma=0.02)
        held += found.ci95[0] <= true <= found.ci95[1]
    assert held >= 0.9 * draws


def test_the_drift_is_right_though_the_black_level_is_far_above_the_extent():
    captures = np.random.default_rng(0).normal(30000, 30, (3, 64, 64, 1))
    captures += 100 * np.sin(np.arange(64) / 9)[:, None] * np.reshape([0.9, 1, 1.1], (3, 1, 1, 1))
    found = brightness.compare_channels(captures)
    black, white = 29900.0, 30100.0
    of_float32 = drift.find(found, lambda v: np.float32((v - black) / (white - black)))
    exact = drift.find(found, lambda v: (v - black) / (white - black))
    np.testing.assert_allclose(of_float32.covariance_C22, exact.covariance_C22, rtol=1e-3)


def test_a_color_that_drifts_by_itself_is_seen():
    rng = np.random.default_rng(3)
    columns, rows = np.meshgrid(np.arange(96), np.arange(96))
    gray = 0.4 + 0.25 * np.sin(columns / 9) * np.cos(rows / 7) + 0.2 * (columns > 60)
    clean_HWC = np.stack([gray, 0.8 * gray, gray[::-1]], -1)
    # Red and blue move in opposite ways: all channels taken as one hardly change.
    gains = np.array([[0.85, 1, 1.15], [1.05, 1, 0.95], [0.95, 1, 1.05], [1.0, 1, 1.0]])
    raw = gains[:, None, None] * clean_HWC + rng.normal(0, 0.03, (4, *clean_HWC.shape))
    found = brightness.compare_channels(raw)
    seen = drift.find(found, lambda pixels: pixels)
    np.testing.assert_allclose(
        seen.covariance_C22[:, 0, 0], gains.var(axis=0, ddof=1) / 4, rtol=0.2, atol=1e-9
    )
    x = brightness.match(raw, found.to_match())
    f = np.stack([blur(capture) for capture in x])
    patches = without_clean.patch_sums(without_clean.error_maps(f, x).mean(axis=0))
    drift_effect = drift.drift_effect(
        seen, f, x, np.ones(clean_HWC.shape, bool), [(k,) for k in range(4)]
    )
    low, high = without_clean.estimate_psnr(
        [dataclasses.replace(patches, drift_effect=drift_effect)]
    ).ci95
    assert low < -10 * np.log10(np.mean((f - clean_HWC) ** 2)) < high


def test_over_many_scenes_that_drift_the_estimate_lies_in_its_interval(clean_HWC):
    small_HWC, rng = clean_HWC[:64, :64], np.random.default_rng(5)
    scenes = []
    for _ in range(12):
        raw = rng.normal(1, 0.15, (3, 1, 1, 1)) * small_HWC
        raw = raw + rng.normal(0, 0.05, raw.shape)
        found = brightness.compare_channels(raw)
        x, seen = matched(raw, found.together), drift.find(found, lambda pixels: pixels)
        patches = without_clean.patch_sums(without_clean.error_maps(x, x).mean(axis=0))
        if seen is not None:
            drift_effect = drift.drift_effect(
                seen, x, x, np.ones(small_HWC.shape, bool), [(0,), (1,), (2,)]
            )
            patches = dataclasses.replace(patches, drift_effect=drift_effect)
        scenes.append(patches)
    estimate = without_clean.estimate_psnr(scenes)
    assert estimate.ci95[0] <= estimate.psnr <= estimate.ci95[1]
    assert estimate.ci95[0] < estimate.ci95_noise[0]
