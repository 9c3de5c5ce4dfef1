"""What a network is shown beside the image: named planes and the level of the noise."""

import jax
import jax.numpy as jnp
import numpy as np
import optimized
import pytest
from tiny import first_variables

from n2n_jax import corruptions, models
from n2n_jax.data.sources.photos import photos
from n2n_jax.models import noise_level, planes
from n2n_jax.runtime.config import ModelConfig
from n2n_jax.runtime.errors import UserError


def test_planes_are_named_with_their_channels():
    config = ModelConfig(planes='depth:1, normal:3', noise_map=True)
    assert planes.given(config) == {'depth': 1, 'normal': 3}
    assert planes.num_given(config) == 4
    assert planes.num_shown(config) == 5


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('depth', "at 'depth': write NAME:CHANNELS"),
        ('depth:0', '1 to 8 channels'),
        ('depth:9', '1 to 8 channels'),
        ('Depth:1', 'write NAME:CHANNELS'),
        ('depth:1,depth:3', 'twice'),
        ('noise_level:1', 'model.noise_map adds'),
    ],
)
def test_a_wrong_plane_is_named(text, said):
    with pytest.raises(UserError, match=said):
        planes.given(ModelConfig(planes=text))


def test_the_answer_is_a_correction_of_the_image_and_not_of_its_planes():
    config = ModelConfig(name='tiny', planes='depth:2', noise_map=True)
    model, variables = models.build(config), first_variables(config)
    zeros = jax.tree.map(np.zeros_like, variables)
    noisy_BHWI = np.random.default_rng(0).random((2, 9, 10, 6), np.float32)
    denoised_BHWC = model.apply(zeros, noisy_BHWI)
    np.testing.assert_array_equal(denoised_BHWC, noisy_BHWI[..., :3])


def test_every_plane_reaches_the_network():
    config = ModelConfig(name='tiny', planes='depth:2', noise_map=True, zero_last=False)
    model, variables = models.build(config), first_variables(config)
    noisy_BHWI = np.random.default_rng(0).random((1, 8, 8, 6), np.float32)
    before = model.apply(variables, noisy_BHWI)
    for channel in (3, 4, 5):
        changed = noisy_BHWI.copy()
        changed[..., channel] += 0.5
        assert np.abs(model.apply(variables, changed) - before).max() > 1e-3


@pytest.mark.parametrize('sigma', [0.0, 5 / 255, 25 / 255, 75 / 255])
@pytest.mark.parametrize('channels', [1, 3])
def test_the_level_of_noise_on_a_ramp_is_found(sigma, channels):
    ramp_HW = np.add.outer(np.linspace(0, 0.5, 128), np.linspace(0, 0.5, 128))
    noise = np.random.default_rng(1).normal(0, sigma, (2, 128, 128, channels))
    found_B = jax.jit(noise_level.estimate)((ramp_HW[None, ..., None] + noise).astype(np.float32))
    np.testing.assert_allclose(found_B, sigma, rtol=0.04, atol=1e-3)


_estimate = optimized.jit(noise_level.estimate)


def photographs(*, gray):
    clean_BHWC = np.stack([image[:300, :300] for image in photos().values()]) / np.float32(255)
    return clean_BHWC.mean(axis=-1, keepdims=True) if gray else clean_BHWC


@pytest.mark.parametrize('gray', [True, pytest.param(False, marks=pytest.mark.slow)])
def test_the_level_of_noise_on_photographs_is_found_within_a_tenth(gray):
    clean_BHWC = photographs(gray=gray)
    rng = np.random.default_rng(4)
    for sigma in (5, 10, 25, 50):
        noise = rng.normal(0, sigma / 255, clean_BHWC.shape)
        found_B = _estimate((clean_BHWC + noise).astype(np.float32))
        np.testing.assert_allclose(found_B * 255, sigma, rtol=0.1)


@pytest.mark.parametrize('side', [16, 24])
def test_the_level_of_noise_of_a_small_image_is_right_on_average(side):
    noise_BHWC = np.random.default_rng(5).normal(0, 0.1, (16, side, side, 1)).astype(np.float32)
    assert np.mean(noise_level.estimate(noise_BHWC)) == pytest.approx(0.1, rel=0.06)


def test_of_noise_that_depends_on_the_signal_the_root_of_its_mean_square_is_found():
    clean_BHWC = photographs(gray=True)
    noisy_BHWC, _ = jax.jit(corruptions.parse('poisson:30').sample)(jax.random.key(0), clean_BHWC)
    found_B = _estimate(noisy_BHWC)
    np.testing.assert_allclose(found_B, noise_level.rms(noisy_BHWC - clean_BHWC), rtol=0.15)


def test_an_edge_hardly_moves_the_level():
    image_BHWC = np.zeros((1, 64, 64, 1), np.float32)
    image_BHWC[:, :, 30:] = 1
    noise = np.random.default_rng(2).normal(0, 0.05, image_BHWC.shape)
    found_B = noise_level.estimate(jnp.asarray(image_BHWC + noise, jnp.float32))
    np.testing.assert_allclose(found_B, 0.05, rtol=0.06)


def test_the_level_of_known_noise_is_its_root_mean_square():
    noise = np.random.default_rng(3).normal(0, 0.1, (3, 16, 16, 3)).astype(np.float32)
    np.testing.assert_allclose(
        noise_level.rms(noise), np.sqrt(np.mean(noise**2, axis=(1, 2, 3))), rtol=1e-5
    )


def test_planes_do_not_change_how_a_resnet_normalizes_the_image():
    # Gray and two planes are no color image, and color with a plane is still normalized.
    for channels, plane in ((1, 'depth:2'), (3, 'depth:1')):
        config = ModelConfig(name='resnet34:norm=batch', channels=channels, planes=plane)
        shapes = jax.eval_shape(lambda key, c=config: models.init(c, key), jax.random.key(0))
        kernel = shapes['params']['network']['encoder']['conv1']['kernel']
        assert kernel.shape[2] == 3 + planes.num_given(config)  # gray is repeated to three
