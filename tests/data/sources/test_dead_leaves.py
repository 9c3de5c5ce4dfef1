"""H height, W width, C channels, N images."""

import logging
from pathlib import Path

import numpy as np
import pytest

from n2n_jax.data.sources import dead_leaves as module
from n2n_jax.data.sources.dead_leaves import dead_leaves, dead_leaves_image
from n2n_jax.runtime.cache import default_cache_dir
from n2n_jax.runtime.errors import UserError


@pytest.fixture(scope='module')
def luminance_NHW():
    image_NHWC = np.stack([dead_leaves_image(7, i, 128) for i in range(16)])
    return image_NHWC.astype(np.float32) @ np.float32([0.299, 0.587, 0.114]) / 255


def test_an_image_is_a_pure_function_of_seed_and_index():
    image_HWC = dead_leaves_image(1, 2, 48)
    assert image_HWC.shape == (48, 48, 3)
    assert image_HWC.dtype == np.uint8
    np.testing.assert_array_equal(image_HWC, dead_leaves_image(1, 2, 48))
    for other in ((2, 2), (1, 3), (2, 1)):
        assert np.mean(image_HWC != dead_leaves_image(*other, 48)) > 0.5


def test_images_differ_in_brightness_and_contrast_like_photographs(luminance_NHW):
    mean_N, std_N = luminance_NHW.mean((1, 2)), luminance_NHW.std((1, 2))
    assert 0.35 < mean_N.mean() < 0.55
    assert 0.07 < mean_N.std() < 0.25
    assert 0.12 < std_N.mean() < 0.25
    assert np.mean((luminance_NHW < 0.01) | (luminance_NHW > 0.99)) < 0.1


def test_power_spectrum_falls_as_in_photographs(luminance_NHW):
    size = luminance_NHW.shape[1]
    window_HW = np.hanning(size)[:, None] * np.hanning(size)
    centered_NHW = luminance_NHW - luminance_NHW.mean((1, 2), keepdims=True)
    power_HW = np.mean(np.abs(np.fft.fft2(centered_NHW * window_HW)) ** 2, axis=0)
    fy, fx = np.meshgrid(np.fft.fftfreq(size, 1 / size), np.fft.fftfreq(size, 1 / size))
    ring_HW = np.hypot(fy, fx).astype(int)
    power_R = np.bincount(ring_HW.ravel(), power_HW.ravel()) / np.bincount(ring_HW.ravel())
    ring_R = np.arange(3, size // 3)
    slope = np.polyfit(np.log(ring_R), np.log(power_R[ring_R]), 1)[0]
    assert -2.9 < slope < -1.8


def test_gradients_are_heavy_tailed(luminance_NHW):
    gradient = np.diff(luminance_NHW, axis=2).reshape(len(luminance_NHW), -1)
    kurtosis_N = np.mean(gradient**4, axis=1) / np.mean(gradient**2, axis=1) ** 2
    assert np.median(kurtosis_N) > 8  # Gaussian: 3


def test_images_have_colors_that_agree_in_luminance():
    correlation_N = []
    for index in range(8):
        image_HWC = dead_leaves_image(3, index, 64)
        assert len(np.unique(image_HWC.reshape(-1, 3), axis=0)) > 500
        red, green, _ = np.moveaxis(image_HWC.reshape(-1, 3).astype(float), 1, 0)
        assert np.any(red != green)
        correlation_N.append(np.corrcoef(red, green)[0, 1])
    assert 0.8 < np.mean(correlation_N) < 0.995


@pytest.fixture
def draws(monkeypatch):
    """The indices drawn so far."""
    drawn = []
    draw = module.dead_leaves_image

    def recorded(seed, index, size):
        drawn.append(index)
        return draw(seed, index, size)

    monkeypatch.setattr(module, 'dead_leaves_image', recorded)
    return drawn


def test_the_set_holds_the_images_in_order_and_reports_progress(tmp_path):
    calls = []
    image_NHWC = dead_leaves(
        3,
        size=32,
        seed=5,
        cache_dir=tmp_path,
        progress=lambda done, all_: calls.append((done, all_)),
    )
    np.testing.assert_array_equal(image_NHWC, [dead_leaves_image(5, i, 32) for i in range(3)])
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_a_second_call_reads_the_same_bytes(tmp_path, draws):
    first_NHWC = dead_leaves(2, size=32, cache_dir=tmp_path)
    second_NHWC = dead_leaves(2, size=32, cache_dir=tmp_path)
    assert sorted(draws) == [0, 1]
    np.testing.assert_array_equal(first_NHWC, second_NHWC)
    assert len(list(tmp_path.iterdir())) == 1  # and no temporary file


def test_every_argument_and_the_version_has_its_own_file(tmp_path, monkeypatch):
    for kwargs in ({}, {'seed': 1}, {'size': 33}):
        dead_leaves(1, **{'size': 32, **kwargs}, cache_dir=tmp_path)
    dead_leaves(2, size=32, cache_dir=tmp_path)
    monkeypatch.setattr(module, 'GENERATOR_VERSION', -1)
    dead_leaves(1, size=32, cache_dir=tmp_path)
    assert len(list(tmp_path.iterdir())) == 5


@pytest.mark.parametrize('damage', ['truncated', 'empty', 'text', 'shape', 'pickle'])
def test_a_damaged_file_is_replaced(tmp_path, draws, caplog, damage):
    first_NHWC = dead_leaves(2, size=32, cache_dir=tmp_path)
    (file,) = tmp_path.iterdir()
    if damage == 'shape':
        np.save(file, first_NHWC[:1])
    elif damage == 'pickle':
        np.save(file, np.array([{}], object), allow_pickle=True)
    else:
        content = {'truncated': file.read_bytes()[:-1], 'empty': b'', 'text': b'not an array'}
        file.write_bytes(content[damage])
    with caplog.at_level(logging.WARNING):
        again_NHWC = dead_leaves(2, size=32, cache_dir=tmp_path)
    np.testing.assert_array_equal(first_NHWC, again_NHWC)
    assert str(file) in caplog.text
    assert len(draws) == 4
    dead_leaves(2, size=32, cache_dir=tmp_path)
    assert len(draws) == 4


def test_a_cache_that_cannot_be_written_only_means_no_cache(tmp_path, caplog):
    in_the_way = tmp_path / 'file'
    in_the_way.write_text('')
    with caplog.at_level(logging.WARNING):
        image_NHWC = dead_leaves(1, size=32, cache_dir=in_the_way / 'cache')
    np.testing.assert_array_equal(image_NHWC[0], dead_leaves_image(0, 0, 32))
    assert len(caplog.records) == 1


def test_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.delenv('N2N_JAX_CACHE', raising=False)
    monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
    assert default_cache_dir() == tmp_path / '.cache' / 'n2n_jax'
    monkeypatch.setenv('XDG_CACHE_HOME', '/x')
    assert default_cache_dir() == Path('/x/n2n_jax')
    monkeypatch.setenv('N2N_JAX_CACHE', '/mine')
    assert default_cache_dir() == Path('/mine')


@pytest.mark.parametrize('wrong', [{'num_images': 0}, {'size': 8}, {'seed': -1}])
def test_arguments_that_are_too_small_are_named(wrong, tmp_path):
    arguments = {'num_images': 1, 'size': 32, 'seed': 0, **wrong}
    with pytest.raises(UserError, match=next(iter(wrong))):
        dead_leaves(**arguments, cache_dir=tmp_path)
