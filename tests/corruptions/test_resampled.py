"""Motion blur, blur by kernels from a file, and pixelation, which move values between pixels.

B batch, H height, W width, C channels; K side of a kernel.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from n2n_jax import corruptions
from n2n_jax.corruptions import motion_blur
from n2n_jax.runtime.errors import UserError


@pytest.fixture(scope='module')
def strokes():
    """Kernels (K, K) of strokes of 20 pixels."""
    draw = jax.jit(jax.vmap(motion_blur.stroke, (0, None)))
    return np.asarray(draw(jax.random.split(jax.random.key(0), 64), 20.0), np.float64)


def test_strokes_add_up_to_one_and_are_centered(strokes):
    assert strokes.min() >= 0
    np.testing.assert_allclose(strokes.sum(axis=(1, 2)), 1, atol=1e-6)
    offsets_K = np.arange(strokes.shape[1]) - strokes.shape[1] // 2
    for axis in (1, 2):
        np.testing.assert_allclose((strokes.sum(axis=axis) * offsets_K).sum(axis=1), 0, atol=0.01)


def test_strokes_are_thin_curves_of_their_length_in_all_directions(strokes):
    num = (strokes > 1e-3).sum(axis=(1, 2))
    assert num.min() > 20
    assert num.max() < 80  # of 33 x 33 pixels: at most 4 for each pixel of the length
    offsets_K = np.arange(strokes.shape[1]) - strokes.shape[1] // 2
    spread = [(strokes.sum(axis=axis) * offsets_K**2).sum(axis=1) for axis in (1, 2)]
    # A straight stroke of length 20 has a variance of 20^2 / 12; bends and rasterization change it.
    assert np.max(spread[0] + spread[1]) < 20**2 / 12 + 0.6
    assert np.mean(spread[0] + spread[1]) > 0.6 * 20**2 / 12
    assert np.mean(spread[0]) == pytest.approx(np.mean(spread[1]), rel=0.4)
    assert len({stroke.tobytes() for stroke in strokes}) == 64


def test_motion_blur_convolves_each_image_with_a_stroke_of_its_own():
    clean = jnp.zeros((2, 48, 64, 1)).at[:, 24, 32].set(1.0)
    sampler = jax.jit(corruptions.parse('motion_blur:9').sample)
    noisy, mask = sampler(jax.random.key(0), clean)
    noisy = np.asarray(noisy)
    assert mask is None
    np.testing.assert_allclose(noisy.sum(axis=(1, 2, 3)), 1, atol=1e-6)
    assert np.abs(noisy[0] - noisy[1]).max() > 0.01
    again = sampler(jax.random.key(1), clean).image_BHWC
    assert np.abs(noisy - np.asarray(again)).max() > 0.01
    flat = np.asarray(sampler(jax.random.key(0), jnp.full(clean.shape, 0.5)).image_BHWC)
    np.testing.assert_allclose(flat, 0.5, atol=1e-6)  # also at the borders


@pytest.mark.parametrize('spec', ['motion_blur:0', 'pixelated:1'])
def test_the_lowest_level_leaves_the_image_as_it_is(spec):
    clean = jax.random.uniform(jax.random.key(0), (1, 24, 40, 3))
    sampler = jax.jit(corruptions.parse(spec).sample)
    np.testing.assert_array_equal(sampler(jax.random.key(1), clean).image_BHWC, clean)


def test_each_block_of_a_pixelated_image_shows_one_of_its_pixels():
    side, h, w = 4, 30, 37
    index = jnp.arange(h * w, dtype=jnp.float32).reshape(1, h, w, 1)  # tells where a value is from
    clean = jnp.repeat(jnp.repeat(index, 16, axis=0), 2, axis=3)
    noisy, mask = jax.jit(corruptions.parse(f'pixelated:{side}').sample)(jax.random.key(0), clean)
    noisy = np.asarray(noisy).astype(int)
    assert mask is None
    np.testing.assert_array_equal(noisy[..., 0], noisy[..., 1])
    phases = set()
    for image in noisy[..., 0]:
        starts = []  # of blocks, along each axis
        for axis in (0, 1):
            changes = (np.diff(image, axis=axis) != 0).any(axis=1 - axis)
            starts.append([0, *(np.flatnonzero(changes) + 1)])
            inner = np.diff(starts[-1][1:])
            assert set(inner) <= {side}
        phases.add((starts[0][1], starts[1][1]))
        for top in starts[0]:
            for left in starts[1]:
                y, x = divmod(image[top, left], w)
                assert -side < y - top < side
                assert -side < x - left < side
                block = image[y, x]
                assert block == image[top, left]  # the pixel it shows lies in the block
    assert len(phases) > 4


def test_captures_of_a_pixelated_image_show_all_its_pixels():
    clean = jnp.tile(jnp.arange(4, dtype=jnp.float32).reshape(1, 2, 2, 1), (1, 64, 64, 1))
    noisy = jax.jit(corruptions.parse('pixelated:2').sample)(jax.random.key(0), clean).image_BHWC
    shares = np.bincount(np.asarray(noisy).astype(int).ravel()) / noisy.size
    np.testing.assert_allclose(shares, 0.25, atol=4 * np.sqrt(0.19 / 64**2))


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return 'kernels.npy'


def test_a_bright_pixel_becomes_the_picture_of_a_kernel_from_the_file(file):
    digits = np.random.default_rng(0).integers(0, 256, (5, 6, 7), np.uint8)
    np.save(file, digits)
    clean = jnp.zeros((24, 20, 21, 1)).at[:, 10, 11].set(1.0)
    sampler = jax.jit(corruptions.parse(f'kernel_blur,file={file}').sample)
    noisy = np.asarray(sampler(jax.random.key(0), clean).image_BHWC)[..., 0]
    kernels = digits / digits.sum(axis=(1, 2), keepdims=True)
    shown = [np.abs(kernels - image).max(axis=(1, 2)) for image in noisy[:, 7:13, 8:15]]
    np.testing.assert_allclose(np.min(shown, axis=1), 0, atol=1e-7)
    assert len(set(np.argmin(shown, axis=1))) == 5  # each image has one of its own, all are drawn
    np.testing.assert_allclose(noisy.sum(axis=(1, 2)), 1, atol=1e-6)
    flat = sampler(jax.random.key(0), jnp.full(clean.shape, 0.5)).image_BHWC
    np.testing.assert_allclose(flat, 0.5, atol=1e-6)  # also at the borders


def test_other_kernels_under_the_same_name_are_read_again(file):
    images = []
    for pixel in (0, 2):
        kernel = np.zeros((1, 1, 3))
        kernel[0, 0, pixel] = 1
        np.save(file, kernel)
        sampler = jax.jit(corruptions.parse(f'kernel_blur,file={file}').sample)
        clean = jnp.zeros((1, 3, 5, 1)).at[:, 1, 2].set(1.0)
        images.append(np.asarray(sampler(jax.random.key(0), clean).image_BHWC)[0, 1, :, 0])
    np.testing.assert_array_equal(images, [[0, 1, 0, 0, 0], [0, 0, 0, 1, 0]])


@pytest.mark.parametrize(
    ('array', 'words'),
    [
        (None, 'there is no file'),
        (b'no array', 'not a readable .npy'),
        (np.ones(5), r'write numbers \(N, H, W\)'),
        (np.ones((2, 3, 3), complex), r'write numbers \(N, H, W\)'),
        (np.ones((1, 3, 65)), 'at most 64 pixels per side'),
        (np.stack([np.eye(3), np.zeros((3, 3))]), 'kernel 1 has .* only zeros'),
        (-np.eye(3), 'kernel 0 has values that are negative'),
        (np.full((3, 3), np.nan), 'kernel 0 has .* no numbers'),
    ],
)
def test_a_file_without_kernels_is_refused_before_anything_is_drawn(tmp_path, array, words):
    path = tmp_path / 'kernels.npy'
    if isinstance(array, bytes):
        path.write_bytes(array)
    elif array is not None:
        np.save(path, array)
    with pytest.raises(UserError, match=words):
        corruptions.parse(f'kernel_blur,file={path}+gaussian:5')


def test_an_archive_of_kernels_holds_one_array(tmp_path):
    path = tmp_path / 'kernels.npz'
    np.savez(path, np.eye(3))
    assert corruptions.parse(f'kernel_blur,file={path}').clean_statistics.observed == ()
    np.savez(tmp_path / 'two.npz', a=np.eye(3), b=np.eye(3))
    with pytest.raises(UserError, match='must hold one array, not 2'):
        corruptions.parse(f'kernel_blur,file={tmp_path}/two.npz')
