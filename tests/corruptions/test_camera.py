"""A camera's raw noise and color interpolation, and JPEG compression.

B batch, H height, W width, C channels.
"""

import io

import jax
import jax.numpy as jnp
import numpy as np
import optimized
import pytest
from PIL import Image
from scipy import ndimage

from n2n_jax import corruptions
from n2n_jax.corruptions import camera
from n2n_jax.data.sources import photos
from n2n_jax.runtime.errors import UserError

SIDE = 128
VALUES = np.array([0.0, 128 / 255, 1.0])  # black, middle and white
PHOTONS, READ, GAINS = 200, 4, (2.0, 1.0, 1.5)


def to_linear(value):
    """IEC 61966-2-1, in numpy."""
    value = np.asarray(value, np.float64)
    return np.where(
        value <= 0.04045, value / 12.92, ((np.maximum(value, 0) + 0.055) / 1.055) ** 2.4
    )


@pytest.fixture(scope='module')
def captures():
    """Two captures of flat images, (2, B, H, W, C), in linear light; B: the values."""
    sampler = optimized.jit(corruptions.parse(f'camera:{PHOTONS},read={READ}').sample)
    clean = jnp.ones((3, SIDE, SIDE, 3)) * jnp.float32(VALUES).reshape(-1, 1, 1, 1)
    noisy = [sampler(jax.random.key(seed), clean) for seed in (0, 1)]
    assert all(each.mask_BHWC is None for each in noisy)
    return np.stack([to_linear(each.image_BHWC) for each in noisy])


def test_raw_values_have_the_mean_of_the_scene_and_shot_and_read_noise(captures):
    sites = camera.sites(SIDE, SIDE) == 1
    for scene, noisy in zip(to_linear(VALUES), captures[0], strict=True):
        for color, gain in enumerate(GAINS):
            raw = noisy[..., color][sites[..., color]] / gain
            variance = scene / gain / PHOTONS + (READ / PHOTONS) ** 2
            assert raw.mean() == pytest.approx(scene / gain, abs=4 * np.sqrt(variance / raw.size))
            assert raw.var() == pytest.approx(variance, rel=5 * np.sqrt(2 / raw.size))


def test_nothing_is_clipped(captures):
    assert (captures[0, 0] < 0).mean() > 0.4
    assert (captures[0, 2] > 1).mean() > 0.4


def test_interpolated_colors_share_their_noise_with_their_neighbors(captures):
    noise = captures[0] - captures[0].mean(axis=(1, 2), keepdims=True)
    for color, least in ((0, 0.3), (1, 0.15), (2, 0.3)):
        x = noise[1, ..., color]
        for a, b in ((x[1:], x[:-1]), (x[:, 1:], x[:, :-1])):
            assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > least
        far = np.corrcoef(x[4:].ravel(), x[:-4].ravel())[0, 1]
        assert abs(far) < 4 / np.sqrt(x.size / 4)


def test_two_captures_by_a_camera_are_independent(captures):
    a, b = (x[1] - x[1].mean(axis=(0, 1)) for x in captures)
    assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 4 / np.sqrt(SIDE**2 / 2)


def test_no_statistic_of_captures_by_a_camera_is_known_to_be_clean():
    for spec in (
        'camera:1000',
        'camera:1000+jpeg:85',
        'jpeg:100',
        'gaussian:5+jpeg:90',
        'camera:1000,demosaic=none+jpeg:85',
        'camera:1000,demosaic=none+gaussian:5',
        'gaussian:5+camera:1000,demosaic=none',
    ):
        assert corruptions.parse(spec).clean_statistics == ((), ())


def test_without_interpolation_the_mean_in_linear_light_is_clean():
    corruptor = corruptions.parse(f'camera:{PHOTONS},read={READ},demosaic=none')
    assert corruptor.clean_statistics.observed == ('mean in linear light',)
    clean = jnp.ones((1, SIDE, SIDE, 3)) * jnp.float32([0.1, 0.5, 0.9]).reshape(1, 1, 1, 3)
    noisy = optimized.jit(corruptor.sample)(jax.random.key(0), clean).image_BHWC
    for color, gain in enumerate(GAINS):
        light, values = to_linear(clean[0, 0, 0, color]), np.asarray(noisy[0, ..., color], float)
        error = gain * np.sqrt(light / gain / PHOTONS + (READ / PHOTONS) ** 2) / SIDE
        assert to_linear(values).mean() == pytest.approx(light, abs=4 * error)
        noise = values - values.mean()
        neighbors = np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1]
        assert abs(neighbors) < 4 / SIDE
    assert noisy[..., 0].mean() < 0.09  # that of its sRGB values is darker


def test_a_black_and_white_sensor_sees_every_pixel():
    clean = jnp.linspace(0, 1, 64 * 64).reshape(1, 64, 64, 1)
    sampler = corruptions.parse('camera:1000000,read=0').sample
    noisy = jax.jit(sampler)(jax.random.key(0), clean).image_BHWC
    np.testing.assert_allclose(to_linear(noisy), to_linear(clean), atol=6e-3)
    assert abs(np.diff(noisy[0, 32, :, 0] - clean[0, 32, :, 0])).min() > 0  # not interpolated


@pytest.mark.parametrize(('h', 'w'), [(2, 2), (3, 5), (7, 4)])
def test_mosaics_of_any_size_are_interpolated_linearly(h, w):
    _, x = np.mgrid[:h, :w]
    raw = (camera.sites(h, w) * np.stack([x + 1, 2 * x, 3 - x], axis=2)).sum(axis=2)
    colors = np.asarray(camera.demosaic_linear(jnp.float32(raw), jnp.ones((1, 1, 3))))
    np.testing.assert_array_equal((colors * camera.sites(h, w)).sum(axis=2), raw)
    inside = colors[1:-1, 1:-1]
    want = np.stack([x + 1, 2 * x, 3 - x], axis=2)[1:-1, 1:-1]
    np.testing.assert_allclose(inside, want, atol=1e-5)
    assert colors[0, 0, 0] == raw[0, 0]
    assert colors[0, 0, 1] == pytest.approx((raw[0, 1] + raw[1, 0]) / 2)
    assert colors[0, 0, 2] == raw[1, 1]


def test_gradient_corrected_interpolation_is_that_of_its_paper():
    kernels = {  # figure 2 of Malvar, He and Cutler, times 8
        'green': [[0, 0, -1, 0, 0], [0, 0, 2, 0, 0], [-1, 2, 4, 2, -1]],
        'in row': [[0, 0, 0.5, 0, 0], [0, -1, 0, -1, 0], [-1, 4, 5, 4, -1]],
        'opposite': [[0, 0, -1.5, 0, 0], [0, 2, 0, 2, 0], [-1.5, 0, 6, 0, -1.5]],
    }
    raw = np.random.default_rng(0).uniform(size=(9, 12))
    gains = np.array([2.0, 1.0, 1.5])
    sites = camera.sites(*raw.shape)
    balanced = raw * (sites * gains).sum(axis=2)
    at = {
        name: ndimage.correlate(balanced, np.array(rows + rows[1::-1]) / 8, mode='mirror')
        for name, rows in kernels.items()
    }
    rows = np.array(kernels['in row'] + kernels['in row'][1::-1])
    at['in column'] = ndimage.correlate(balanced, rows.T / 8, mode='mirror')
    found = np.asarray(
        camera.demosaic_gradient(jnp.float32(raw), jnp.float32(gains).reshape(1, 1, 3))
    )
    for (v, u), names in {
        (0, 0): (None, 'green', 'opposite'),
        (0, 1): ('in row', None, 'in column'),
        (1, 0): ('in column', None, 'in row'),
        (1, 1): ('opposite', 'green', None),
    }.items():
        for color, name in enumerate(names):
            want = balanced if name is None else at[name]
            np.testing.assert_allclose(found[v::2, u::2, color], want[v::2, u::2], atol=1e-5)


@pytest.mark.slow
def test_any_interpolation_is_one_of_the_three():
    clean = jnp.asarray(photos.photos()['chelsea'][:32, :32][None], jnp.float32) / 255
    sampler = jax.jit(corruptions.parse('camera:1000000,read=0,demosaic=any').sample)
    exact = {
        name: corruptions.parse(f'camera:1000000,read=0,demosaic={name}')
        for name in ('linear', 'gradient', 'none')
    }
    want = {
        name: jax.jit(corruptor.sample)(jax.random.key(0), clean).image_BHWC
        for name, corruptor in exact.items()
    }
    noisy = sampler(jax.random.key(0), jnp.tile(clean, (32, 1, 1, 1))).image_BHWC
    found = [
        min(want, key=lambda name: float(jnp.abs(image - want[name][0]).mean())) for image in noisy
    ]
    assert set(found) == set(want)


def test_levels_of_a_camera_are_drawn_over_decades():
    stage = corruptions.parse('camera:10-1000').stages[0]
    levels = np.asarray(jax.vmap(stage.level)(jax.random.split(jax.random.key(0), 4000)))
    assert levels.min() >= 10
    assert levels.max() <= 1000
    assert np.log10(levels).mean() == pytest.approx(2, abs=4 * 2 / np.sqrt(12 * 4000))
    assert np.log10(levels).std() == pytest.approx(2 / np.sqrt(12), rel=0.05)


def test_a_color_image_of_one_row_is_refused():
    with pytest.raises(UserError, match='2x2 pixels or more, but one has 8x1'):
        corruptions.parse('camera:100').sample(jax.random.key(0), jnp.zeros((1, 1, 8, 3)))


@pytest.fixture(scope='module')
def photograph():
    """A photograph with sides that are no multiples of a block, (H, W, 3), uint8."""
    image = photos.photos()['chelsea'][40:141, 100:235].copy()
    image[:16, :32] = 255 * (np.indices((16, 32, 3)).sum(axis=0) // 3 % 2)  # extreme coefficients
    return image


@pytest.mark.parametrize('chroma', ['420', '444'])
@pytest.mark.parametrize('channels', [3, 1])
def test_a_jpeg_is_what_libjpeg_makes_of_an_image(photograph, channels, chroma):
    if channels == 1:
        photograph = photograph[..., 1:2]
    sampler = jax.jit(corruptions.parse(f'jpeg:10-90,chroma={chroma}').stages[0].corruption.draw)
    for quality in (20, 75, 100):
        file = io.BytesIO()
        subsampling = {'444': 0, '420': 2}[chroma]
        Image.fromarray(photograph.squeeze()).save(
            file, 'jpeg', quality=quality, subsampling=subsampling
        )
        theirs = np.asarray(Image.open(file), int).reshape(photograph.shape)
        noisy, mask = sampler(jax.random.key(0), jnp.float32(photograph) / 255, quality)
        ours = np.asarray(noisy) * 255
        np.testing.assert_allclose(ours, np.rint(ours), atol=1e-4)
        assert mask is None
        # Where a coefficient lies between two steps, rounding decides; the losses are 3 to 7.
        assert np.abs(ours - theirs).mean() < (0.2 if channels == 1 else 0.35)


@pytest.mark.slow
def test_any_resolution_of_color_is_one_of_the_two(photograph):
    image_BHWC = jnp.asarray(photograph[None], jnp.float32) / 255
    key = jax.random.key(0)
    want = [
        np.asarray(corruptions.parse(f'jpeg:75,chroma={chroma}').sample(key, image_BHWC)[0][0])
        for chroma in ('420', '444')
    ]
    many_BHWC = jnp.tile(image_BHWC, (16, 1, 1, 1))
    drawn = jax.jit(corruptions.parse('jpeg:75,chroma=any').sample)(key, many_BHWC).image_BHWC
    found = [[np.allclose(image_HWC, each, atol=1e-3) for each in want] for image_HWC in drawn]
    assert {tuple(one) for one in found} == {(True, False), (False, True)}


def test_values_that_depend_on_missing_ones_are_missing():
    mask = np.ones((40, 41, 3), np.float32)
    mask[20, 33] = 0

    def missing(spec):
        corruption = corruptions.parse(spec).stages[0].corruption
        found = np.asarray(corruption.spread(jnp.asarray(mask), corruption.options)) == 0
        assert (found == found[..., :1]).all()
        rows, columns = np.nonzero(found[..., 0])
        assert found[..., 0].sum() == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        return rows.min(), rows.max() + 1, columns.min(), columns.max() + 1

    assert missing('camera:100') == (19, 22, 32, 35)
    assert missing('jpeg:50,chroma=444') == (16, 24, 32, 40)
    assert missing('jpeg:50') == (15, 33, 31, 41)  # 420: blocks of 16, and their neighbors
    corruptor = corruptions.parse('bernoulli:0.01+camera:100')
    _, drawn = jax.eval_shape(corruptor.sample, jax.random.key(0), jnp.zeros((2, 9, 9, 3)))
    assert drawn.shape == (2, 9, 9, 3)
