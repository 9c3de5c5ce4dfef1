"""Denoising with auxiliary planes and a noise level."""

import numpy as np
import pytest
from small_files import denoise, pixels
from tiny import first_variables

from n2n_jax.cli import n2n
from n2n_jax.denoise import beside
from n2n_jax.denoise.beside import Beside
from n2n_jax.denoise.denoiser import Denoiser
from n2n_jax.denoise.files import Options
from n2n_jax.images import image_io
from n2n_jax.runtime.config import ModelConfig
from n2n_jax.runtime.errors import UserError


def network(core=16, **changes):
    config = ModelConfig(name='tiny', channels=1, residual=False, **changes)
    return Denoiser(config, first_variables(config), step=0, core=core)


def test_tiles_with_planes_equal_the_whole():
    rng = np.random.default_rng(0)
    noisy, depth = rng.random((45, 50), np.float32), rng.integers(0, 65535, (45, 50), np.uint16)
    tiled, whole = (network(core, planes='depth:1', noise_map=True) for core in (16, 64))
    results = [each(noisy, planes={'depth': depth}, tta=True) for each in (tiled, whole)]
    np.testing.assert_allclose(*results, atol=1e-5)
    assert np.abs(whole(noisy, planes={'depth': 0 * depth}, tta=True) - results[1]).max() > 1e-3


def test_each_channel_of_a_color_image_is_shown_the_planes():
    depth = np.random.default_rng(1).random((16, 20), np.float32)
    model = network(planes='depth:1')
    color = np.random.default_rng(0).random((16, 20, 3), np.float32)
    denoised = model(color, planes={'depth': depth})
    for c in range(3):
        np.testing.assert_allclose(
            denoised[..., c], model(color[..., c], planes={'depth': depth}), atol=1e-6
        )


def test_a_level_that_is_given_replaces_the_estimate():
    noisy = pixels(40, 44)
    model = network(noise_map=True)
    estimate = beside.estimated_level(noisy[..., None].astype(np.float32) / 255)
    as_float = noisy.astype(np.float32) / 255
    by_hand = model(as_float, noise_level=estimate)
    np.testing.assert_allclose(model(as_float), by_hand, atol=1e-6)
    assert np.abs(model(as_float, noise_level=0.0) - by_hand).max() > 1e-3
    # The unit is that of the image.
    np.testing.assert_array_equal(
        model(noisy, noise_level=25.5), np.rint(model(as_float, noise_level=0.1).clip(0, 1) * 255)
    )


def test_the_level_of_a_long_image_is_estimated_from_pieces_of_it():
    noise = np.random.default_rng(0).normal(0, 0.1, (5000, 40, 1)).astype(np.float32)
    np.testing.assert_allclose(beside.estimated_level(noise), 0.1, rtol=0.02)


@pytest.mark.parametrize(
    ('given', 'changes', 'said'),
    [
        (Beside(), {'planes': 'depth:1'}, r"x cannot be denoised without its plane 'depth'.*--pla"),
        (Beside({'dept': np.zeros((4, 4))}), {'planes': 'depth:1'}, "Did you mean 'depth'"),
        (Beside({'depth': np.zeros((4, 4))}), {}, "takes no plane 'depth'. It takes none"),
        (Beside({'depth': np.zeros((4, 5))}), {'planes': 'depth:1'}, r'is 5x4, x is 4x4'),
        (Beside({'depth': np.zeros((4, 4))}), {'planes': 'depth:2'}, 'has 1 channels.* on 2'),
        (Beside({'depth': np.full((4, 4), np.nan)}), {'planes': 'depth:1'}, r'infinite.*\(16\)'),
        (Beside({'depth': np.full((4, 4), 7.5)}), {'planes': 'depth:1'}, 'from 7.5 to 7.5.*scale'),
        (Beside(noise_level=-1), {'noise_map': True}, '-1 is given: it must be 0 or more'),
        (Beside(noise_level=np.nan), {'noise_map': True}, 'nan is given: it must be 0 or more'),
        (Beside({'depth': np.ones((4, 4, 2))}), {'planes': 'depth:1'}, 'has 2 channels.* on 1'),
        (Beside(noise_level=25), {}, 'not told the level'),
    ],
)
def test_what_does_not_suit_the_model_is_named(given, changes, said):
    with pytest.raises(UserError, match=said):
        given.planes(ModelConfig(**changes), None, np.zeros((4, 4, 1), np.float32), 'x')


def test_planes_are_read_from_a_file_or_from_a_folder_of_the_same_names(tmp_path):
    noisy, depth = pixels(20, 24), pixels(20, 24, high=255)
    (tmp_path / 'depths').mkdir()
    image_io.write_pixels(tmp_path / 'photo.png', noisy)
    image_io.write_pixels(tmp_path / 'depths' / 'photo.tif', depth)
    model = network(planes='depth:1')
    want = model(noisy, planes={'depth': depth})
    for place in ('depths', 'depths/photo.tif'):
        out = tmp_path / f'{len(place)}.png'
        options = Options(planes={'depth': tmp_path / place})
        assert denoise(model, tmp_path / 'photo.png', out, options=options) == []
        np.testing.assert_array_equal(image_io.read_image(out).pixels, want)


def test_a_model_with_planes_says_what_it_needs(tmp_path):
    image_io.write_pixels(tmp_path / 'photo.png', pixels(20, 24))
    (failure,) = denoise(network(planes='depth:1'), tmp_path / 'photo.png', tmp_path / 'out.png')
    assert "without its plane 'depth'" in failure
    assert not (tmp_path / 'out.png').exists()
    (tmp_path / 'depths').mkdir()
    image_io.write_pixels(tmp_path / 'depths' / 'other.png', pixels(20, 24))
    options = Options(planes={'depth': tmp_path / 'depths'})
    (failure,) = denoise(
        network(planes='depth:1'), tmp_path / 'photo.png', tmp_path / 'out.png', options=options
    )
    assert 'holds 0 files for ' in failure
    assert 'one named photo.* is needed' in failure


def test_planes_of_images_of_the_same_name_are_told_apart_by_their_subfolders(tmp_path):
    model = network(planes='depth:1')
    noisy = pixels(20, 24)
    depths = {'a': 0 * noisy, 'b': 0 * noisy + 255}
    for folder, depth in depths.items():
        for kind, image in (('images', noisy), ('depths', depth)):
            (tmp_path / kind / folder).mkdir(parents=True)
            image_io.write_pixels(tmp_path / kind / folder / '0.png', image)
    options = Options(planes={'depth': tmp_path / 'depths'})
    for folder, depth in depths.items():
        out = tmp_path / f'{folder}.png'
        assert denoise(model, tmp_path / 'images' / folder / '0.png', out, options=options) == []
        np.testing.assert_array_equal(
            image_io.read_image(out).pixels, model(noisy, planes={'depth': depth})
        )


@pytest.mark.parametrize('plane', ['depth.png', 'depths'])
def test_a_plane_is_not_overwritten(tmp_path, monkeypatch, capsys, plane):
    monkeypatch.chdir(tmp_path)
    for path in ('photo.png', 'depth.png', 'depths/photo.png'):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        image_io.write_pixels(tmp_path / path, pixels(20, 24))
    out = 'depth.png' if plane == 'depth.png' else 'depths/photo.png'
    command = ['denoise', 'photo.png', '-o', out, '--force', '--model', 'run', '--plane']
    with pytest.raises(SystemExit) as stopped:
        n2n.main([*command, f'depth={plane}'])
    assert stopped.value.code == 2
    assert f'{out} is one of the inputs' in capsys.readouterr().err
