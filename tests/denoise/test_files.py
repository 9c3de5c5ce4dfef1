"""`n2n denoise` on real-world files: stacks, channels, types, metadata, bad input."""

import dataclasses
import json
import os
import signal
import time
import zipfile

import jax
import numpy as np
import pytest
import tifffile
from command_line import n2n as command
from PIL import Image
from small_files import denoise, identity, pixels, random_network
from tiny import tiny_config

from n2n_jax import models
from n2n_jax.denoise import files
from n2n_jax.denoise.denoiser import Denoiser
from n2n_jax.denoise.files import Options
from n2n_jax.denoise.jobs import Job, jobs_of_files
from n2n_jax.denoise.uncertainty import Calibration
from n2n_jax.images import image_io, row_writer
from n2n_jax.images.tiff_file import TiffFile
from n2n_jax.runtime import interrupts
from n2n_jax.runtime.checkpoint import Checkpoints
from n2n_jax.runtime.errors import UserError


@pytest.mark.parametrize(
    'dtype',
    ['uint8', 'uint16', 'uint32', 'int8', 'int16', 'int32', 'float16', 'float32', 'float64'],
)
def test_every_type_comes_back_in_its_own_type_and_units(dtype, tmp_path):
    image = pixels(45, 38, dtype=dtype, high=100)
    tifffile.imwrite(tmp_path / 'in.tif', image)
    np.save(tmp_path / 'in.npy', image)
    network = identity(shift=0.25, black=-20.0, white=100.0)  # adds a quarter of 120
    for suffix, read in (('.tif', tifffile.imread), ('.npy', np.load)):
        target = tmp_path / f'out{suffix}'
        assert denoise(network, tmp_path / f'in{suffix}', target) == []
        written = read(target)
        assert written.dtype == dtype
        want = np.minimum(image.astype(np.float64) + 30, 127 if dtype == 'int8' else np.inf)
        np.testing.assert_allclose(written, want, rtol=1e-3 if dtype == 'float16' else 1e-6)


def test_a_16_bit_ramp_through_tiles_of_an_identity_is_bit_exact(tmp_path):
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    tifffile.imwrite(tmp_path / 'in.tif', ramp, compression='zlib', predictor=True)
    assert denoise(identity(), tmp_path / 'in.tif', tmp_path / 'out.tif') == []
    np.testing.assert_array_equal(tifffile.imread(tmp_path / 'out.tif'), ramp)


@pytest.mark.parametrize('strength', [0.0, 0.25, 1.0])
def test_strength_blends_the_image_with_its_denoised_version(strength, tmp_path):
    image = pixels(45, 38, dtype='uint16', high=50_000)
    tifffile.imwrite(tmp_path / 'in.tif', image)
    options = Options(strength=strength)
    assert (
        denoise(identity(shift=0.1), tmp_path / 'in.tif', tmp_path / 'out.tif', options=options)
        == []
    )
    written = tifffile.imread(tmp_path / 'out.tif').astype(int)
    np.testing.assert_allclose(written - image, strength * 6553.5, atol=0.6)
    if not strength:
        np.testing.assert_array_equal(written, image)


def test_no_strength_gives_floats_back_bit_for_bit(tmp_path):
    image = np.random.default_rng(0).normal(0.5, 0.3, (20, 30)).astype(np.float32)
    image[3, 4], image[5, 6] = 1.7, -0.2
    np.save(tmp_path / 'in.npy', image)
    network = random_network()
    options = Options(strength=0.0)
    assert denoise(network, tmp_path / 'in.npy', tmp_path / 'out.npy', options=options) == []
    np.testing.assert_array_equal(np.load(tmp_path / 'out.npy'), image)
    np.testing.assert_array_equal(network(image, strength=0), image)
    half = network(image, strength=0.5)
    np.testing.assert_allclose(half, (image + network(image)) / 2, atol=1e-6)
    with pytest.raises(UserError, match='strength 2: must be between'):
        network(image, strength=2)


@pytest.mark.parametrize(('dtype', 'low'), [('uint16', 0), ('int16', -32768)])
def test_ends_of_the_range_saturate_and_never_wrap(dtype, low, tmp_path):
    image = np.array([[low, low + 3], [low + 65535, low + 65530]], dtype)
    tifffile.imwrite(tmp_path / 'in.tif', image)
    for shift, want in ((-0.001, low), (0.001, low + 65535)):
        network = identity(shift=shift)
        assert denoise(network, tmp_path / 'in.tif', tmp_path / f'{shift}.tif') == []
        written = tifffile.imread(tmp_path / f'{shift}.tif').astype(int)
        row = 0 if shift < 0 else 1
        assert (written[row] == want).all()
        np.testing.assert_allclose(written[1 - row], image[1 - row] + 65535 * shift, atol=1)


WAYS = {
    'plain': {},
    'tiled': {'tile': (16, 32)},
    'deflate': {'compression': 'zlib', 'predictor': True},
    'one strip': {'compression': 'zlib', 'rowsperstrip': 60},
    'tiled deflate, big-endian': {'tile': (16, 16), 'compression': 'zlib', 'byteorder': '>'},
    'big': {'bigtiff': True},
}


@pytest.mark.parametrize('way', WAYS)
def test_a_stack_is_denoised_image_by_image_and_stays_a_stack(way, tmp_path):
    stack = pixels(3, 60, 41, dtype='uint16', high=60000)
    tifffile.imwrite(tmp_path / 'in.tif', stack, photometric='minisblack', **WAYS[way])
    network = random_network()
    assert denoise(network, tmp_path / 'in.tif', tmp_path / 'out.tif') == []
    with tifffile.TiffFile(tmp_path / 'out.tif') as tif:
        assert len(tif.pages) == 3
        assert (tif.pages[0].compression != 1) == ('compression' in WAYS[way])
        written = tif.asarray()
    for image, cleaned in zip(stack, written, strict=True):
        np.testing.assert_array_equal(cleaned, network(image))


def test_imagej_stacks_keep_axes_scale_and_labels(tmp_path):
    image = pixels(2, 5, 20, 24, dtype='uint16')
    labels = [f'image {i}' for i in range(10)]
    metadata = {'axes': 'ZCYX', 'unit': 'um', 'spacing': 0.5, 'Labels': labels}
    for order in '<>':
        tifffile.imwrite(
            tmp_path / 'in.tif', image, imagej=True, resolution=(4.0, 4.0), metadata=metadata,
            byteorder=order,
        )  # fmt: skip
        assert denoise(identity(), tmp_path / 'in.tif', tmp_path / f'{order}.tif') == []
        with tifffile.TiffFile(tmp_path / f'{order}.tif') as tif:
            with tifffile.TiffFile(tmp_path / 'in.tif') as before:
                assert tif.imagej_metadata == before.imagej_metadata
            assert tif.imagej_metadata['Labels'] == labels
            assert tif.series[0].axes == 'ZCYX'
            assert tif.pages[0].resolution == (4.0, 4.0)
            np.testing.assert_array_equal(tif.asarray(), image)


STACKS = {
    'ome': {'ome': True},
    'shaped': {},
    'shaped, single directory': {'truncate': True},
    'imagej, single directory': {'truncate': True, 'imagej': True},
}


@pytest.mark.parametrize('how', STACKS)
def test_other_stacks_keep_their_axes(how, tmp_path):
    image = pixels(2, 3, 20, 24, dtype='uint16')
    source, target = tmp_path / 'in.tif', tmp_path / 'out.tif'
    metadata = {'axes': 'TZYX', 'Name': 'cells'}
    tifffile.imwrite(source, image, photometric='minisblack', metadata=metadata, **STACKS[how])
    assert denoise(identity(), source, target) == []
    with tifffile.TiffFile(target) as tif, tifffile.TiffFile(source) as before:
        assert len(tif.pages) == 6
        assert tif.series[0].axes == before.series[0].axes == 'TZYX'
        assert tif.ome_metadata == before.ome_metadata
        np.testing.assert_array_equal(tif.asarray(), image)


def test_description_resolution_profile_and_exif_are_kept(tmp_path):
    exif = Image.Exif()
    exif[0x010E] = 'fluorescence, 40x'
    frames = [Image.fromarray(pixels(20, 30)) for _ in range(2)]
    frames[0].save(
        tmp_path / 'in.tif', save_all=True, append_images=frames[1:], exif=exif, dpi=(300, 150),
        icc_profile=b'a profile', compression='tiff_lzw',
    )  # fmt: skip
    assert denoise(identity(), tmp_path / 'in.tif', tmp_path / 'out.tif') == []
    with Image.open(tmp_path / 'out.tif') as image:
        assert image.n_frames == 2
        assert image.info['dpi'] == (300, 150)
        assert image.info['icc_profile'] == b'a profile'
        assert image.getexif()[0x010E] == 'fluorescence, 40x'
        np.testing.assert_array_equal(np.asarray(image), np.asarray(frames[0]))


def test_exif_of_a_tiff_is_kept(tmp_path):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x829A] = 0.25  # exposure
    Image.fromarray(pixels(20, 30)).save(tmp_path / 'in.jpg', exif=exif)
    image_io.write_image(tmp_path / 'in.tif', image_io.read_image(tmp_path / 'in.jpg'))
    assert denoise(identity(), tmp_path / 'in.tif', tmp_path / 'out.tif') == []
    with Image.open(tmp_path / 'out.tif') as image:
        assert image.getexif().get_ifd(0x8769)[0x829A] == 0.25


def test_alpha_is_kept_and_other_channels_are_denoised_one_by_one(tmp_path):
    network = random_network()
    rgba, five = pixels(20, 24, 4), pixels(20, 24, 5)
    tifffile.imwrite(tmp_path / 'rgba.tif', rgba, photometric='rgb', extrasamples=['unassalpha'])
    tifffile.imwrite(tmp_path / 'five.tif', five, photometric='minisblack', planarconfig='contig')
    Image.fromarray(rgba).save(tmp_path / 'rgba.png')
    for name in ('rgba.tif', 'five.tif', 'rgba.png'):
        assert denoise(network, tmp_path / name, tmp_path / f'out_{name}') == []
    for name in ('rgba.tif', 'rgba.png'):
        np.testing.assert_array_equal(
            image_io.read_image(tmp_path / f'out_{name}').pixels, network(rgba)
        )
    written = tifffile.imread(tmp_path / 'out_five.tif')
    for c in range(5):
        np.testing.assert_array_equal(written[..., c], network(five[..., c]))


def test_a_color_network_sees_the_three_channels_of_a_stack_together(tmp_path):
    image = pixels(2, 3, 20, 24)
    tifffile.imwrite(tmp_path / 'in.tif', image, imagej=True, metadata={'axes': 'TCYX'})
    network = random_network(3)
    assert denoise(network, tmp_path / 'in.tif', tmp_path / 'out.tif') == []
    written = tifffile.imread(tmp_path / 'out.tif')
    for frame, cleaned in zip(image, written, strict=True):
        np.testing.assert_array_equal(cleaned.transpose(1, 2, 0), network(frame.transpose(1, 2, 0)))


@pytest.mark.parametrize('shape', [(20, 24), (20, 24, 3), (3, 20, 24), (2, 20, 24, 5)])
def test_numpy_files_keep_shape_type_and_order_of_bytes(shape, tmp_path):
    array = pixels(*shape, dtype='>u2')
    np.save(tmp_path / 'in.npy', np.asfortranarray(array))
    np.savez(tmp_path / 'in.npz', image=array)
    network = random_network()
    assert denoise(network, tmp_path / 'in.npy', tmp_path / 'out.npy') == []
    assert denoise(network, tmp_path / 'in.npz', tmp_path / 'out.npz') == []
    written = np.load(tmp_path / 'out.npy')
    assert (written.shape, written.dtype) == (shape, np.dtype('>u2'))
    np.testing.assert_array_equal(np.load(tmp_path / 'out.npz')['image'], written)
    plane = array[0] if len(shape) == 3 and shape[0] == 3 else array
    if plane.ndim == 2:
        np.testing.assert_array_equal(
            written[0] if len(shape) == 3 else written, network(plane.astype(np.uint16))
        )


@pytest.mark.parametrize('colors', ['RGB', 'Y'])
@pytest.mark.parametrize('dtype', [np.float16, np.float32])
def test_an_exr_keeps_alpha_layers_and_attributes(dtype, colors, tmp_path):
    OpenEXR = pytest.importorskip('OpenEXR')
    header = {'compression': OpenEXR.ZIP_COMPRESSION, 'type': OpenEXR.scanlineimage, 'take': 7}
    names = [*colors, 'A', 'normal.X']
    before = {name: pixels(30, 21, dtype=dtype, high=8) + k for k, name in enumerate(names)}
    (tmp_path / 'in').mkdir()
    source = tmp_path / 'in' / 'é 1.exr'
    OpenEXR.File(header, dict(before)).write(str(source))
    network = identity(shift=0.5, white=40.0)
    (job,) = jobs_of_files([tmp_path / 'in'], tmp_path / 'out')
    assert files.denoise_files(network, [job], Options()) == []
    with OpenEXR.File(str(tmp_path / 'out' / 'é 1.exr'), separate_channels=True) as file:
        after = {name: channel.pixels for name, channel in file.channels().items()}
        assert file.header()['take'] == 7
    assert set(after) == set(before)
    for name in names:
        assert after[name].dtype == dtype
        if name in colors:
            close = {'rtol': 1e-3 if dtype == np.float16 else 1e-6}
            np.testing.assert_allclose(after[name], before[name] + dtype(20), **close)
        else:
            np.testing.assert_array_equal(after[name], before[name])
    assert denoise(network, source, tmp_path / 'out.tif') == []
    written = np.atleast_3d(tifffile.imread(tmp_path / 'out.tif'))
    np.testing.assert_array_equal(written, np.stack([after[name] for name in colors], axis=-1))
    (failure,) = denoise(network, source, tmp_path / 'out.png')
    assert 'PNG cannot hold' in failure
    assert sorted(path.name for path in tmp_path.iterdir()) == ['in', 'out', 'out.tif']


def test_rows_are_read_and_written_in_pieces(tmp_path, monkeypatch):
    """At most a tile's rows are read at once, and no row is written twice."""
    image = pixels(300, 20, dtype='uint16')
    tifffile.imwrite(tmp_path / 'in.tif', image, rowsperstrip=8)
    asked, written = [], []
    read, write = TiffFile.read, row_writer._TiffTarget.write

    def watched_read(self, index, start, stop):
        asked.append(stop - start)
        return read(self, index, start, stop)

    def watched_write(self, index, rows_hWC):
        written.append(len(rows_hWC))
        return write(self, index, rows_hWC)

    monkeypatch.setattr(TiffFile, 'read', watched_read)
    monkeypatch.setattr(row_writer._TiffTarget, 'write', watched_write)
    assert denoise(identity(), tmp_path / 'in.tif', tmp_path / 'out.tif') == []
    assert max(asked) == 24  # core 16 and halo 4 on both sides
    assert max(written) <= 20
    assert sum(written) == 300
    np.testing.assert_array_equal(tifffile.imread(tmp_path / 'out.tif'), image)


def test_bigtiff_is_written_for_large_files(tmp_path, monkeypatch):
    from n2n_jax.images.codecs import tiff_writer

    monkeypatch.setattr(tiff_writer, '_CLASSIC_BYTES', 1000)
    image = pixels(2, 40, 30, dtype='uint16')
    metadata = {'axes': 'ZYX', 'unit': 'um'}
    tifffile.imwrite(tmp_path / 'in.tif', image, imagej=True, metadata=metadata)
    assert denoise(identity(), tmp_path / 'in.tif', tmp_path / 'out.tif') == []
    with tifffile.TiffFile(tmp_path / 'out.tif') as tif:
        assert tif.is_bigtiff
        assert tif.imagej_metadata['unit'] == 'um'
        np.testing.assert_array_equal(tif.asarray(), image)


def test_the_spread_is_in_the_units_of_the_file(tmp_path):
    stack = pixels(2, 40, 33, 4, dtype='uint16')
    tifffile.imwrite(tmp_path / 'in.tif', stack, photometric='rgb', extrasamples=['unassalpha'])
    network = random_network(white=1000.0, black=200.0)
    target, spread = tmp_path / 'out.tif', tmp_path / 'out_spread.tif'
    options = Options(tta=True)
    assert (
        denoise(network, tmp_path / 'in.tif', target, maps={'spread': spread}, options=options)
        == []
    )
    np.testing.assert_array_equal(tifffile.imread(target)[1], network(stack[1], tta=True))
    written = tifffile.imread(spread)
    assert (written.shape, written.dtype) == ((2, 40, 33, 3), np.float32)
    color_HWC = network.pixel_range(stack.dtype, 'x').to_network(stack[0, ..., :3])
    (band,) = Denoiser(network.config, network.variables, 0).bands(
        color_HWC.shape, [lambda start, stop: color_HWC[start:stop]], tta=True, spread=True
    )
    np.testing.assert_allclose(written[0], band.spread_hWC * 800, rtol=1e-3, atol=1e-3)


def bad_files(folder):
    """Files that cannot be denoised, each with a word of its error message."""
    tifffile.imwrite(folder / 'cut.tif', pixels(3, 40, 30), photometric='minisblack')
    data = (folder / 'cut.tif').read_bytes()
    (folder / 'cut.tif').write_bytes(data[: len(data) // 2])
    tifffile.imwrite(folder / 'damaged.tif', pixels(40, 30), compression='zlib')
    with tifffile.TiffFile(folder / 'damaged.tif') as tif:
        start = tif.pages[0].dataoffsets[0]
    data = bytearray((folder / 'damaged.tif').read_bytes())
    data[start : start + 20] = bytes(20)
    (folder / 'damaged.tif').write_bytes(data)
    (folder / 'cut.npy').write_bytes(b'\x93NUMPY\x01\x00v\x00{')
    for name, value in (('nan', np.nan), ('inf', np.inf), ('counts', 4000)):
        image = pixels(2, 20, 20, dtype='float32', high=1)
        image[1, 3, 4] = value
        tifffile.imwrite(folder / f'{name}.tif', image, photometric='minisblack')
    tifffile.imwrite(folder / 'int64.tif', pixels(20, 20, dtype='int64'))
    tifffile.imwrite(folder / 'int32.tif', pixels(20, 20, dtype='int32'))
    np.save(folder / 'int64.npy', pixels(20, 20, dtype='int64'))
    (folder / 'empty.png').write_bytes(b'')
    return {
        'cut.tif': 'truncated',
        'damaged.tif': 'damaged',
        'cut.npy': 'damaged',
        'nan.tif': r'(image 2 of 2) holds NaN or infinite values (1)',
        'inf.tif': 'NaN or infinite values',
        'counts.tif': 'to 4000',
        'int64.tif': 'int64',
        'int32.tif': 'stores no range',
        'int64.npy': 'int64',
        'empty.png': 'is empty',
    }


def test_bad_files_are_named_and_leave_nothing_behind(tmp_path):
    (tmp_path / 'in').mkdir()
    words = bad_files(tmp_path / 'in')
    tifffile.imwrite(tmp_path / 'in' / 'good.tif', pixels(20, 20))
    jobs = jobs_of_files([tmp_path / 'in'], tmp_path / 'out')
    failures = files.denoise_files(identity(), jobs, Options())
    assert len(failures) == len(words)
    for name, word in words.items():
        (failure,) = [text for text in failures if f'{os.sep}{name} ' in text]
        assert word in failure
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['good.tif']


def test_a_file_that_hits_a_bug_of_ours_does_not_stop_the_others(tmp_path, monkeypatch):
    (tmp_path / 'in').mkdir()
    for name in ('a', 'b', 'c', 'd'):
        tifffile.imwrite(tmp_path / 'in' / f'{name}.tif', pixels(20, 20))
    real = files._check

    def check(denoiser, source, *rest):
        if source.path.stem in 'abc':
            raise {'a': RuntimeError, 'b': MemoryError, 'c': OSError}[source.path.stem](5, 'words')
        return real(denoiser, source, *rest)

    monkeypatch.setattr(files, '_check', check)
    jobs = jobs_of_files([tmp_path / 'in'], tmp_path / 'out')
    failures = files.denoise_files(identity(), jobs, Options())
    for failure, words in zip(
        failures,
        (
            'a.tif is damaged, or this is a bug in n2n_jax (please report it): RuntimeError',
            'b.tif is damaged or does not fit into memory',
            'c.tif cannot be read or written: words.',
        ),
        strict=True,
    ):
        assert words in failure.replace(f' or {tmp_path}/out/c.tif', '')
    assert 'test_files.py:' in failures[0]  # names the code that raised it
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['d.tif']


def test_damaged_files_of_every_kind_do_not_stop_a_folder(tmp_path, caplog):
    (tmp_path / 'in').mkdir()
    np.savez(tmp_path / 'in' / 'a.npz', x=pixels(20, 20))
    with zipfile.ZipFile(tmp_path / 'in' / 'member.npz', 'w') as archive:
        archive.writestr('readme.txt', b'hello')
    (tmp_path / 'in' / 'cut.exr').write_bytes(b'v/1\x01\x02\0\0\0channels\0chlist\0')
    os.mkfifo(tmp_path / 'in' / 'pipe.png')
    (tmp_path / 'in' / 'device.npy').symlink_to('/dev/zero')
    (tmp_path / 'in' / 'gone.tif').symlink_to(tmp_path / 'nowhere')
    jobs = jobs_of_files([tmp_path / 'in'], tmp_path / 'out')
    failures = '\n'.join(files.denoise_files(identity(), jobs, Options()))
    for words in ('member.npz', 'cut.exr'):
        assert words in failures
    for words in (
        'pipe.png: it is a pipe',
        'device.npy: it is a pipe, a socket or a device, not a file',
        'gone.tif: it is a broken link',
    ):
        assert words in caplog.text
    (failure,) = denoise(identity(), tmp_path / 'in' / 'pipe.png', tmp_path / 'out.png')
    assert 'pipe.png cannot be read: it is a pipe' in failure
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['a.npz']


def test_what_another_program_writes_meanwhile_is_kept(tmp_path, monkeypatch, caplog):
    caplog.set_level('INFO')
    tifffile.imwrite(tmp_path / 'in.tif', pixels(20, 20))
    real, another = Denoiser.bands, tmp_path / 'out.tif'

    def bands(self, *arguments, **options):
        another.write_bytes(b"another's")
        yield from real(self, *arguments, **options)

    monkeypatch.setattr(Denoiser, 'bands', bands)
    said = []
    for existing, failed in (('refuse', True), ('skip', False)):
        another.unlink(missing_ok=True)
        options = Options(existing=existing)
        failures = denoise(identity(), tmp_path / 'in.tif', another, options=options)
        assert bool(failures) == failed
        said += failures
        assert another.read_bytes() == b"another's"
        assert sorted(path.name for path in tmp_path.iterdir()) == ['in.tif', 'out.tif']
    assert 'out.tif was written by another program' in said[0]
    assert 'out.tif exists already' in caplog.text
    options = Options(existing='replace')
    assert denoise(identity(), tmp_path / 'in.tif', another, options=options) == []
    np.testing.assert_array_equal(tifffile.imread(another), pixels(20, 20))


def test_an_interrupted_file_leaves_nothing_behind(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / 'in.tif', pixels(100, 40))
    apply, calls = Denoiser._apply, []

    def interrupted(self, noisy_HWC):
        calls.append(noisy_HWC)
        if len(calls) > 3:
            raise KeyboardInterrupt
        return apply(self, noisy_HWC)

    monkeypatch.setattr(Denoiser, '_apply', interrupted)
    (tmp_path / 'out').mkdir()
    with pytest.raises(KeyboardInterrupt):
        denoise(identity(), tmp_path / 'in.tif', tmp_path / 'out' / 'out.tif')
    assert list((tmp_path / 'out').iterdir()) == []


def test_a_stack_goes_into_no_file_of_single_images(tmp_path):
    tifffile.imwrite(tmp_path / 'in.tif', pixels(2, 20, 20), photometric='minisblack')
    (failure,) = denoise(identity(), tmp_path / 'in.tif', tmp_path / 'out.png')
    assert 'cannot hold the 2 images' in failure
    tifffile.imwrite(tmp_path / 'one.tif', pixels(20, 20), resolution=(300, 300))
    assert denoise(identity(), tmp_path / 'one.tif', tmp_path / 'one.png') == []
    np.testing.assert_array_equal(image_io.read_image(tmp_path / 'one.png').pixels, pixels(20, 20))


def test_values_far_from_the_range_of_the_model_are_warned_of(tmp_path, caplog):
    tifffile.imwrite(tmp_path / 'in.tif', pixels(20, 20, dtype='uint16', high=4000))
    network = identity(black=0.0, white=255.0)
    assert denoise(network, tmp_path / 'in.tif', tmp_path / 'out.tif') == []
    (record,) = caplog.records
    assert '0 to 255' in record.getMessage()


def test_a_model_that_gives_no_numbers_is_an_error(tmp_path):
    tifffile.imwrite(tmp_path / 'in.tif', pixels(20, 20))
    (failure,) = denoise(identity(shift=np.nan), tmp_path / 'in.tif', tmp_path / 'out.tif')
    assert 'NaN or infinite' in failure
    assert not (tmp_path / 'out.tif').exists()


def test_options_that_make_no_sense_are_refused(tmp_path, capsys):
    for options, words in (
        (['--spread'], '--tta'),
        (['--error', '--combine', 'results'], 'leave out --combine'),
        (['--pattern', '{scene}_{capture}.tif'], '--combine'),
        (['--tile', '-3'], '--tile -3'),
        (['--strength', '1.5'], '--strength 1.5: must be between'),
        (['--sigma', '5'], 'leave out --model, or --sigma'),
        (['--strength', 'nan'], '--strength nan: must be between'),
        (['--strength', '0.5', '--error'], 'leave out --strength'),
    ):
        assert command('denoise', tmp_path, '-o', 'out', '--model', tmp_path, *options) == 2
        assert words in capsys.readouterr().err


def test_the_model_that_is_named_is_the_one_that_is_used(image_folder, tmp_path, capsys):
    source = image_folder / 'image0.png'
    for seed in (0, 1):
        config = tiny_config(**{'optim.ema_decay': 0.0})
        variables = jax.jit(models.init, static_argnums=0)(config.model, jax.random.key(seed))
        (tmp_path / f'run{seed}').mkdir()
        with Checkpoints(tmp_path / f'run{seed}', keep=1) as checkpoints:
            checkpoints.save(1, {'variables': variables}, {'config': dataclasses.asdict(config)})
            checkpoints.wait()
        arguments = ('-o', tmp_path / f'{seed}.png', '--model', tmp_path / f'run{seed}')
        assert command('denoise', source, *arguments) == 0
        want = Denoiser(config.model, variables, step=1)(image_io.read_image(source).pixels)
        np.testing.assert_array_equal(image_io.read_image(tmp_path / f'{seed}.png').pixels, want)
    assert (tmp_path / '0.png').read_bytes() != (tmp_path / '1.png').read_bytes()
    arguments = ('-o', tmp_path / '2.png', '--model', tmp_path / 'run2')
    assert command('denoise', source, *arguments) == 2
    assert str(tmp_path / 'run2') in capsys.readouterr().err


def test_maps_of_errors_are_in_the_units_of_the_file(tmp_path):
    tifffile.imwrite(tmp_path / 'in.tif', pixels(40, 50, dtype='float32'))
    network = identity(shift=0.25, black=0.0, white=400.0)
    # Two bins of detail; nine captures in ten lie within twice the noise.
    calibration = Calibration({0.9: 2.0}, (0.5, float('inf')), (0.1, 0.3))
    maps = {kind: tmp_path / f'{kind}.tif' for kind in ('error', 'interval')}
    options = Options(calibration=calibration)
    assert (
        denoise(network, tmp_path / 'in.tif', tmp_path / 'out.tif', maps=maps, options=options)
        == []
    )
    written = {kind: tifffile.imread(path) for kind, path in maps.items()}
    assert all(found.dtype == np.float32 and found.shape == (40, 50) for found in written.values())
    # The network is off by a quarter of 400 everywhere; there is no other noise.
    np.testing.assert_allclose(written['interval'], 2 * 100, rtol=0.01)
    assert set(np.round(np.unique(written['error'] / 100), 2)) <= {np.float32(0.1), np.float32(0.3)}


def test_scene_folders_that_are_links_are_denoised(tmp_path):
    (tmp_path / 'far').mkdir()
    (tmp_path / 'cells').mkdir()
    tifffile.imwrite(tmp_path / 'far' / 'a.tif', pixels(9, 9))
    (tmp_path / 'cells' / 's1').symlink_to(tmp_path / 'far')
    jobs = jobs_of_files([tmp_path / 'cells'], tmp_path / 'out')
    assert files.denoise_files(identity(), jobs, Options()) == []
    assert (tmp_path / 'out' / 's1' / 'a.tif').exists()


def test_progress_counts_pixels_whatever_their_colors(tmp_path, monkeypatch):
    counts = []
    monkeypatch.setattr(
        files.ProgressLine, 'update', lambda self, count, details: counts.append(count)
    )
    tifffile.imwrite(tmp_path / 'in.tif', pixels(60, 50, 3), photometric='rgb')
    assert denoise(identity(), tmp_path / 'in.tif', tmp_path / 'out.tif') == []
    assert counts[-1] == counts[-2] == 60 * 50 / 1e6
    assert counts == sorted(counts)


def test_an_error_about_an_unknown_suffix_lists_the_known_ones(tmp_path):
    tifffile.imwrite(tmp_path / 'in.tif', pixels(8, 8))
    (failure,) = denoise(identity(), tmp_path / 'in.tif', tmp_path / 'out.xyz')
    assert 'out.xyz cannot be written: its name must end in .png, .tif,' in failure
    (tmp_path / 'in.csv').write_text('scene,path')
    (failure,) = denoise(identity(), tmp_path / 'in.csv', tmp_path / 'out.tif')
    assert 'in.csv cannot be read: ' in failure
    assert sorted(path.name for path in tmp_path.iterdir()) == ['in.csv', 'in.tif']


def test_the_shape_in_the_description_of_tifffile_is_right(tmp_path):
    tifffile.imwrite(tmp_path / 'in.tif', pixels(2, 3, 20, 24), photometric='minisblack')
    assert denoise(identity(), tmp_path / 'in.tif', tmp_path / 'out.tif') == []
    with tifffile.TiffFile(tmp_path / 'out.tif') as tif:
        assert json.loads(tif.pages[0].description)['shape'] == [2, 3, 20, 24]


def test_a_broken_model_of_captures_with_a_border_writes_no_copies(tmp_path):
    tifffile.imwrite(tmp_path / 'in.tif', pixels(24, 24, dtype='float32'))
    network = identity(shift=np.nan, black=0.0, white=200.0, constants='-9999')
    (failure,) = denoise(network, tmp_path / 'in.tif', tmp_path / 'out.tif')
    assert 'NaN or infinite' in failure
    assert not (tmp_path / 'out.tif').exists()


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.webp'])
def test_a_photograph_that_becomes_a_tiff_keeps_its_profile_and_stays_upright(suffix, tmp_path):
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = 'a maker', 6  # orientation: rotated by 90 degrees
    path = tmp_path / f'in{suffix}'
    Image.fromarray(pixels(20, 30, 3)).save(
        path, exif=exif, dpi=(300, 150), icc_profile=b'a profile'
    )
    maps = {'spread': tmp_path / 'out_spread.tif'}
    assert (
        denoise(identity(), path, tmp_path / 'out.tif', maps=maps, options=Options(tta=True)) == []
    )
    for name in ('out.tif', 'out_spread.tif'):
        with tifffile.TiffFile(tmp_path / name) as tif:
            tags = tif.pages[0].tags
            assert (tags[271].value, tags[274].value) == ('a maker', 6)
            assert bytes(tags[34675].value) == b'a profile'
            if suffix != '.webp':  # which cannot store it
                resolution = [part for tag in (282, 283) for part in tags[tag].value]
                np.testing.assert_allclose(
                    [resolution[0] / resolution[1], resolution[2] / resolution[3]], (300, 150), 1e-3
                )


@pytest.mark.parametrize(
    ('name', 'image', 'target', 'words'),
    [
        ('in.tif', pixels(20, 20, dtype='float32', high=1), 'out.png', 'PNG cannot hold float32'),
        ('in.tif', pixels(20, 20, dtype='uint16'), 'out.jpg', 'JPEG cannot hold uint16'),
        ('in.png', pixels(20, 20, 4), 'out.bmp', 'BMP cannot hold uint8 rgba'),
        ('in.npy', pixels(20, 20, 2), 'out.png', '2 channels: only TIFF can hold them'),
    ],
)
def test_what_a_format_cannot_hold_is_an_error_before_the_work(
    name, image, target, words, tmp_path, monkeypatch
):
    def never(self, *arguments, **options):
        raise AssertionError('the work was begun')

    monkeypatch.setattr(Denoiser, 'bands', never)
    if name == 'in.png':
        Image.fromarray(image).save(tmp_path / name)
    elif name == 'in.npy':
        np.save(tmp_path / name, image)
    else:
        tifffile.imwrite(tmp_path / name, image)
    (failure,) = denoise(identity(), tmp_path / name, tmp_path / target)
    assert words in failure
    assert not (tmp_path / target).exists()


@pytest.mark.parametrize('where', ['_check', 'num_pixels'])
def test_ctrl_c_that_a_library_mistakes_for_damage_ends_the_program(where, tmp_path, monkeypatch):
    for name in 'abc':
        tifffile.imwrite(tmp_path / f'{name}.tif', pixels(20, 20))
    real = getattr(files, where)

    def interrupted(*arguments):
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
        except KeyboardInterrupt:
            raise ImportError('initialization failed') from None
        return real(*arguments)

    monkeypatch.setattr(files, where, interrupted)
    jobs = [Job((tmp_path / f'{n}.tif',), (None,), tmp_path / f'out_{n}.tif') for n in 'abc']
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), interrupts.stoppable():
            files.denoise_files(identity(), jobs, Options())
    finally:
        signal.signal(signal.SIGINT, before)
    assert not list(tmp_path.glob('out_*'))


def test_a_long_stack_on_another_scale_is_warned_of_in_one_line(tmp_path, caplog):
    for count, words in ((1, 'may be poor.'), (2, 'another image of'), (9, '8 other images of')):
        caplog.clear()
        stack = pixels(count, 20, 20, dtype='uint16', high=4000)
        tifffile.imwrite(tmp_path / 'in.tif', stack, photometric='minisblack')
        network = identity(black=0.0, white=255.0)
        assert denoise(network, tmp_path / 'in.tif', tmp_path / f'{count}.tif') == []
        (record,) = caplog.records
        assert words in record.getMessage()


def test_files_that_appeared_meanwhile_are_not_counted_as_written(tmp_path, monkeypatch, capsys):
    (tmp_path / 'in').mkdir()
    (tmp_path / 'out').mkdir()
    for name in 'ab':
        tifffile.imwrite(tmp_path / 'in' / f'{name}.tif', pixels(20, 20))
    real = Denoiser.bands

    def bands(self, *arguments, **options):
        (tmp_path / 'out' / 'a.tif').write_bytes(b"another's")
        yield from real(self, *arguments, **options)

    monkeypatch.setattr(Denoiser, 'bands', bands)
    monkeypatch.setattr(Denoiser, 'load', classmethod(lambda cls, run: identity()))
    arguments = (tmp_path / 'in', '-o', tmp_path / 'out', '--model', tmp_path, '--skip-existing')
    assert command('denoise', *arguments) == 0
    said = capsys.readouterr().err.splitlines()
    assert said[-3:] == [
        'Skipped because the output has appeared meanwhile: 1.',
        '1 written:',
        str(tmp_path / 'out' / 'b.tif'),
    ]
