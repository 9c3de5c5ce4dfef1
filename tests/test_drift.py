"""Intervals where the brightness drifts: no few captures tell which one the clean image has."""

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from n2n_jax import brightness, drift, pair_metrics
from n2n_jax.data import photos


@pytest.fixture(scope='module')
def clean_HWC():
    image = photos.photos()['chelsea'][:160, :160].astype(np.float64) / 255
    return image.mean(axis=-1, keepdims=True)


def blur(image_HWC):
    return ndimage.gaussian_filter(image_HWC, (1, 1, 0))


def matched(raw, found):
    gains, offsets = (x.reshape(-1, 1, 1, 1) for x in (found.gain_N, found.offset_N))
    return (raw - offsets) / gains


def estimate(clean_HWC, gains, offsets, seed):
    """That of a blur, and what it is in truth, on captures that were brought to one brightness."""
    rng = np.random.default_rng(seed)
    gains, offsets = (np.reshape(x, (-1, 1, 1, 1)) for x in (gains, offsets))
    raw = gains * clean_HWC + offsets + rng.normal(0, 0.05, (len(gains), *clean_HWC.shape))
    found = brightness.compare(raw)
    x = matched(raw, found)
    f = np.stack([blur(capture) for capture in x])
    patches = pair_metrics.patch_sums(pair_metrics.error_maps(f, x).mean(axis=0))
    seen = drift.find(found, lambda pixels: pixels)
    if seen is not None:
        mask_HWC = np.ones(clean_HWC.shape, bool)
        lever = drift.lever(seen, f, x, mask_HWC, [(i,) for i in range(len(x))])
        patches = dataclasses.replace(patches, lever=lever)
    return pair_metrics.estimate_psnr([patches]), -10 * np.log10(np.mean((f - clean_HWC) ** 2))


def test_where_brightness_drifts_the_interval_holds_the_error_at_the_mean_brightness(clean_HWC):
    rng = np.random.default_rng(0)
    held, by_noise, draws = 0, 0, 40
    for seed in range(draws):
        found, true = estimate(clean_HWC, rng.normal(1, 0.1, 4), rng.normal(0, 0.01, 4), seed)
        held += found.ci95[0] <= true <= found.ci95[1]
        by_noise += found.ci95_noise[0] <= true <= found.ci95_noise[1]
    assert held >= 0.8 * draws  # the spread of four is itself uncertain
    assert by_noise < 0.3 * draws


def test_without_a_drift_nothing_is_added(clean_HWC):
    found, true = estimate(clean_HWC, np.ones(3), np.zeros(3), 0)
    assert found.ci95 == found.ci95_noise
    assert found.ci95[0] < true < found.ci95[1]


def test_the_units_of_the_files_do_not_matter(clean_HWC):
    noise = np.random.default_rng(0).normal(0, 0.05, (3, *clean_HWC.shape))
    raw = np.reshape([0.9, 1.0, 1.1], (3, 1, 1, 1)) * clean_HWC + noise
    of_network = drift.find(brightness.compare(raw), lambda pixels: pixels)
    counts = 4000 * raw + 500
    of_counts = drift.find(brightness.compare(counts), lambda pixels: (pixels - 500) / 4000)
    np.testing.assert_allclose(of_network.covariance_22, of_counts.covariance_22, rtol=1e-6)
    assert of_network.spread == pytest.approx(of_counts.spread)


def test_the_difference_of_two_methods_shares_the_brightness(clean_HWC):
    rng = np.random.default_rng(1)
    raw = np.reshape([0.85, 1.0, 1.15], (3, 1, 1, 1)) * clean_HWC
    raw = raw + rng.normal(0, 0.05, raw.shape)
    found = brightness.compare(raw)
    x, seen = matched(raw, found), drift.find(found, lambda pixels: pixels)
    both = []
    for sigma in (1.0, 1.05):
        f = ndimage.gaussian_filter(x, (0, sigma, sigma, 0))
        patches = pair_metrics.patch_sums(pair_metrics.error_maps(f, x).mean(axis=0))
        lever = drift.lever(seen, f, x, np.ones(clean_HWC.shape, bool), [(0,), (1,), (2,)])
        both.append(dataclasses.replace(patches, lever=lever))
    _, (low, high) = pair_metrics.difference([tuple(both)])
    alone = pair_metrics.estimate_psnr(both[:1]).ci95
    assert high - low < 0.3 * (alone[1] - alone[0])
