"""Correlated noise is detected in single images, and independent noise is not flagged."""

import numpy as np
import pytest
from scipy import ndimage

from n2n_jax.captures import single_images
from n2n_jax.captures.measure.noise_correlation import (
    CORRELATED,
    INDEPENDENT,
    UNCLEAR,
    neighbor_correlation,
)
from n2n_jax.captures.scene_captures import SceneCaptures
from n2n_jax.data.sources import photos
from n2n_jax.data.sources.dead_leaves import dead_leaves_image
from n2n_jax.runtime.config import CapturesConfig
from n2n_jax.runtime.errors import UserError


def spots():
    """Draws fluorescent beads as under a microscope, 256x256."""
    rng = np.random.default_rng(7)
    image = np.zeros((256, 256))
    image[tuple(rng.integers(0, 256, (2, 120)))] = rng.random(120)
    image = ndimage.gaussian_filter(image, 1.5)
    return 10 + 200 * image / image.max()


def photo(name):
    image = photos.photos()[name][:, :, 1].astype(np.float64)
    return image[:512, :512]


SCENES = {
    'spots': spots(),
    'astronaut': photo('astronaut'),
    'coffee': photo('coffee'),
    'leaves': dead_leaves_image(3, 0, 256)[..., 1].astype(np.float64),
}


def noise(shape, *, blur=0.0, seed=0):
    drawn = np.random.default_rng(seed).normal(size=shape)
    if blur:
        drawn = ndimage.gaussian_filter(drawn, blur, mode='wrap')
    return drawn / drawn.std()


def measured(image):
    return neighbor_correlation(image[..., None])


@pytest.mark.parametrize('scene', SCENES)
@pytest.mark.parametrize('sigma', [10, 25])
def test_independent_noise_is_called_independent(scene, sigma):
    clean = SCENES[scene]
    found = measured(clean + sigma * noise(clean.shape))
    assert found.verdict == INDEPENDENT
    assert abs(found.value) < 0.12
    bytes_ = np.clip(np.rint(clean + sigma * noise(clean.shape, seed=1)), 0, 255).astype(np.uint8)
    assert measured(bytes_).verdict == INDEPENDENT


@pytest.mark.parametrize('scene', SCENES)
def test_photon_noise_is_independent(scene):
    counts = np.random.default_rng(0).poisson(SCENES[scene] / 255 * 30)
    assert measured(counts).verdict == INDEPENDENT


@pytest.mark.parametrize('scene', SCENES)
@pytest.mark.parametrize(
    ('blur', 'low', 'high'), [(0.5, 0.16, 0.35), (0.7, 0.35, 0.55), (1, 0.5, 0.7)]
)
def test_blurred_noise_is_found(scene, blur, low, high):
    clean = SCENES[scene]
    found = measured(np.clip(np.rint(clean + 15 * noise(clean.shape, blur=blur)), 0, 255))
    assert found.verdict != INDEPENDENT
    assert low < found.value < high
    if scene in ('spots', 'astronaut'):  # these have areas without texture
        assert found.verdict == CORRELATED


def test_rows_that_share_noise_and_sharpened_noise_are_found():
    clean = SCENES['spots']
    rows = noise((256, 1)) * 10 + 2 * noise(clean.shape)
    assert measured(clean + rows).verdict == CORRELATED
    around = np.array([[0, -0.3, 0], [-0.3, 2.2, -0.3], [0, -0.3, 0]])
    sharpened = ndimage.convolve(noise(clean.shape), around, mode='wrap')
    found = measured(clean + 5 * sharpened)
    assert found.verdict == CORRELATED
    assert -0.3 < found.value < -0.15  # -0.25 with the lowest frequencies


def test_texture_without_noise_is_not_called_correlated():
    assert measured(photo('coffee')).verdict != CORRELATED
    assert measured(SCENES['leaves']).verdict == UNCLEAR


def test_gain_offset_and_type_do_not_matter():
    clean = SCENES['spots'] + 15 * noise((256, 256), blur=1)
    found = measured(clean)
    scaled = measured((1000 + 3e-3 * clean).astype(np.float64))
    assert scaled.verdict == found.verdict
    assert scaled.value == pytest.approx(found.value, abs=1e-6)


@pytest.mark.parametrize('image', [np.zeros((64, 300)), noise((40, 40)), np.zeros((3, 3))])
def test_too_little_to_tell(image):
    found = measured(image)
    assert found.verdict == UNCLEAR
    assert np.isnan(found.value)


def scene(name, image):
    return SceneCaptures(name, image[None, ..., None])


def test_correlated_noise_is_refused_with_a_way_out():
    clean = SCENES['spots']
    images = [
        scene('fine.png', clean + 10 * noise(clean.shape)),
        scene('blurred.png', clean + 10 * noise(clean.shape, blur=1)),
    ]
    config = CapturesConfig(paths='x', single=True)
    with pytest.raises(UserError, match=r'in 1 of 2 images: blurred.png \(\+0.\d\d\).*two capt'):
        single_images.check(images, config, crop=64)
    assert single_images.check(images[:1], config, crop=64) == []
    allowed = CapturesConfig(paths='x', single=True, allow_correlated_noise=True)
    (warning,) = single_images.check(images, allowed, crop=64)
    assert 'It will remain' in warning
    (warning,) = single_images.check([scene('tiny.png', clean[:40, :40])], config, crop=32)
    assert 'cannot be determined in 1 of 1 images' in warning
    with pytest.raises(UserError, match='must be even'):
        single_images.check(images, config, crop=33)
    with pytest.raises(UserError, match=r'larger than fine.png \(256x256\)'):
        single_images.check(images, config, crop=512)
