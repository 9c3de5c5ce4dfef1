"""The kind of noise of one image, on the built-in photographs."""

import jax
import numpy as np
import optimized
import pytest

from n2n_jax import corruptions
from n2n_jax.captures.measure import image_noise
from n2n_jax.data.sources.photos import photos
from n2n_jax.models import noise_level

SIDE = 300  # of the parts of the photographs


@pytest.fixture(scope='module', autouse=True)
def _optimized():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_noise, '_estimate', optimized.jit(noise_level.estimate))
        yield


@pytest.fixture(scope='module')
def drawn():
    """Draws noise on parts of the photographs."""
    parts = [np.float32(image[:SIDE, :SIDE]) / 255 for image in list(photos().values())[::2]]

    def draw(spec):
        sample = jax.jit(corruptions.parse(spec).sample)
        return [
            np.asarray(sample(jax.random.key(i), part_HWC[None]).image_BHWC)[0]
            for i, part_HWC in enumerate(parts)
        ]

    return draw


@pytest.mark.parametrize(
    ('spec', 'kinds', 'most_others'),
    [
        ('gaussian:15+quantize:8', {'independent'}, 0),
        pytest.param('gaussian:50+quantize:8', {'independent'}, 0, marks=pytest.mark.slow),
        pytest.param('poisson:30', {'signal-dependent'}, 1, marks=pytest.mark.slow),
        ('brown:15,bandwidth=1+quantize:8', {'shared'}, 0),
        ('gaussian:20+jpeg:95', {'shared'}, 0),  # which holds color at half of the resolution
        pytest.param('gaussian:20+jpeg:95,chroma=444', {'independent'}, 0, marks=pytest.mark.slow),
        ('impulse:0.05', {'impulses'}, 0),
        pytest.param('salt_pepper:0.05', {'impulses'}, 0, marks=pytest.mark.slow),
        # One shows the noise of its camera; in one, fine texture looks like shared noise.
        ('clip', {'none'}, 2),
        pytest.param(
            *('gaussian:5+quantize:8', {'independent', 'signal-dependent'}, 1),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_kind_of_noise_is_found(drawn, spec, kinds, most_others):
    found = [image_noise.measure(image_HWC).kind for image_HWC in drawn(spec)]
    assert sum(kind not in kinds for kind in found) <= most_others, found


def test_the_level_is_that_of_the_noise(drawn):
    for image_HWC in drawn('gaussian:10'):
        assert image_noise.measure(image_HWC).level * 255 == pytest.approx(10, rel=0.1)


def test_brightness_decides_the_level_of_poisson_noise(drawn):
    rng = np.random.default_rng(0)
    ramp_HWC = np.tile(np.linspace(0.05, 0.95, 400), (400, 1))[..., None]
    poisson_HWC = rng.poisson(ramp_HWC * 100) / 100
    # Variances of the darkest and the brightest three of eight parts are as 0.219 to 0.781.
    assert image_noise.measure(poisson_HWC).ratio == pytest.approx(np.sqrt(0.781 / 0.219), rel=0.1)
    even_HWC = ramp_HWC + rng.normal(0, 0.1, ramp_HWC.shape)
    assert image_noise.measure(even_HWC).ratio < 1.15


@pytest.mark.parametrize('shape', [(1, 1, 1), (8, 8, 3), (1, 400, 3), (64, 64, 1)])
def test_small_and_flat_images_are_measured(shape):
    flat_HWC = np.full(shape, 0.3, np.float32)
    assert image_noise.measure(flat_HWC).kind == 'none'
    noisy_HWC = flat_HWC + np.random.default_rng(0).normal(0, 0.1, shape)
    found = image_noise.measure(noisy_HWC)
    assert found.kind in ('none', 'independent')
    assert min(shape[:2]) < 3 or found.kind == 'independent'
