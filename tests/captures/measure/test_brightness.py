"""S scene, N captures, H height, W width, C channels."""

import numpy as np
import pytest

from n2n_jax.captures.measure import brightness
from n2n_jax.data.sources import photos


def captures_of(scene_HWC, gains, offsets, *, noise, seed):
    rng = np.random.default_rng(seed)
    return np.stack(
        [
            gain * scene_HWC + offset + noise * rng.standard_normal(scene_HWC.shape)
            for gain, offset in zip(gains, offsets, strict=True)
        ]
    )


@pytest.fixture(scope='module')
def scene_HWC():
    return photos.photos()['chelsea'][:256, :256, :1].astype(float)


@pytest.mark.parametrize('gains', [(1.0, 1.03), (1.0, 1.03, 1.0), (0.9, 1.2, 1.0, 0.95)])
def test_gains_are_found_to_half_a_percent(gains, scene_HWC):
    offsets = np.linspace(-2, 3, len(gains))
    x = captures_of(scene_HWC, gains, offsets, noise=10, seed=0)
    found = brightness.compare(x)
    mean_gain, mean_offset = np.mean(gains), np.mean(offsets)
    expected = np.array(gains) / mean_gain
    np.testing.assert_allclose(found.gain_N, expected, atol=0.005)
    # x_i = g_i s + o_i, and s = (m - mean offset) / mean gain.
    np.testing.assert_allclose(found.offset_N, offsets - expected * mean_offset, atol=0.8)
    assert found.differs


def test_strong_noise_does_not_pull_the_gain_to_one(scene_HWC):
    gains = np.array([0.8, 1.0, 1.2])
    x = captures_of(scene_HWC, gains, (0, 0, 0), noise=100, seed=1)  # four times the contrast
    slope = np.polyfit(x[0].ravel(), x[2].ravel(), 1)[0]
    assert slope < 0.5  # of ordinary least squares on noisy values; the true one is 1.5
    np.testing.assert_allclose(brightness.compare(x).gain_N, gains, atol=0.05)


@pytest.mark.parametrize('num', [2, 3, 4])
def test_equal_captures_raise_no_alarm(num, scene_HWC):
    alarms = 0
    for seed in range(40):
        part_HWC = scene_HWC[seed : seed + 128, 2 * seed : 2 * seed + 128]
        noise = (3, 10, 30)[seed % 3]
        x = captures_of(part_HWC, [1] * num, [0] * num, noise=noise, seed=seed)
        alarms += brightness.compare(x).differs
    assert alarms <= 2


@pytest.mark.parametrize('num', [2, 4])
def test_a_flat_scene_gives_offsets_but_no_gain(num):
    offsets = np.array([-1.0, 1.0, 0.0, 0.0])[:num]
    x = captures_of(np.full((96, 96, 1), 50.0), [1] * num, offsets, noise=5, seed=2)
    found = brightness.compare(x)
    assert (found.gain_N == 1).all()
    assert np.isinf(found.gain_error_N).all()
    np.testing.assert_allclose(found.offset_N, offsets, atol=0.2)
    assert found.differs


def test_matched_captures_differ_only_by_noise(scene_HWC):
    x = captures_of(scene_HWC, (0.85, 1.0, 1.1), (5, 0, -3), noise=4, seed=3)
    matched = brightness.match(x, [brightness.compare(x)])
    assert matched.dtype == np.float32
    residual = matched[0] - matched[2]
    assert abs(residual.mean()) < 0.1
    assert abs(np.corrcoef(residual.ravel(), scene_HWC.ravel())[0, 1]) < 0.02


@pytest.fixture(scope='module')
def color_HWC():
    return photos.photos()['chelsea'][:192, :192].astype(float) * 0.8 + 20


def drifted(color_HWC, gain_C, *, num=3, seed=0):
    rng = np.random.default_rng(seed)
    x = np.stack([color_HWC + 8 * rng.standard_normal(color_HWC.shape) for _ in range(num)])
    x[1] *= gain_C
    return x


@pytest.mark.parametrize('num', [2, 4])
def test_a_single_drifting_color_is_matched_separately(num, color_HWC):
    x = drifted(color_HWC, (1, 1, 1.13), num=num)
    found = brightness.compare_channels(x)
    assert [one.differs for one in found.channels] == [False, False, True]
    matched = brightness.match(x, found.to_match())
    np.testing.assert_array_equal(matched[..., :2], x[..., :2].astype(np.float32))
    means_N = matched[..., 2].mean(axis=(1, 2))
    assert np.ptp(means_N) < 0.1  # 10 before, and 5 if all colors shared a gain


def test_a_drift_too_small_for_one_color_is_matched_in_all(color_HWC):
    noise = [np.random.default_rng(90 + k).standard_normal(color_HWC.shape) for k in range(3)]
    x = color_HWC + 26 * np.stack(noise)
    x[1] += 0.55
    found = brightness.compare_channels(x)
    assert not any(one.differs for one in found.channels)
    assert found.together.differs
    assert set(map(id, found.to_match())) == {id(found.together)}


def test_more_channels_do_not_raise_more_alarms():
    alarms = 0
    for seed in range(30):
        x = np.random.default_rng(seed).normal(100, 5, (2, 48, 48, 6))
        alarms += brightness.compare_channels(x).differs
    assert alarms <= 1


def test_a_large_offset_does_not_change_the_gain(scene_HWC):
    x = captures_of(scene_HWC, (1.0, 1.05, 1.0), (0, 0, 0), noise=5, seed=4)
    plain, far = brightness.compare(x), brightness.compare(x + 4e9)
    np.testing.assert_allclose(far.gain_N, plain.gain_N, atol=1e-6)
    assert far.differs
