"""Samplers: mean, variance, independence, levels, spec strings."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optimized
import pytest

from n2n_jax import corruptions
from n2n_jax.corruptions.base import Corrupted
from n2n_jax.runtime.errors import UserError

SIDE = 256


def flat(value, *, n=4, channels=3):
    return jnp.full((n, SIDE, SIDE, channels), value, jnp.float32)


@functools.cache
def sampler(corruption):
    """Draws from one stage, compiled once for all its levels."""

    def sample(key, clean_BHWC, level):
        keys_B = jax.random.split(key, clean_BHWC.shape[0])
        return Corrupted(*jax.vmap(corruption.draw, (0, 0, None))(keys_B, clean_BHWC, level))

    return optimized.jit(sample)


@functools.cache
def sampler_of_spec(spec):
    return optimized.jit(corruptions.parse(spec).sample)


def draw(spec, clean_BHWC, seed=0):
    key, (stage, *more) = jax.random.key(seed), corruptions.parse(spec).stages
    if more or stage.low != stage.high:
        return sampler_of_spec(spec)(key, clean_BHWC)
    return sampler(stage.corruption)(key, clean_BHWC, jnp.float32(stage.low))


# How many values take part in one draw, where noise is correlated.
CORRELATED = {'brown:25': 4 * np.pi * 2**2, 'rows:10': SIDE * 3, 'rows:10,axis=columns': SIDE * 3}


@pytest.mark.parametrize('value', [0.0, 128 / 255, 1.0])
@pytest.mark.parametrize(
    ('spec', 'variance'),
    [
        ('gaussian:25', lambda x: (25 / 255) ** 2),
        ('gaussian:50', lambda x: (50 / 255) ** 2),
        ('poisson:30', lambda x: x / 30),
        ('poisson:0.5', lambda x: x / 0.5),
        ('poisson:250', lambda x: x / 250),
        ('poisson_gaussian:30,read=10', lambda x: x / 30 + (10 / 255) ** 2),
        ('speckle:0.2', lambda x: (0.2 * x) ** 2),
        ('brown:25', lambda x: (25 / 255) ** 2),
        ('rows:10', lambda x: (10 / 255) ** 2),
        ('rows:10,axis=columns', lambda x: (10 / 255) ** 2),
    ],
)
def test_zero_mean_noise_has_the_clean_mean_and_its_variance(spec, variance, value):
    noisy, mask = draw(spec, flat(value))
    noisy = np.asarray(noisy, np.float64)
    want, num = variance(value), noisy.size / CORRELATED.get(spec, 1)
    assert 'mean' in corruptions.parse(spec).clean_statistics.observed
    assert abs(noisy.mean() - value) <= 4 * np.sqrt(want / num) + 1e-7
    # The standard error of a variance is about sqrt(2 / n) of it, more for skewed Poisson counts.
    assert noisy.var() == pytest.approx(want, rel=max(0.02, 4 * np.sqrt(2 / num)), abs=1e-12)
    assert mask is None


def test_poisson_counts_are_whole():
    noisy = np.asarray(draw('poisson:30', flat(0.3)).image_BHWC) * 30
    np.testing.assert_allclose(noisy, np.rint(noisy), atol=1e-4)


@pytest.mark.parametrize(
    'spec',
    [
        *('gaussian:25', 'poisson:30', 'bernoulli:0.5', 'impulse:0.5', 'salt_pepper:0.4'),
        *('speckle:0.2', 'poisson_gaussian:30,read=10', 'brown:25', 'rows:10'),
    ],
)
def test_two_captures_are_independent(spec):
    clean = flat(0.5)
    a, b = (np.asarray(draw(spec, clean, seed).image_BHWC).ravel() for seed in (1, 2))
    num = a.size / CORRELATED.get(spec, 3)  # a third: pixels, not values
    assert abs(np.corrcoef(a, b)[0, 1]) < 4 / np.sqrt(num)


# Text: see test_keys_place_text_independently.
@pytest.mark.parametrize('spec', ['gaussian:25', 'poisson:30', 'impulse:0.5'])
def test_images_of_a_batch_are_independent(spec):
    noisy = np.asarray(draw(spec, flat(0.5)).image_BHWC)
    assert abs(np.corrcoef(noisy[0].ravel(), noisy[1].ravel())[0, 1]) < 0.05


def test_neighbors_and_channels_are_independent():
    noise = np.asarray(draw('gaussian:25', flat(0.5)).image_BHWC) - 0.5
    limit = 4 / np.sqrt(noise.size / 3)
    assert abs(np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1]) < limit
    assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 2 * limit


def test_bernoulli_drops_whole_pixels_and_returns_a_mask():
    noisy, mask = draw('bernoulli:0.3', flat(0.8))
    noisy, mask = np.asarray(noisy), np.asarray(mask)
    assert set(np.unique(mask)) == {0.0, 1.0}
    assert (mask == mask[..., :1]).all()
    np.testing.assert_array_equal(noisy, np.float32(0.8) * mask)
    assert mask[..., 0].mean() == pytest.approx(0.7, abs=4 * np.sqrt(0.21 / mask[..., 0].size))


def test_impulse_replaces_whole_pixels_by_uniform_colors():
    noisy = np.asarray(draw('impulse:0.7', flat(2.0)).image_BHWC)  # 2: no color is mistaken for it
    replaced = noisy != 2.0
    assert (replaced == replaced[..., :1]).all()
    share = replaced[..., 0].mean()
    assert share == pytest.approx(0.7, abs=4 * np.sqrt(0.21 / replaced[..., 0].size))
    colors = noisy[replaced[..., 0]]
    assert colors.mean() == pytest.approx(0.5, abs=0.005)
    assert colors.var() == pytest.approx(1 / 12, rel=0.02)
    assert abs(np.corrcoef(colors[:, 0], colors[:, 1])[0, 1]) < 0.01


def test_nothing_is_clipped_or_rounded():
    noisy = np.asarray(draw('gaussian:25', flat(1.0)).image_BHWC)
    assert (noisy > 1).mean() == pytest.approx(0.5, abs=0.01)
    assert len(np.unique(noisy)) > noisy.size // 20


def test_clipping_on_request_shows_the_bias_that_we_avoid():
    black = np.asarray(draw('gaussian:25+clip', flat(0.0)).image_BHWC)
    assert black.min() == 0
    assert black.mean() * 255 == pytest.approx(25 / np.sqrt(2 * np.pi), rel=0.02)  # not 0
    rounded = np.asarray(draw('gaussian:25+quantize:8', flat(0.5)).image_BHWC) * 255
    np.testing.assert_allclose(rounded, np.rint(rounded), atol=1e-4)


def test_the_british_spelling_of_quantize_is_the_same_noise():
    specs = ['gaussian:25+quantize:6', 'gaussian:25+quantise:6']
    np.testing.assert_array_equal(*(draw(spec, flat(0.5, n=1)).image_BHWC for spec in specs))
    # The name is in the protocol, by which rows of early runs are told apart.
    assert corruptions.parse(specs[1]).stages[1].spec == 'quantise:6'
    with pytest.raises(UserError, match="Did you mean 'quantize'"):
        corruptions.parse('quantisize:8')


@pytest.mark.slow
def test_a_share_of_the_images_is_as_files_of_8_bits_hold_them():
    noisy = np.asarray(draw('gaussian:25+stored:0.25', flat(0.02, n=400)).image_BHWC)
    steps = noisy * 255
    rounded_B = (np.abs(steps - np.round(steps)) < 1e-3).all(axis=(1, 2, 3))
    assert rounded_B.mean() == pytest.approx(0.25, abs=4 * np.sqrt(0.25 * 0.75 / 400))
    assert noisy[rounded_B].min() == 0
    assert (noisy[~rounded_B].min(axis=(1, 2, 3)) < 0).all()


def test_a_range_draws_one_level_per_image():
    clean = jnp.full((256, 32, 32, 1), 0.5)
    sigmas = np.asarray(draw('gaussian:0-50', clean).image_BHWC).std(axis=(1, 2, 3)) * 255
    assert sigmas.mean() == pytest.approx(25, abs=4 * 50 / np.sqrt(12 * 256))
    assert sigmas.std() == pytest.approx(50 / np.sqrt(12), rel=0.15)
    assert sigmas.max() < 53
    again = np.asarray(draw('gaussian:0-50', clean, seed=1).image_BHWC).std(axis=(1, 2, 3)) * 255
    assert abs(np.corrcoef(sigmas, again)[0, 1]) < 0.25  # input and target levels are independent


@pytest.mark.parametrize(
    'spec',
    [
        *('gaussian:0-50', 'brown:0-50', 'pixelated:2-8'),
        # Slow to compile, or drawn as Gaussian noise is.
        *(
            pytest.param(spec, marks=pytest.mark.slow)
            for spec in (
                *('speckle:0-1', 'rows:0-9', 'fixed_pattern:0-9', 'salt_pepper:0-1'),
                *('camera:100-1000', 'jpeg:20-90', 'motion_blur:0-20'),
            )
        ),
    ],
)
def test_an_image_does_not_depend_on_its_batch(spec):
    clean = jax.random.uniform(jax.random.key(0), (4, 48, 56, 3))
    sample = jax.jit(corruptions.parse(spec).sample)  # two small shapes: compiling is what takes
    whole = sample(jax.random.key(0), clean).image_BHWC
    np.testing.assert_array_equal(sample(jax.random.key(0), clean[:1]).image_BHWC, whole[:1])


def test_composition_runs_from_left_to_right():
    clean = jnp.zeros((1, 64, 64, 1)).at[0, 32, 32].set(1.0)
    blurred = np.asarray(draw('blur:1.6', clean).image_BHWC)
    assert blurred.sum() == pytest.approx(1, abs=1e-5)
    assert blurred.max() == pytest.approx(1 / (2 * np.pi * 1.6**2), rel=0.01)
    both = np.asarray(draw('blur:1.6+gaussian:10', clean).image_BHWC) - blurred
    assert both.std() * 255 == pytest.approx(10, rel=0.05)
    np.testing.assert_array_equal(draw('blur:0', clean).image_BHWC, clean)


def test_masks_of_composed_corruptions_multiply():
    noisy, mask = draw('bernoulli:0.5+gaussian:5+bernoulli:0.5', flat(0.5))
    assert np.asarray(mask).mean() == pytest.approx(0.25, abs=0.01)
    assert (np.asarray(noisy)[np.asarray(mask) == 0] != 0).any()  # noise came after the first mask


@pytest.mark.parametrize(
    ('spec', 'word'),
    [
        ('gausian:25', "'gaussian'"),
        ('gaussian', 'needs a level'),
        ('gaussian:50-0', "'gaussian:0-50'"),
        ('bernoulli:1.5', 'between 0 and 0.999'),
        ('gaussian:-5', 'cannot be parsed'),
        ('gaussian:25+', 'cannot be parsed'),
        ('clip:3', 'takes no level'),
        ('', 'cannot be parsed'),
    ],
)
def test_a_wrong_spec_says_what_to_write(spec, word):
    with pytest.raises(UserError, match='.') as caught:
        corruptions.parse(spec)
    assert word in str(caught.value)
