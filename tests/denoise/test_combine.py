"""Several captures of a scene become one image."""

import contextlib

import numpy as np
import pytest
import tifffile
from command_line import n2n as command
from PIL import Image
from small_files import identity, pixels, random_network

from n2n_jax.captures.grouping import find_scenes
from n2n_jax.denoise.denoiser import Denoiser
from n2n_jax.denoise.files import Options, denoise_files
from n2n_jax.denoise.jobs import Job, jobs_of_scenes
from n2n_jax.images import file_cache, image_io


@pytest.fixture
def captures(tmp_path):
    """A folder with two scenes of three captures each."""
    folder = tmp_path / 'cells'
    folder.mkdir()
    rng = np.random.default_rng(0)
    images = {}
    for scene in 'ab':
        images[scene] = rng.uniform(10, 200, (3, 40, 33)).astype(np.uint16)
        for k, image in enumerate(images[scene]):
            tifffile.imwrite(folder / f'{scene}_{k}.tif', image, description=f'capture {k}')
    return folder, images


@pytest.mark.parametrize('combine', ['results', 'captures'])
def test_captures_are_combined_to_one_output_per_scene(combine, captures, tmp_path):
    folder, images = captures
    scenes = find_scenes([folder])
    jobs = jobs_of_scenes(scenes, [folder], tmp_path / 'out')
    network = random_network(black=0.0, white=200.0)
    assert denoise_files(network, jobs, Options(combine=combine)) == []
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == ['a.tif', 'b.tif']
    scale = network.pixel_range(np.uint16, 'x')
    for scene, stack in images.items():
        noisy_NHWC = scale.to_network(stack)[..., None]
        if combine == 'results':
            want = np.mean([network.denoise(image) for image in noisy_NHWC], axis=0)
        else:
            want = network.denoise(noisy_NHWC.mean(axis=0))
        with tifffile.TiffFile(tmp_path / 'out' / f'{scene}.tif') as tif:
            assert tif.pages[0].description == 'capture 0'
            np.testing.assert_allclose(
                tif.asarray(), scale.to_pixels(want, name='x')[..., 0], atol=1
            )


@pytest.mark.parametrize('suffix', ['.tif', '.npy'])
def test_a_stack_of_captures_becomes_one_image(suffix, tmp_path):
    stack = pixels(4, 30, 20, dtype='uint16')
    source = tmp_path / f'stack{suffix}'
    if suffix == '.npy':
        np.save(source, stack)
    else:
        metadata = {'axes': 'ZYX', 'unit': 'um'}
        tifffile.imwrite(source, stack, imagej=True, metadata=metadata, resolution=(2.0, 2.0))
    scenes = find_scenes([source], interleaved=2)
    jobs = jobs_of_scenes(scenes, [source], tmp_path / 'out')
    assert denoise_files(identity(), jobs, Options(combine='results')) == []
    for k in range(2):
        path = tmp_path / 'out' / f'stack_{k + 1}{suffix}'
        written = np.load(path) if suffix == '.npy' else tifffile.imread(path)
        want = np.rint(stack[2 * k : 2 * k + 2].mean(axis=0))
        np.testing.assert_allclose(written, want, atol=1)
        assert written.shape == (30, 20)
        if suffix == '.tif':
            with tifffile.TiffFile(path) as tif:
                assert tif.imagej_metadata['unit'] == 'um'
                assert 'images' not in tif.imagej_metadata


@pytest.mark.parametrize('combine', ['results', 'captures'])
def test_a_stack_whose_channels_are_the_captures_becomes_their_mean(combine, tmp_path):
    stack = pixels(4, 30, 20, dtype='uint16')
    tifffile.imwrite(tmp_path / 'c.tif', stack, imagej=True, metadata={'axes': 'CYX'})
    scenes = find_scenes([tmp_path / 'c.tif'])
    for name in ('mean.tif', 'mean.png'):
        jobs = jobs_of_scenes(scenes, [tmp_path / 'c.tif'], tmp_path / name)
        network = identity(black=0.0, white=200.0)
        assert denoise_files(network, jobs, Options(combine=combine)) == []
        written = image_io.read_image(tmp_path / name).pixels
        assert (written.shape, written.dtype) == ((30, 20), np.uint16)
        np.testing.assert_allclose(written, stack.mean(axis=0), atol=1)


def test_captures_of_different_sizes_are_an_error(tmp_path):
    for k, side in enumerate((20, 24)):
        tifffile.imwrite(tmp_path / f'{k}.tif', pixels(side, 20))
    job = Job((tmp_path / '0.tif', tmp_path / '1.tif'), (0, 0), tmp_path / 'out.tif')
    (failure,) = denoise_files(identity(), [job], Options(combine='results'))
    assert 'differ' in failure
    assert '20x24' in failure
    assert not (tmp_path / 'out.tif').exists()


def test_the_command_combines_captures(captures, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Denoiser, 'load', classmethod(lambda cls, run: identity()))
    folder, images = captures
    arguments = (folder, '-o', tmp_path / 'größe und mehr', '--model', tmp_path, '--tta')
    options = ('--combine', 'results', '--pattern', '{scene}_{capture}.tif', '--spread')
    assert command('denoise', *arguments, *options, '--tile', 20) == 0
    listed = capsys.readouterr().err.splitlines()[-4:]
    want = [f'{scene}{end}.tif' for scene in 'ab' for end in ('', '_spread')]
    assert listed == [str(tmp_path / 'größe und mehr' / name) for name in want]
    for scene, stack in images.items():
        written = tifffile.imread(tmp_path / 'größe und mehr' / f'{scene}.tif')
        np.testing.assert_allclose(written, stack.mean(axis=0), atol=1)
    assert command('denoise', *arguments, *options) == 2
    assert '--force' in capsys.readouterr().err


@pytest.mark.parametrize('combine', ['results', 'captures'])
def test_where_one_capture_has_a_border_the_others_count(combine, tmp_path):
    stack = np.stack([pixels(24, 24, dtype='float32') + k for k in range(3)])
    stack[0, :, :8] = -9999
    stack[1, :, :4] = -9999
    stack[2, :, :2] = -9999
    for k, image in enumerate(stack):
        tifffile.imwrite(tmp_path / f'{k}.tif', image)
    job = Job(tuple(tmp_path / f'{k}.tif' for k in range(3)), (0,) * 3, tmp_path / 'out.tif')
    network = identity(shift=0.1, black=0.0, white=200.0, constants='-9999')
    assert denoise_files(network, [job], Options(combine=combine)) == []
    written = tifffile.imread(tmp_path / 'out.tif')
    np.testing.assert_array_equal(written[:, :2], -9999)
    for columns, captures in ((np.s_[2:4], [2]), (np.s_[4:8], [1, 2]), (np.s_[8:], [0, 1, 2])):
        want = stack[captures][:, :, columns].mean(axis=0) + 20
        np.testing.assert_allclose(written[:, columns], want, rtol=1e-4)


def test_channels_that_are_captures_keep_the_scale_of_the_image(tmp_path):
    source = tmp_path / 'c.tif'
    metadata = {'axes': 'CYX', 'unit': 'um', 'spacing': 2.0}
    stack = pixels(4, 20, 20, dtype='uint16')
    tifffile.imwrite(source, stack, imagej=True, metadata=metadata, resolution=(5.0, 5.0))
    jobs = jobs_of_scenes(find_scenes([source]), [source], tmp_path / 'out.tif')
    network = identity(black=0.0, white=200.0)
    assert denoise_files(network, jobs, Options(combine='results')) == []
    with tifffile.TiffFile(tmp_path / 'out.tif') as tif:
        assert tif.imagej_metadata['unit'] == 'um'
        assert 'channels' not in tif.imagej_metadata
        assert tif.pages[0].resolution == (5.0, 5.0)
        np.testing.assert_allclose(tif.asarray(), stack.mean(axis=0), atol=1)


def test_captures_with_and_without_alpha_are_combined(tmp_path):
    image = pixels(20, 20, 3)
    Image.fromarray(image).save(tmp_path / 'a.png')
    Image.fromarray(np.dstack([image, np.full((20, 20), 255, np.uint8)])).save(tmp_path / 'b.png')
    for first, second, channels in (('a', 'b', 3), ('b', 'a', 4)):
        job = Job(
            (tmp_path / f'{first}.png', tmp_path / f'{second}.png'), (0, 0), tmp_path / 'c.png'
        )
        options = Options(combine='results', existing='replace')
        assert denoise_files(identity(), [job], options) == []
        written = image_io.read_image(tmp_path / 'c.png').pixels
        np.testing.assert_array_equal(written[..., :3], image)
        assert written.shape[-1] == channels


@pytest.mark.parametrize('suffix', ['.tif', '.png'])
@pytest.mark.parametrize('combine', ['results', 'captures'])
def test_a_scene_may_have_more_captures_than_files_may_be_open(
    suffix, combine, tmp_path, monkeypatch
):
    stack = pixels(40, 30, 20)
    paths = [tmp_path / f'{k}{suffix}' for k in range(40)]
    for path, image in zip(paths, stack, strict=True):
        image_io.write_pixels(path, image)
    num_open, most = 0, 0
    real = file_cache.open_image

    @contextlib.contextmanager
    def counted(path):
        nonlocal num_open, most
        with real(path) as image:
            num_open += 1
            most = max(most, num_open)
            yield image
        num_open -= 1

    monkeypatch.setattr(file_cache, 'open_image', counted)
    job = Job(tuple(paths), (0,) * 40, tmp_path / f'out{suffix}')
    assert denoise_files(identity(), [job], Options(combine=combine)) == []
    written = image_io.read_image(job.target).pixels
    np.testing.assert_allclose(written, stack.mean(axis=0), atol=1)
    assert 1 <= most <= 8
    assert num_open == 0


def test_a_scene_of_many_captures_with_alpha_is_warned_of_once_a_capture(tmp_path, caplog):
    paths = [tmp_path / f'{k}.png' for k in range(12)]
    for path in paths:
        Image.fromarray(pixels(40, 20, 4, high=256)).save(path)
    job = Job(tuple(paths), (0,) * 12, tmp_path / 'out.png')
    assert denoise_files(identity(), [job], Options(combine='results')) == []
    told = [record.getMessage().partition(':')[0] for record in caplog.records]
    assert sorted(told) == sorted(str(path) for path in paths)
