"""One reader: training, clean images, photographs and denoising see the same pixels."""

import gc
import io as io_module
import logging
import os
import shutil
import struct
import warnings
import zipfile
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import odd_files
import pytest
import tifffile
from PIL import Image

from n2n_jax import images
from n2n_jax.captures.grouping import find_scenes
from n2n_jax.captures.scene_files import Capture, Scene, read_scene, read_scenes
from n2n_jax.data.sources.folder import FolderSource
from n2n_jax.images import file_cache, image_io, row_writer, stacks
from n2n_jax.runtime import host_memory
from n2n_jax.runtime.errors import UserError


def by_training(path):
    """Reads every image as a capture, without alpha."""
    count = stacks.open_stack(path).num_images
    scenes = [Scene(str(k), (Capture(path, k),)) for k in range(count)]
    return [captures_NHWC[0] for captures_NHWC in read_scenes(scenes)]


def by_denoising(path):
    """Reads every image in blocks of seven rows, without alpha."""
    with images.open_image(path) as source:
        found = []
        for index, frame in enumerate(source.frames):
            rows = [
                source.read(index, top, min(top + 7, frame.height))
                for top in range(0, frame.height, 7)
            ]
            assert all(part.dtype == frame.dtype for part in rows)
            found.append(np.concatenate(rows)[..., : frame.channels])
        return found


def outcome(read, path):
    try:
        return read(path)
    except UserError as error:
        return str(error)


def written(name, write, folder):
    path = folder / name
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # from the libraries that write
        return path, write(path)


@pytest.mark.parametrize('name', odd_files.READ)
def test_training_and_denoising_see_the_same_pixels(name, tmp_path):
    path, want = written(name, odd_files.READ[name], tmp_path)
    for read in (by_training, by_denoising):
        found = outcome(read, path)
        assert not isinstance(found, str), found
        assert len(found) == len(want)
        for image_HWC, want_HWC in zip(found, want, strict=True):
            np.testing.assert_array_equal(image_HWC, want_HWC)
            assert image_HWC.dtype == want_HWC.dtype.newbyteorder('=')
    one = outcome(image_io.read_image, path)
    if len(want) == 1 and not isinstance(one, str):  # else of too many channels
        colors_HWC = np.atleast_3d(one.pixels)[..., : 3 if 'rgb' in one.mode else 1]
        np.testing.assert_array_equal(colors_HWC, want[0])
        assert image_io.image_size(path)[:2] == want[0].shape[:2]


@pytest.mark.parametrize('name', odd_files.REFUSED)
def test_all_readers_refuse_a_file_with_the_same_error(name, tmp_path):
    write, words = odd_files.REFUSED[name]
    path, _ = written(name, write, tmp_path)
    sentences = {outcome(read, path) for read in (by_training, by_denoising)}
    assert len(sentences) == 1
    (sentence,) = sentences
    assert isinstance(sentence, str), 'it was read'
    with pytest.raises(UserError, match=words):
        image_io.read_image(path)
    assert sentence == outcome(image_io.read_image, path) == outcome(image_io.image_size, path)


def copied(source_path, target_path):
    """Returns what `n2n denoise` writes if it changes no pixel."""
    with (
        images.open_image(source_path) as source,
        row_writer.open_target(target_path, source) as target,
    ):
        for index, frame in enumerate(source.frames):
            for top in range(0, frame.height, 7):
                target.write(index, source.read(index, top, min(top + 7, frame.height)))


@pytest.mark.parametrize('name', odd_files.READ)
def test_tiffs_read_back_as_they_were_written(name, tmp_path):
    path, want = written(name, odd_files.READ[name], tmp_path)
    copied(path, tmp_path / 'copy.tif')
    found = by_denoising(tmp_path / 'copy.tif')
    for image_HWC, want_HWC in zip(found, want, strict=True):
        np.testing.assert_array_equal(image_HWC, want_HWC)
    with images.open_image(path) as before, images.open_image(tmp_path / 'copy.tif') as after:
        assert list(after.frames) == list(before.frames)
        for index, frame in enumerate(before.frames):
            kept = [image.read(index)[..., frame.channels :] for image in (before, after)]
            np.testing.assert_array_equal(*kept)


@pytest.mark.parametrize('dtype', ['uint8', 'uint16', 'int16', 'float32'])
def test_where_white_is_zero_a_denoised_image_looks_as_the_noisy_one(dtype, tmp_path):
    """Larger values look darker in both, or brighter in both."""
    stored = (odd_files.DEEP[0] // 16).astype(dtype)
    tifffile.imwrite(tmp_path / 'a.tif', stored, photometric='miniswhite')
    copied(tmp_path / 'a.tif', tmp_path / 'b.tif')
    with tifffile.TiffFile(tmp_path / 'b.tif') as tif:
        page = tif.pages.first
        is_dark = page.photometric == tifffile.PHOTOMETRIC.MINISWHITE
        top = {'uint8': 255, 'uint16': 65535}.get(dtype, 0)
        np.testing.assert_array_equal(page.asarray(), stored if is_dark else top - stored)
        assert is_dark == (dtype in ('int16', 'float32'))


def test_booleans_in_an_archive_are_written_as_gray(tmp_path):
    np.savez(tmp_path / 'a.npz', mask=odd_files.DEEP > 2000)
    for name in ('b.npz', 'b.npy'):
        copied(tmp_path / 'a.npz', tmp_path / name)
        loaded = np.load(tmp_path / name)
        array = loaded if name == 'b.npy' else loaded['mask']
        np.testing.assert_array_equal(array, np.uint8(255) * (odd_files.DEEP > 2000))


@pytest.mark.parametrize('key', ['file', 'allow_pickle', 'folder/image'])
def test_an_array_of_any_name_in_an_archive_is_written_back(key, tmp_path):
    """np.savez takes the names of its own parameters for those."""
    with zipfile.ZipFile(tmp_path / 'a.npz', 'w') as archive, archive.open(f'{key}.npy', 'w') as f:
        np.lib.format.write_array(f, odd_files.DEEP)
    copied(tmp_path / 'a.npz', tmp_path / 'b.npz')
    with np.load(tmp_path / 'b.npz') as loaded:
        assert loaded.files == [key]
        np.testing.assert_array_equal(loaded[key], odd_files.DEEP)


def test_photographs_are_read_as_captures_are(tmp_path):
    for name in ('palette.tif', 'rgb and two samples.tif', 'planar.tif', 'on its side.jpg'):
        folder = tmp_path / name[:4]
        folder.mkdir()
        _, (want,) = written(name, odd_files.READ[name], folder)
        source = FolderSource(folder)
        assert source.size(0) == want.shape[:2]
        np.testing.assert_array_equal(source.read(0), want)


def test_each_file_of_an_ome_set_holds_its_own_image(tmp_path):
    files = odd_files.ome_set(tmp_path)
    (scene,) = find_scenes([tmp_path])
    assert [capture.path for capture in scene.captures] == files
    np.testing.assert_array_equal(read_scene(scene)[..., 0], odd_files.DEEP[:3])
    files[2].unlink()  # the others still list it
    (scene,) = find_scenes([tmp_path])
    np.testing.assert_array_equal(read_scene(scene)[..., 0], odd_files.DEEP[:2])


def test_three_captures_that_tifffile_saved_as_colors_are_explained(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        tifffile.imwrite(tmp_path / 'three.tif', odd_files.DEEP[:3])
    for given in (tmp_path / 'three.tif', tmp_path):
        with pytest.raises(UserError, match="tifffile.imwrite.*photometric='minisblack'"):
            find_scenes([given])


def test_a_fourth_capture_marked_as_alpha_causes_a_warning(tmp_path, caplog):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        tifffile.imwrite(tmp_path / 'four.tif', odd_files.DEEP[:4])
    for read in (by_training, by_denoising):
        caplog.clear()
        read(tmp_path / 'four.tif')
        (record,) = caplog.records
        assert 'four.tif: sample 4 of each pixel is marked as alpha' in record.getMessage()
        assert "tifffile.imwrite(..., photometric='minisblack')" in record.getMessage()
        assert record.levelno == logging.WARNING


def test_a_png_whose_alpha_is_a_capture_is_not_blamed_on_tifffile(tmp_path, caplog):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 4)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / 'a.png')
    by_denoising(tmp_path / 'a.png')
    (record,) = caplog.records
    assert 'tif' not in record.getMessage().replace('TIFF or NumPy file', '')


def test_real_alpha_causes_no_warning(tmp_path, caplog):
    alpha = np.zeros((64, 64), np.uint8)
    alpha[8:50, 8:50] = 255
    alpha[20:40, 20:40] = np.arange(20) * 12  # soft edges
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(np.dstack([noise, alpha])).save(tmp_path / 'a.png')
    by_training(tmp_path / 'a.png')
    assert not caplog.records


def test_a_stack_is_opened_once_however_many_scenes_it_holds(tmp_path, monkeypatch):
    from n2n_jax.images.codecs import tiff_reader

    odd_files.pages(tmp_path / 's.tif', odd_files.DEEP)
    scenes = find_scenes([tmp_path / 's.tif'], interleaved=2)
    opened = []
    real = tiff_reader.TiffReader.__init__
    monkeypatch.setattr(
        tiff_reader.TiffReader, '__init__', lambda self, file: opened.append(1) or real(self, file)
    )
    found = np.concatenate(list(read_scenes(scenes)))
    np.testing.assert_array_equal(found[..., 0], odd_files.DEEP)
    assert len(opened) == 1


def test_our_own_mistakes_keep_their_traceback(tmp_path, monkeypatch):
    from n2n_jax.images.tiff_file import TiffFile

    path, _ = written('a.tif', odd_files.by_tifffile(odd_files.DEEP[0]), tmp_path)

    def mistaken(self, index, start, stop):
        return None + 1

    monkeypatch.setattr(TiffFile, '_read', mistaken)
    for read in (by_training, by_denoising, image_io.read_image):
        with pytest.raises(TypeError):
            read(path)


def entries(*tags, following=0):
    return (
        struct.pack('<H', len(tags))
        + b''.join(struct.pack('<HHII', *tag) for tag in sorted(tags))
        + struct.pack('<I', following)
    )


def small_tiff(*, width=10, height=10, compression=1, start=300, length=100, following=0, more=()):
    """Returns a TIFF with one directory at byte 8, and zeros up to byte 300."""
    tags = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, compression),
        (262, 3, 1, 1), (273, 4, 1, start), (277, 3, 1, 1), (278, 4, 1, height),
        (279, 4, 1, length), *more,
    ]  # fmt: skip
    head = b'II*\0' + struct.pack('<I', 8) + entries(*tags, following=following)
    return head + bytes(300 - len(head))


def a_page_that_follows_itself():
    return small_tiff(following=8) + bytes(100)


def two_pages_that_form_a_loop():
    first = small_tiff(following=400) + bytes(100)
    return first + small_tiff(following=8)[8:]


def wide_in_tiny_tiles():
    """Returns a TIFF of eight million columns in tiles of 16, of which one is present."""
    tags = [(256, 4, 1, 7_900_000), (257, 4, 1, 4000), (258, 3, 1, 8), (259, 3, 1, 8)]
    tags += [(262, 3, 1, 1), (277, 3, 1, 1), (322, 3, 1, 16), (323, 3, 1, 16), (324, 4, 1, 300)]
    head = b'II*\0' + struct.pack('<I', 8) + entries(*tags, (325, 4, 1, 100))
    return head.ljust(400, b'\0')


def a_strip_that_inflates():
    data = zlib.compress(bytes(50_000_000), 9)
    return small_tiff(compression=8, length=len(data)) + data


def a_width_in_words():
    return small_tiff().replace(struct.pack('<HHI', 256, 4, 1), struct.pack('<HHI', 256, 2, 9))


DAMAGED = [
    (a_page_that_follows_itself, 'its pages form a loop'),
    (two_pages_that_form_a_loop, 'its pages form a loop'),
    (wide_in_tiny_tiles, 'ends before its last pixel'),
    (a_strip_that_inflates, 'is damaged'),
    (a_width_in_words, 'is damaged'),
    (lambda: small_tiff(width=0), 'is damaged'),
    (lambda: small_tiff(following=10_000), 'page 2 is missing'),
    (lambda: b'II*\0' + bytes(4), 'holds no images'),
]


@pytest.mark.parametrize(('make', 'words'), DAMAGED)
def test_small_files_that_claim_huge_images_are_refused_at_once(make, words, tmp_path):
    (tmp_path / 'a.tif').write_bytes(make())
    for read in (by_training, by_denoising, image_io.read_image):
        with pytest.raises(UserError, match=f'a.tif .*{words}'):
            read(tmp_path / 'a.tif')


def test_exif_that_points_at_itself_twice_per_step_is_read_once(tmp_path):
    """Each of 26 directories is referenced twice by the one before: 2^26 paths."""
    chain = b''
    for place in range(400, 400 + 26 * 30, 30):
        chain += entries((34665, 4, 1, place + 30), (34853, 4, 1, place + 30))
    chain += entries((271, 2, 4, 0x41414141))
    data = small_tiff(more=[(34665, 4, 1, 400)]) + bytes(100) + chain
    (tmp_path / 'a.tif').write_bytes(data)
    assert image_io.read_image(tmp_path / 'a.tif').pixels.shape == (10, 10)


@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='pipes of POSIX')
def test_a_pipe_in_a_folder_is_skipped_but_refused_by_name(tmp_path, caplog):
    os.mkfifo(tmp_path / 'a.png')
    (tmp_path / 'c.png').symlink_to(tmp_path / 'nowhere')
    Image.fromarray(odd_files.RGB).save(tmp_path / 'b.png')
    assert image_io.find_images(tmp_path) == [tmp_path / 'b.png']
    assert 'a.png: it is a pipe' in caplog.text
    assert 'c.png: it is a broken link' in caplog.text
    for read in (by_training, by_denoising, image_io.read_image):
        with pytest.raises(UserError, match='a.png is a pipe'):
            read(tmp_path / 'a.png')


def test_an_exr_with_layers_only_is_refused_with_advice(tmp_path):
    OpenEXR = pytest.importorskip('OpenEXR')
    layers = {f'ViewLayer.Combined.{c}': np.zeros((5, 7), np.float16) for c in 'RGB'}
    header = {'compression': OpenEXR.ZIP_COMPRESSION, 'type': OpenEXR.scanlineimage}
    OpenEXR.File(header, layers).write(str(tmp_path / 'a.exr'))
    for read in (by_training, by_denoising):
        with pytest.raises(UserError, match="save it as 'OpenEXR' rather than 'OpenEXR Multi"):
            read(tmp_path / 'a.exr')


@pytest.mark.parametrize('dtype', [np.float16, np.float32, np.uint32])
def test_exr_headers_are_read_without_pixels_and_damage_is_reported(tmp_path, dtype):
    OpenEXR = pytest.importorskip('OpenEXR')
    colors = np.arange(5 * 7 * 3).reshape(5, 7, 3).astype(dtype)
    header = {'compression': OpenEXR.ZIP_COMPRESSION, 'type': OpenEXR.scanlineimage}
    channels = {name: colors[..., k].copy() for k, name in enumerate('RGB')}
    OpenEXR.File(header, channels).write(str(tmp_path / 'a.exr'))
    with images.open_image(tmp_path / 'a.exr') as image:
        assert image.frames == [images.Frame(5, 7, 3, 0, np.dtype(dtype))]
        np.testing.assert_array_equal(image.read(0, 2, 5), colors[2:5])
    data = (tmp_path / 'a.exr').read_bytes()
    (tmp_path / 'a.exr').write_bytes(data[:-40])
    for read in (by_training, by_denoising):
        with pytest.raises(UserError, match='a.exr is damaged'):
            read(tmp_path / 'a.exr')


def test_a_truncated_imagej_stack_is_not_read_as_a_single_image(tmp_path):
    odd_files.READ['ImageJ, one directory.tif'](tmp_path / 'a.tif')
    data = (tmp_path / 'a.tif').read_bytes()
    (tmp_path / 'a.tif').write_bytes(data[:-1000])
    for read in (by_training, by_denoising):
        with pytest.raises(UserError, match='claims to hold 6 images'):
            read(tmp_path / 'a.tif')


def test_files_are_closed_after_reading(tmp_path):
    path, _ = written('a.tif', odd_files.by_tifffile(odd_files.DEEP), tmp_path)
    gc.collect()  # files that earlier tests left open
    before = len(os.listdir('/proc/self/fd')) if Path('/proc/self/fd').exists() else None
    with images.open_image(path) as image:
        image.read(3, 2, 9)
    by_training(path)
    if before is not None:
        assert len(os.listdir('/proc/self/fd')) == before
    shutil.move(path, tmp_path / 'b.tif')


def test_more_stacks_than_files_may_be_open_are_read_side_by_side(tmp_path, monkeypatch):
    monkeypatch.setattr(file_cache, '_MOST_OPEN', 2)
    paths = [tmp_path / f'{k}.tif' for k in range(5)]
    for k, path in enumerate(paths):
        odd_files.pages(path, odd_files.DEEP[:3] + np.uint16(k))
    before = len(os.listdir('/proc/self/fd')) if Path('/proc/self/fd').exists() else None
    for index, captures_NHWC in enumerate(read_scenes(find_scenes(paths))):
        for k in range(5):
            np.testing.assert_array_equal(captures_NHWC[k, ..., 0], odd_files.DEEP[index] + k)
        if before is not None:
            assert len(os.listdir('/proc/self/fd')) <= before + 2


def an_archive(path, frames):
    np.savez_compressed(path, frames)


def a_header_without_its_array(path, frames):
    """Writes a .npz file of a few bytes, whose array has 10^12 images."""
    header = io_module.BytesIO()
    shape = {'descr': '|u1', 'fortran_order': False, 'shape': (10**12, 1, 1)}
    np.lib.format.write_array_header_1_0(header, shape)
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('x.npy', header.getvalue())


def one_strip(path, frames):
    tifffile.imwrite(path, frames[0], compression='zlib', rowsperstrip=frames[0].shape[0])


def a_picture(path, frames):
    Image.fromarray(frames[0]).save(path)


def a_tile_that_is_a_huge_image(path, frames):
    """Writes a JPEG 2000 image of 4000x4000 pixels with tags of 40x40."""
    data = imagecodecs.jpeg2k_encode(np.zeros((4000, 4000), np.uint8), codecformat='j2k')
    odd_files.raw_tiff(
        path, [data], odd_files.plain_tags(np.zeros((40, 40), np.uint8), compression=34712)
    )


@pytest.mark.parametrize(
    ('name', 'write', 'words'),
    [
        ('a.npz', an_archive, 'needs 1 MiB of memory at once, and 1 MiB are free'),
        ('a.npz', a_header_without_its_array, 'too small for an array of shape'),
        ('a.tif', one_strip, 'needs 1 MiB of memory at once'),
        ('a.tif', a_tile_that_is_a_huge_image, 'needs 15 MiB of memory at once'),
        ('a.png', a_picture, 'needs 1 MiB of memory at once'),
    ],
)
def test_images_that_do_not_fit_into_memory_are_refused_before_decoding(
    name, write, words, tmp_path, monkeypatch
):
    write(tmp_path / name, np.zeros((1, 1024, 1200), np.uint8))
    monkeypatch.setattr(host_memory, '_SMALL', 1000)
    monkeypatch.setattr(host_memory, 'available_bytes', lambda: 1 << 20)

    def seven_rows(path):
        with images.open_image(path) as image:
            return image.read(0, 0, 7)

    for read in (by_training, by_denoising, seven_rows):
        with pytest.raises(UserError, match=f'{name} .*{words}'):
            read(tmp_path / name)
