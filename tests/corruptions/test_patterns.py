"""Noise with a pattern: brown, rows and columns, fixed patterns, salt and pepper.

B batch, H height, W width, C channels.
"""

import functools

import jax
import numpy as np
import optimized
import pytest

from n2n_jax import corruptions


@functools.cache
def sampler(spec):
    return optimized.jit(corruptions.parse(spec).sample)


def noise_of(spec, shape, *, seed=0, value=0.5):
    noisy, mask = sampler(spec)(jax.random.key(seed), np.full(shape, value, np.float32))
    assert mask is None
    return np.asarray(noisy, np.float64) - value


@pytest.fixture(scope='module')
def brown():
    return noise_of('brown:50,bandwidth=3', (256, 64, 64, 1)) * 255


def test_brown_noise_is_correlated_over_its_bandwidth(brown):
    for distance in (1, 3, 6, 12):
        want = np.exp(-((distance / 3) ** 2) / 4)
        along = (brown[:, :, distance:] * brown[:, :, :-distance]).mean() / 50**2
        down = (brown[:, distance:] * brown[:, :-distance]).mean() / 50**2
        assert along == pytest.approx(want, abs=0.04)
        assert down == pytest.approx(want, abs=0.04)


def test_brown_noise_is_as_strong_at_the_borders_as_in_the_middle(brown):
    middle = brown[:, 16:48, 16:48].std()
    assert middle == pytest.approx(50, rel=0.04)
    edges = (brown[:, 0], brown[:, -1], brown[:, :, 0], brown[:, :, -1])
    for edge in edges:  # some 2000 independent values each
        assert edge.std() == pytest.approx(50, rel=0.08)
    # One value of each image: a standard error of 1 / sqrt(2 * 4 * 256).
    corners = brown[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.std() == pytest.approx(50, rel=0.09)


def test_channels_of_brown_noise_are_independent():
    noise = noise_of('brown:50', (16, 64, 64, 3))
    assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 0.15


def test_brown_noise_without_bandwidth_is_white():
    noise = noise_of('brown:25,bandwidth=0', (1, 128, 128, 1))
    assert noise.std() * 255 == pytest.approx(25, rel=0.05)
    assert abs(np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1]) < 0.04


@pytest.mark.parametrize(('spec', 'axis'), [('rows:10', 1), ('rows:10,axis=columns', 2)])
def test_all_values_of_a_row_share_an_offset_and_rows_are_independent(spec, axis):
    noise = np.moveaxis(noise_of(spec, (4, 512, 512, 3)), axis, 1)
    offsets = noise[:, :, 0, 0]
    np.testing.assert_array_equal(noise, np.broadcast_to(offsets[:, :, None, None], noise.shape))
    neighbors = np.corrcoef(offsets[:, 1:].ravel(), offsets[:, :-1].ravel())[0, 1]
    assert abs(neighbors) < 4 / np.sqrt(offsets.size)


def test_a_fixed_pattern_is_the_same_in_every_capture_of_a_sensor():
    noise = noise_of('fixed_pattern:10', (2, 96, 64, 3))
    np.testing.assert_array_equal(noise[0], noise[1])
    np.testing.assert_array_equal(noise_of('fixed_pattern:10', (2, 96, 64, 3), seed=1), noise)
    assert noise.std() * 255 == pytest.approx(10, rel=0.05)
    other = noise_of('fixed_pattern:10,sensor=1', (1, 96, 64, 3))
    assert abs(np.corrcoef(noise[0].ravel(), other.ravel())[0, 1]) < 0.03
    # A smaller image shows a part of the same sensor.
    part = noise_of('fixed_pattern:10', (1, 32, 48, 3))
    np.testing.assert_allclose(part[0], noise[0, :32, :48], atol=1e-6)


@pytest.mark.parametrize('white', [0.5, 0.2])
@pytest.mark.parametrize('value', [0.0, 128 / 255, 1.0])
def test_salt_and_pepper_makes_whole_pixels_black_or_white(value, white):
    shape = (4, 128, 128, 3)
    noise = noise_of(f'salt_pepper:0.4,white={white}', shape, value=value)
    noisy = (noise + np.float32(value)).round(6)
    assert (noisy == noisy[..., :1]).all()
    shares = {0.0: 0.4 * (1 - white), 1.0: 0.4 * white}
    clean = float(np.float32(value).round(6))
    shares[clean] = shares.get(clean, 0.0) + 0.6
    for level, share in shares.items():
        found = np.isclose(noisy[..., 0], level, atol=1e-5).mean()
        assert found == pytest.approx(share, abs=4 * np.sqrt(0.25 / (4 * 128 * 128)))
    assert sum(shares.values()) == pytest.approx(1)
