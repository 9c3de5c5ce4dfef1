"""`n2n denoise` without a model: it looks at the noise, and takes one that comes with n2n_jax."""

import numpy as np
import pytest
import tifffile
from command_line import n2n
from PIL import Image
from random_variables import random_variables
from scipy import ndimage

from n2n_jax.denoise import choice
from n2n_jax.denoise.denoiser import Denoiser
from n2n_jax.models import model_file, zoo
from n2n_jax.models.model_file import Trained
from n2n_jax.runtime.config import ModelConfig
from n2n_jax.runtime.errors import UserError


@pytest.fixture(autouse=True)
def _models(tmp_path, monkeypatch):
    """A color model and a gray one, of random weights."""
    monkeypatch.setattr(zoo, 'FOLDER', tmp_path / 'models')
    for name, channels in (('gaussian-color', 3), ('gaussian-gray', 1)):
        config = ModelConfig(name='tiny', channels=channels)
        model_file.write(zoo.file_of(name), Trained(config, random_variables(config), step=1))


def clean(channels, side=160):
    """Smooth shading and edges, in [0, 1]."""
    y, x = np.mgrid[:side, :side] / side
    image_HW = 0.3 + 0.3 * y + 0.3 * (x > 0.5)
    return np.stack([image_HW * (1 - 0.2 * c) for c in range(channels)], axis=-1)


def noisy(channels, sigma=0.1, seed=0):
    image_HWC = clean(channels)
    return image_HWC + np.random.default_rng(seed).normal(0, sigma, image_HWC.shape)


def save(path, image_HWC):
    pixels = np.uint8(np.clip(np.round(image_HWC * 255), 0, 255))
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(path)
    return path


@pytest.mark.parametrize(('channels', 'model'), [(3, 'gaussian-color'), (1, 'gaussian-gray')])
def test_color_and_gray_images_get_models_of_their_kind(channels, model):
    found = choice.choose(noisy(channels))
    assert (found.model, found.leave, found.range) == (model, False, (0, 0))
    assert 'independent from pixel to pixel, standard deviation 25.' in str(found)
    assert found.doubt == ''


def test_noise_that_no_model_is_for_gets_a_model_and_a_doubt():
    replaced_HWC = np.float32(clean(3))
    rng = np.random.default_rng(0)
    where_HW = rng.random(replaced_HWC.shape[:2]) < 0.05
    replaced_HWC[where_HW] = rng.random((where_HW.sum(), 3))
    found = choice.choose(replaced_HWC)
    assert 'replaced pixels' in found.noise
    assert found.model == 'gaussian-color'
    assert found.doubt.startswith('This version has no model for such noise')


def test_impulses_may_be_those_of_a_very_noisy_photograph():
    config = ModelConfig(name='tiny')
    model_file.write(zoo.file_of('camera-color'), Trained(config, random_variables(config), step=1))
    replaced_HWC = np.float32(clean(3))
    rng = np.random.default_rng(0)
    replaced_HWC[rng.random(replaced_HWC.shape[:2]) < 0.05] = 1
    found = choice.choose(replaced_HWC)
    assert found.model == 'camera-color'
    assert found.doubt.startswith('It is for photographs with much noise')


def test_a_gray_image_that_is_stored_in_color_gets_a_gray_model():
    gray_HWC = np.repeat(noisy(1), 3, axis=-1)
    assert choice.choose(gray_HWC).model == 'gaussian-gray'


def test_a_level_that_is_given_counts_more_than_the_measured_one(tmp_path):
    assert choice.choose(noisy(3), 0.0).leave
    assert choice.choose(clean(3)).leave
    found = choice.choose(clean(3), 0.02)
    assert not found.leave
    assert 'independent from pixel to pixel, standard deviation 5.1' in str(found)
    photo = save(tmp_path / 'photo.png', clean(3))
    assert n2n('denoise', photo, '--sigma', '5') == 0
    result = np.array(Image.open(tmp_path / 'photo_denoised.png'))
    assert (result != np.array(Image.open(photo))).any()
    assert n2n('denoise', photo, '--sigma', '0', '--force') == 0
    assert (tmp_path / 'photo_denoised.png').read_bytes() == photo.read_bytes()


def test_photographs_of_cameras_get_the_model_of_cameras_if_they_have_color():
    config = ModelConfig(name='tiny')
    file = zoo.file_of('camera-color')
    model_file.write(file, Trained(config, random_variables(config), step=1))
    for channels, model in ((3, 'camera-color'), (1, 'gaussian-gray')):
        image_HWC = clean(channels, 320)
        noise = np.random.default_rng(0).normal(0, 1, image_HWC.shape)
        brighter = choice.choose(image_HWC + 0.2 * image_HWC * noise)
        assert 'depends on brightness' in brighter.noise
        blurred = ndimage.gaussian_filter(noise, (1, 1, 0))
        shared = choice.choose(image_HWC + 0.2 * blurred)
        assert 'neighboring pixels share' in shared.noise
        assert (brighter.model, shared.model) == (model, model)
        assert (shared.doubt == '') == (channels == 3)


def test_without_any_model_one_has_to_be_named(tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, 'FOLDER', tmp_path / 'none')
    with pytest.raises(UserError, match='name one with --model'):
        choice.choose(noisy(3))


@pytest.mark.parametrize(
    ('kind', 'black', 'white'),
    [
        ('uint8', 0, 0),
        ('uint16', 0, 0),
        ('detector', 0, pytest.approx(1900, rel=0.1)),  # counts fill little of 16 bits
        ('unit', 0, 0),
        ('offset', pytest.approx(10000, rel=0.03), pytest.approx(10285, rel=0.01)),
        ('volts', pytest.approx(-5.9, abs=0.2), pytest.approx(1.9, abs=0.2)),
    ],
)
def test_values_are_brought_to_the_range_of_the_network(kind, black, white, tmp_path):
    image_HWC = np.clip(noisy(1, 0.05)[..., 0], 0, 1)
    pixels = {
        'uint8': np.uint8(image_HWC * 255),
        'uint16': np.uint16(image_HWC * 60000),
        'detector': np.uint16(image_HWC * 2000),
        'offset': np.uint16(image_HWC * 300 + 10000),
        'unit': np.float32(image_HWC),
        'volts': np.float32(image_HWC * 10 - 8),
    }[kind]
    tifffile.imwrite(tmp_path / 'a.tif', pixels)
    found = choice.of_file(tmp_path / 'a.tif')
    assert found.range == (black, white)
    assert (found.model, found.leave) == ('gaussian-gray', False)
    config = found.range.of(choice.load(found.model)).config
    assert (config.black, config.white) == found.range


def test_a_named_model_sees_the_same_range_as_a_chosen_one(tmp_path):
    tifffile.imwrite(tmp_path / 'a.tif', np.uint16(noisy(1)[..., 0].clip(0, 1) * 2000))
    assert n2n('denoise', tmp_path / 'a.tif', '-o', tmp_path / 'chosen.tif') == 0
    named = ('--model', 'gaussian-gray', '-o', tmp_path / 'named.tif')
    assert n2n('denoise', tmp_path / 'a.tif', *named) == 0
    chosen, named = (tifffile.imread(tmp_path / f'{name}.tif') for name in ('chosen', 'named'))
    np.testing.assert_array_equal(chosen, named)


def test_a_stack_is_left_as_it_is_only_if_all_that_is_looked_at_is_clean(tmp_path):
    blank, shaded = np.zeros((160, 160)), clean(1)[..., 0]
    noisy_HW = noisy(1)[..., 0]
    for name, pages, leave in (
        ('blank', (blank, blank), True),
        ('clean', (blank, shaded, shaded), True),
        ('last', (blank, shaded, noisy_HW), False),
    ):
        stack = np.uint8(np.clip(np.stack(pages), 0, 1) * 255)
        tifffile.imwrite(tmp_path / f'{name}.tif', stack, photometric='minisblack')
        assert choice.of_file(tmp_path / f'{name}.tif').leave == leave


def test_files_of_a_folder_each_get_their_model(tmp_path, capsys):
    folder = tmp_path / 'in'
    folder.mkdir()
    color, gray = save(folder / 'color.png', noisy(3)), save(folder / 'gray.png', noisy(1))
    same = save(folder / 'same.png', clean(3))
    (folder / 'damaged.png').write_bytes(b'\x89PNG')
    tifffile.imwrite(folder / 'nothing.tif', np.full((20, 20), np.nan, np.float32))
    tifffile.imwrite(folder / 'even.tif', np.full((20, 20), 5000, np.float32))
    Image.open(same).save(folder / 'same.jpg')
    assert n2n('denoise', folder) == 2
    said = capsys.readouterr().err
    assert f'{color}: noise that is independent' in said
    assert 'Model gaussian-color.' in said
    assert 'Model gaussian-gray.' in said
    assert f'{same}: no noise that can be seen' in said
    assert 'Left as it is.' in said
    assert 'damaged.png' in said
    assert 'nothing.tif holds NaN or infinite values (400)' in said
    assert '5 of 7 written' in said
    out = tmp_path / 'in_denoised'
    for file in (color, gray):
        want = Denoiser.load(f'gaussian-{file.stem}')(np.asarray(Image.open(file)))
        np.testing.assert_array_equal(np.asarray(Image.open(out / file.name)), want)
    for name in ('same.png', 'same.jpg', 'even.tif'):  # pixels of a JPEG change by rewriting it
        assert (out / name).read_bytes() == (folder / name).read_bytes()


def test_of_many_files_the_models_are_counted(tmp_path, capsys):
    folder = tmp_path / 'in'
    folder.mkdir()
    for i in range(12):
        pixels = np.uint16(noisy(1, seed=i)[..., 0].clip(0, 1) * (1000 + i))
        tifffile.imwrite(folder / f'{i}.tif', pixels)
    assert n2n('denoise', folder) == 0
    said = capsys.readouterr().err
    assert said.count('Model gaussian-gray.') == 10
    assert 'Model gaussian-gray: 12 images' in said
    assert 'captures' not in said  # no warning that values leave a range that was guessed


def test_a_folder_of_its_name_does_not_hide_the_model_that_is_chosen(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'gaussian-color' / 'checkpoints').mkdir(parents=True)
    assert n2n('denoise', save(tmp_path / 'photo.png', noisy(3))) == 0
    assert n2n('denoise', 'photo.png', '--force', '--model', 'gaussian-color') == 2


def test_a_model_can_be_named_and_options_of_a_run_need_one(tmp_path, capsys):
    photo = save(tmp_path / 'photo.png', noisy(3))
    assert n2n('denoise', photo, '--model', 'gaussian-gray') == 0
    assert capsys.readouterr().err.splitlines()[-1] == str(tmp_path / 'photo_denoised.png')
    for option in (['--error'], ['--combine', 'results'], ['--noise-level', '3']):
        assert n2n('denoise', photo, '--force', *option) == 2
        assert f'{option[0]} goes with a model that you name' in capsys.readouterr().err
    assert n2n('denoise', photo, '--force', '--error', '--model', 'gaussian-color') == 2
    assert 'does not hold the captures' in capsys.readouterr().err


def test_strength_0_gives_the_image_back(tmp_path):
    photo = save(tmp_path / 'photo.png', noisy(3))
    assert n2n('denoise', photo, '--strength', '0') == 0
    np.testing.assert_array_equal(Image.open(tmp_path / 'photo_denoised.png'), Image.open(photo))
