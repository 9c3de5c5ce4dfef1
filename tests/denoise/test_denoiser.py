"""A trained denoiser on arrays and files."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from command_line import n2n as command
from tiny import first_variables, tiny_config, zero_variables

from n2n_jax.data import sources as data
from n2n_jax.denoise import denoiser
from n2n_jax.denoise.denoiser import Denoiser
from n2n_jax.images import image_io
from n2n_jax.runtime import device_memory
from n2n_jax.runtime.config import ModelConfig
from n2n_jax.runtime.errors import UserError
from n2n_jax.train import loop


def identity(channels=3):
    """A residual network whose weights are all 0: it returns every image unchanged."""
    config = ModelConfig(name='tiny', channels=channels, residual=True)
    variables = zero_variables(config)
    return Denoiser(config, variables, step=0)


def random_network(channels=3):
    config = ModelConfig(name='tiny', channels=channels, residual=False)
    return Denoiser(config, first_variables(config), step=0)


@pytest.mark.parametrize('shape', [(256, 256), (64, 1024, 1)])
def test_a_16_bit_ramp_survives_an_identity_network_bit_for_bit(shape):
    ramp = np.arange(65536, dtype=np.uint16).reshape(shape)
    np.testing.assert_array_equal(identity()(ramp), ramp)
    colors = np.stack([ramp.reshape(256, 256)] * 3, axis=-1)
    np.testing.assert_array_equal(identity()(colors), colors)


@pytest.mark.parametrize('channels', [1, 2, 3, 4])
@pytest.mark.parametrize('dtype', ['uint8', 'uint16', 'float32'])
def test_shape_and_type_are_kept_and_alpha_is_not_touched(channels, dtype):
    rng = np.random.default_rng(0)
    image = rng.random((20, 17, channels))
    image = (image * np.iinfo(dtype).max if dtype != 'float32' else image).astype(dtype)
    restored = random_network()(image)
    assert (restored.shape, restored.dtype) == (image.shape, image.dtype)
    if channels in (2, 4):
        np.testing.assert_array_equal(restored[..., -1], image[..., -1])
        image, restored = image[..., :-1], restored[..., :-1]
    assert (restored != image).any()


@pytest.mark.parametrize('channels', [2, 4, 5, 8])
def test_a_model_of_other_channels_denoises_arrays_of_these(channels):
    config = ModelConfig(name='tiny', channels=channels, residual=False, black=0.0, white=255.0)
    network = Denoiser(config, first_variables(config), step=0)
    image = np.random.default_rng(0).integers(0, 256, (20, 17, channels)).astype(np.uint8)
    restored = network(image)
    assert (restored.shape, restored.dtype) == (image.shape, image.dtype)
    scale = network.pixel_range(image.dtype, 'x')
    want = scale.to_pixels(network.denoise(scale.to_network(image)), name='x')
    np.testing.assert_array_equal(restored, want)  # no channel is mistaken for alpha
    assert (restored[..., -1] != image[..., -1]).any()
    with pytest.raises(UserError, match=f'has 3 channels, but the model was trained on {channels}'):
        network(image[..., [0, 1, 1]])


def test_a_gray_model_takes_five_channels_one_by_one():
    image = np.random.default_rng(0).integers(0, 256, (20, 17, 5)).astype(np.uint8)
    network = random_network(1)
    want = np.stack([network(image[..., c]) for c in range(5)], axis=-1)
    np.testing.assert_array_equal(network(image), want)


def test_a_crash_of_the_device_is_not_mistaken_for_a_lack_of_memory():
    crash = 'INTERNAL: CUDA error: an illegal memory access was encountered'
    assert not denoiser._is_out_of_memory(jax.errors.JaxRuntimeError(crash))
    for words in ('RESOURCE_EXHAUSTED: no room', 'Out of memory while', 'CUDA_ERROR_OUT_OF_MEMORY'):
        assert denoiser._is_out_of_memory(jax.errors.JaxRuntimeError(words))
    assert denoiser._is_out_of_memory(MemoryError())


def test_arrays_on_another_scale_than_the_captures_are_warned_of(caplog):
    counts = np.random.default_rng(0).uniform(0, 3200, (20, 24)).astype(np.uint16)
    config = ModelConfig(name='tiny', channels=1, residual=True, black=0.0, white=3200.0)
    variables = zero_variables(config)
    network = Denoiser(config, variables, step=0)
    for image in (counts, counts.astype(np.float32), np.zeros_like(counts)):
        network(image)
    assert not caplog.records
    for image, words in (
        ((counts / 3200).astype(np.float32), 'float32 values from .* 0.031 % of 0 to 3200'),
        ((counts / 3200 * 255).astype(np.uint8), 'uint8 values .* this type cannot hold 0 to 3200'),
        ((counts / 3200 * 255).astype(np.uint16), 'uint16 values from .* 7.9 % of 0 to 3200'),
        ((counts * 16.0).astype(np.float32), '% of the values lie far outside 0 to 3200'),
    ):
        caplog.clear()
        network(image)
        (record,) = caplog.records
        assert re.search(words, record.getMessage())


def test_an_image_with_hardly_any_noise_is_warned_of():
    """A copy on another scale whose values lie within the range, or one denoised before."""
    config = ModelConfig(
        name='tiny', channels=1, black=0.0, white=1000.0, noise='0.05', center='0.5', contrast='0.8'
    )
    network = Denoiser(config, {}, step=0)
    rng = np.random.default_rng(0)
    ramp_HWC = np.tile(np.linspace(100, 900, 80)[:, None], (60, 1, 1))
    for sigma, words in (
        (50, ''),
        (200, ''),
        (20, ''),
        (5, r'noise of at most 8.\d, .* noise of 50:'),
    ):
        noisy_HWC = (ramp_HWC + rng.normal(0, sigma, ramp_HWC.shape)).astype(np.float32)
        doubt = network.doubt(noisy_HWC, 'x')
        assert re.search(words, doubt) if words else not doubt


def test_sizes_from_1_to_70_come_back():
    network = random_network(1)
    for side in (1, 2, 3, 7, 11, 31, 32, 33, 70):
        for shape in ((side, 70), (70, side), (side, side)):
            image = np.random.default_rng(side).integers(1, 256, size=shape).astype(np.uint8)
            assert network(image).shape == shape
            np.testing.assert_array_equal(identity(1)(image), image)


def test_a_gray_network_takes_color_channel_by_channel_and_the_other_way_round():
    rng = np.random.default_rng(0)
    color = rng.random((16, 16, 3), np.float32)
    network = random_network(1)
    want = np.concatenate([network(color[..., i : i + 1]) for i in range(3)], axis=-1)
    np.testing.assert_array_equal(network(color), want)
    network = random_network(3)
    gray = color[..., :1]
    want = network(np.repeat(gray, 3, axis=-1)).mean(axis=-1, keepdims=True)
    np.testing.assert_allclose(network(gray), want, atol=1e-6)


def test_output_saturates_and_never_wraps():
    config = ModelConfig(name='tiny', channels=1, residual=True)
    variables = zero_variables(config)
    bias = variables['params']['network']['Conv_1']['bias']
    for shift, want in ((0.5, 255), (-0.5, 0)):
        variables['params']['network']['Conv_1']['bias'] = np.full_like(bias, shift)
        image = np.array([[0, 255], [10, 250]], np.uint8)
        restored = Denoiser(config, variables, step=0)(image)
        assert restored.flat[1 if want == 255 else 0] == want
        assert set(restored.ravel()) <= {0, 122, 123, 127, 128, 137, 138, 255}


def test_wrong_arrays_are_refused():
    with pytest.raises(UserError, match=r'\(2, 3, 4, 5\)'):
        identity()(np.zeros((2, 3, 4, 5), np.uint8))
    with pytest.raises(UserError, match=r'from 0 to 4095.*\[0, 1\]'):
        identity()(np.linspace(0, 4095, 64, dtype=np.float32).reshape(8, 8))


def test_an_image_too_large_for_the_memory_is_refused_before_it_is_tried(monkeypatch):
    monkeypatch.setattr(device_memory, 'available_bytes', lambda: 1 << 10)
    with pytest.raises(UserError, match=r'image \(512x512\) cannot .* a tile needs .* of memory'):
        random_network()(np.zeros((512, 512, 3), np.uint8))


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    return tmp_path_factory.mktemp('trained') / 'run'


@pytest.fixture
def run_folder(image_folder, trained, tmp_path):
    """A copy of a run that is trained once."""
    if not trained.exists():  # not in a fixture of the file, which knows no tiny network yet
        sets = {'data.train': f'folder:{image_folder}', 'eval.sets': f'folder:{image_folder}'}
        loop.train(tiny_config(**sets, **{'eval.every': 0, 'train.steps': 2}), trained)
    return shutil.copytree(trained, tmp_path / 'run')


def test_the_command_writes_what_the_function_returns(run_folder, image_folder, tmp_path, capsys):
    source, target = image_folder / 'image0.png', tmp_path / 'clean.png'
    assert command('denoise', source, '-o', target, '--model', run_folder) == 0
    want = Denoiser.load(run_folder)(image_io.read_image(source).pixels)
    np.testing.assert_array_equal(image_io.read_image(target).pixels, want)
    assert str(target) in capsys.readouterr().err.splitlines()[-1]


def test_without_an_output_the_command_writes_beside_the_photograph(
    run_folder, image_folder, tmp_path, capsys
):
    source = shutil.copy(image_folder / 'image0.png', tmp_path / 'photo.png')
    arguments = ('denoise', source, '--model', run_folder)
    assert command(*arguments, '--strength', '0') == 0
    written = tmp_path / 'photo_denoised.png'
    assert str(written) in capsys.readouterr().err.splitlines()[-1]
    np.testing.assert_array_equal(
        image_io.read_image(written).pixels, image_io.read_image(source).pixels
    )
    assert command(*arguments) == 2
    assert f'{written} exists' in capsys.readouterr().err
    assert command(*arguments, '--combine', 'results') == 2
    assert 'give their folder with -o' in capsys.readouterr().err


def test_skip_existing_resumes_a_folder(run_folder, image_folder, tmp_path, capsys):
    arguments = ('denoise', image_folder, '-o', tmp_path / 'out', '--model', run_folder)
    assert command(*arguments) == 0
    (tmp_path / 'out' / 'image0.png').unlink()
    kept = next(path for path in (tmp_path / 'out').rglob('*.png'))
    before = kept.stat().st_mtime_ns
    assert command(*arguments) == 2
    assert '--skip-existing' in capsys.readouterr().err
    assert command(*arguments, '--skip-existing') == 0
    assert (tmp_path / 'out' / 'image0.png').exists()
    assert kept.stat().st_mtime_ns == before
    assert command(*arguments, '--skip-existing') == 0  # nothing left to do
    assert command(*arguments, '--skip-existing', '--tta', '--spread') == 2  # images without maps
    assert 'use --force in place of --skip-existing' in capsys.readouterr().err
    assert command(*arguments, '--tile', '0') == 2
    assert '--tile 0: must be at least 1 pixel' in capsys.readouterr().err


def test_outputs_that_would_go_wrong_are_refused(run_folder, image_folder, tmp_path, capsys):
    files = (image_folder / 'image0.png', image_folder / 'image1.png')
    for inputs, output, words in (
        (files, tmp_path / 'two.png', 'several images need a folder'),
        ((image_folder,), image_folder / 'out', 'is inside'),
        (files[:1], '', 'the path is empty'),
    ):
        assert command('denoise', *inputs, '-o', output, '--model', run_folder) == 2
        assert words in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == sorted([image_folder, run_folder])


def test_one_output_that_cannot_be_written_does_not_stop_the_others(
    run_folder, image_folder, tmp_path, capsys
):
    nested = tmp_path / 'in'
    for name in ('a/x.png', 'b.png'):
        (nested / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(image_folder / 'image0.png', nested / name)
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'a').write_text('in the way')
    status = command('denoise', nested, '-o', tmp_path / 'out', '--model', run_folder)
    error = capsys.readouterr().err
    assert status == 2
    assert f'{tmp_path}/out/a/x.png cannot be written' in error
    assert '1 of 2 images failed' in error
    assert (tmp_path / 'out' / 'b.png').exists()


@pytest.mark.parametrize(('value', 'word'), [(np.nan, 'NaN or inf'), (200.0, 'scale it first')])
def test_values_that_mean_nothing_are_refused_everywhere(value, word, tmp_path):
    pixels = np.full((20, 20), 0.5, np.float32)
    pixels[3, 4] = value
    image_io.write_pixels(tmp_path / 'deep.tif', pixels)
    with pytest.raises(UserError, match=word):
        random_network().restore(image_io.read_image(tmp_path / 'deep.tif'))
    sheet = ('show-noise', 'gaussian:25', '--image', tmp_path / 'deep.tif')
    assert command(*sheet, '-o', tmp_path / 'sheet.png') == 2
    assert not (tmp_path / 'sheet.png').exists()
    with pytest.raises(UserError, match='can be read'):
        data.open_source(f'folder:{tmp_path}', skip_bad=True)


def test_denoising_does_not_import_tensorflow(run_folder, image_folder, tmp_path):
    # A fake TensorFlow that can be imported: without it the test cannot fail where TensorFlow is
    # not installed.
    (tmp_path / 'packages' / 'tensorflow').mkdir(parents=True)
    (tmp_path / 'packages' / 'tensorflow' / '__init__.py').write_text('')
    code = (
        'import sys\n'
        'from tiny import TinyNet\n'
        'from n2n_jax.cli import n2n as cli; from n2n_jax import models\n'
        "models.REGISTRY['tiny'] = TinyNet\n"
        'cli.main(sys.argv[1:])\n'
        "assert 'tensorflow' not in sys.modules\n"
        'import tensorflow\n'  # proves that the fake can be found
    )
    target = tmp_path / 'clean.png'
    paths = [tmp_path / 'packages', Path(__file__).parents[1], Path(__file__).parents[2]]
    arguments = ['denoise', image_folder / 'image0.png', '-o', target, '--model', run_folder]
    subprocess.run(
        [sys.executable, '-c', code, *map(str, arguments)],
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(map(str, paths))},
        check=True,
    )
    assert target.exists()


def test_nothing_is_overwritten_unasked(run_folder, image_folder, tmp_path, capsys):
    source, target = image_folder / 'image0.png', tmp_path / 'clean.png'
    target.write_bytes(b'precious')
    assert command('denoise', source, '-o', target, '--model', run_folder) == 2
    assert target.read_bytes() == b'precious'
    assert '--force' in capsys.readouterr().err
    assert command('denoise', source, '-o', target, '--model', run_folder, '--force') == 0
    before = source.read_bytes()
    assert command('denoise', source, '-o', source, '--model', run_folder, '--force') == 2
    assert 'one of the inputs' in capsys.readouterr().err
    assert source.read_bytes() == before


def test_a_folder_keeps_its_structure_and_bad_files_do_not_stop_it(
    run_folder, image_folder, tmp_path, capsys
):
    (image_folder / 'deep').mkdir()
    (image_folder / 'image1.png').rename(image_folder / 'deep' / 'image1.png')
    (image_folder / 'bad.png').write_text('not an image')
    output = tmp_path / 'cleaned'
    assert command('denoise', image_folder, '-o', output, '--model', run_folder) == 2
    written = sorted(str(path.relative_to(output)) for path in output.rglob('*.png'))
    assert written == ['deep/image1.png', 'image0.png', 'image2.png', 'image3.png', 'image4.png']
    message = capsys.readouterr().err
    assert 'bad.png' in message
    assert '1 of 6 images failed' in message


@pytest.mark.parametrize(
    ('arguments', 'word'),
    [
        (['/nowhere.png', '-o', 'out.png', '--model', 'RUN'], '/nowhere.png'),
        (['IMAGES/image0.png', '-o', 'out.png', '--model', '/no/run'], '/no/run'),
        (['IMAGES/image0.png', 'IMAGES/image1.png', '-o', 'IMAGES/image2.png', '--model', 'RUN'],
         'several images need a folder'),
    ],
)  # fmt: skip
def test_wrong_arguments_are_one_sentence(
    arguments, word, run_folder, image_folder, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    arguments = [
        a.replace('RUN', str(run_folder)).replace('IMAGES', str(image_folder)) for a in arguments
    ]
    assert command('denoise', *arguments) == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith('error: ')
    assert word in message


def test_show_noise_draws_a_contact_sheet(tmp_path):
    sheet = tmp_path / 'noise.png'
    assert command('show-noise', 'gaussian:25', 'blur:2+impulse:0.3', '-o', sheet) == 0
    pixels = image_io.read_image(sheet).pixels
    assert pixels.shape[0] > 512
    assert pixels.shape[1] > 3 * 256
    assert command('show-noise', 'gausian:25', '-o', sheet) == 2
    before = sheet.read_bytes()
    assert command('show-noise', 'gaussian:25', '-o', sheet) == 2  # the file exists already
    assert sheet.read_bytes() == before
    assert command('show-noise', 'gaussian:25', '-o', sheet, '--force') == 0
    assert sheet.read_bytes() != before


def test_loading_a_model_prints_nothing(run_folder, caplog, capfd):
    Denoiser.load(run_folder)
    assert not caplog.records
    assert capfd.readouterr() == ('', '')


def test_integers_without_a_full_scale_are_refused(run_folder):
    denoiser = Denoiser.load(run_folder)
    with pytest.raises(UserError, match='int64 values'):
        denoiser(np.full((8, 8, 3), 128))


def test_a_target_that_is_another_input_is_refused(run_folder, tmp_path):
    (tmp_path / 'deep').mkdir()
    for path in (tmp_path / 'a.png', tmp_path / 'deep' / 'a.png'):
        image_io.write_pixels(path, np.full((8, 8), 9, np.uint8))
    arguments = (tmp_path, '-o', tmp_path / 'deep', '--model', run_folder, '--force')
    assert command('denoise', *arguments) == 2
    assert np.all(image_io.read_image(tmp_path / 'deep' / 'a.png').pixels == 9)


def test_help_shows_examples(capsys):
    assert command('--help') == 0
    assert 'n2n denoise photo.jpg' in capsys.readouterr().out


def with_constants(*, channels=1, shift=0.0):
    """A network that adds `shift`, trained on captures where -9999 means no data."""
    config = ModelConfig(
        name='tiny', channels=channels, black=0.0, white=1000.0, constants='-9999'
    )  # fmt: skip
    variables = zero_variables(config)
    bias = variables['params']['network']['Conv_1']['bias']
    variables['params']['network']['Conv_1']['bias'] = np.full_like(bias, shift)
    return Denoiser(config, variables, step=0)


def bordered(*shape):
    image = np.random.default_rng(0).uniform(100, 900, shape).astype(np.float32)
    image[:, :8] = -9999
    return image


@pytest.mark.parametrize('shift', [np.nan, np.inf])
def test_a_broken_model_of_captures_with_a_border_is_an_error(shift):
    network = with_constants(shift=shift)
    with pytest.raises(UserError, match='NaN or infinite'):
        network(bordered(24, 24))
    with pytest.raises(UserError, match='NaN or infinite'):
        network(np.float32(bordered(24, 24)[:, 8:]))  # without the border too


@pytest.mark.parametrize('channels', [1, 2, 3, 4, 5])
@pytest.mark.parametrize('of_model', [1, 3])
def test_a_border_is_kept_whatever_channels_an_image_has(of_model, channels):
    network = with_constants(channels=of_model, shift=0.1)
    image = bordered(24, 24, channels)
    denoised = network(image)
    np.testing.assert_array_equal(denoised[:, :8], -9999)
    colors = channels - (channels in (2, 4))
    want = image[:, 8:, :colors] + 100
    np.testing.assert_allclose(denoised[:, 8:, :colors], want, rtol=1e-4)
