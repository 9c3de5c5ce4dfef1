"""Captures are read from files and stacks of every kind."""

import sys

import numpy as np
import pytest
import tifffile
from image_files import image, noise
from PIL import Image

from n2n_jax.captures.grouping import find_scenes
from n2n_jax.captures.scene_files import read_scene, read_scenes
from n2n_jax.images import image_io, stacks
from n2n_jax.images.codecs.tiff_reader import TiffReader
from n2n_jax.runtime.errors import UserError


def test_captures_of_different_kind_are_refused_with_both_named(tmp_path):
    image_io.write_pixels(tmp_path / 'c_1.png', image(shape=(6, 8)))
    for shape, words in (((6, 9), '9x6 with 1 channel'), ((6, 8, 3), '8x6 with 3 channels')):
        image_io.write_pixels(tmp_path / 'c_2.png', image(shape=shape))
        (scene,) = find_scenes([tmp_path])
        with pytest.raises(UserError, match=f'c_1.png is 8x6 .*c_2.png is {words}'):
            read_scene(scene)


@pytest.mark.parametrize(
    ('make', 'words'),
    [
        (lambda p: np.save(p / 'x.npy', np.zeros((2, 4, 4), np.int64)), 'holds int64 values'),
        (lambda p: np.save(p / 'x.npy', np.zeros((2, 0, 4))), 'holds no images'),
        (lambda p: (p / 'x.npy').write_bytes(b'no'), 'is not a NumPy file'),
        (lambda p: np.savez(p / 'x.npz', a=[1], b=[2]), 'must hold one array'),
        (lambda p: np.save(p / 'x.npy', np.zeros((4, 4))), 'holds one capture'),
    ],
)
def test_bad_files_are_named(tmp_path, make, words):
    make(tmp_path)
    file = next(tmp_path.iterdir())
    with pytest.raises(UserError, match=words) as error:
        list(read_scenes(find_scenes([file])))
    assert file.name in str(error.value)


@pytest.mark.parametrize('compression', [None, 'zlib'])
@pytest.mark.parametrize('num_bytes', [9000, 23_000, 300])
def test_a_truncated_stack_is_named(tmp_path, compression, num_bytes):
    file = tmp_path / 's.tif'
    noise = np.random.default_rng(0).integers(65536, size=(4, 50, 60)).astype(np.uint16)
    tifffile.imwrite(file, noise, photometric='minisblack', compression=compression)
    file.write_bytes(file.read_bytes()[:num_bytes])
    with pytest.raises(UserError, match='s.tif') as error:
        list(read_scenes(find_scenes([file])))
    assert 'damaged' in str(error.value)


def pages(file, images, **options):
    """Writes a stack page by page."""
    with tifffile.TiffWriter(file) as writer:
        for image_HW in images:
            writer.write(image_HW, **options)


def by_pillow(file, images, **options):
    first, *rest = [Image.fromarray(image_HW) for image_HW in images]
    first.save(file, save_all=True, append_images=rest, **options)


_GRAY = {'photometric': 'minisblack'}
_SEPARATE = {'photometric': 'rgb', 'planarconfig': 'separate'}
TIFF_STACKS = {
    # name: (pixels, how they are written, axes that make them (N, H, W, C))
    'gray pages': ((4, 9, 8), lambda f, x: tifffile.imwrite(f, x, **_GRAY), None),
    'three gray pages': ((3, 9, 8), lambda f, x: tifffile.imwrite(f, x, **_GRAY), None),
    'deflate': ((4, 9, 8), lambda f, x: tifffile.imwrite(f, x, compression='zlib', **_GRAY), None),
    'big-endian': ((4, 9, 8), lambda f, x: tifffile.imwrite(f, x, byteorder='>', **_GRAY), None),
    'page by page': ((4, 9, 8), lambda f, x: pages(f, x, compression='zlib', **_GRAY), None),
    'LZW': ((4, 9, 8), lambda f, x: by_pillow(f, x, compression='tiff_lzw'), None),
    'color pages': ((2, 9, 8, 3), lambda f, x: tifffile.imwrite(f, x, photometric='rgb'), ...),
    'color planes': (
        (2, 3, 9, 8), lambda f, x: tifffile.imwrite(f, x, **_SEPARATE), (0, 2, 3, 1)
    ),
    'compressed color planes': (
        (2, 3, 9, 8),
        lambda f, x: tifffile.imwrite(f, x, compression='zlib', **_SEPARATE),
        (0, 2, 3, 1),
    ),
    'ImageJ TCYX': (
        (4, 2, 9, 8),
        lambda f, x: tifffile.imwrite(f, x, imagej=True, metadata={'axes': 'TCYX'}),
        (0, 2, 3, 1),
    ),
    'OME CTYX, compressed': (
        (2, 4, 9, 8),
        lambda f, x: tifffile.imwrite(
            f, x, ome=True, metadata={'axes': 'CTYX'}, compression='zlib', **_GRAY
        ),
        (1, 2, 3, 0),
    ),
}  # fmt: skip


@pytest.mark.parametrize('name', TIFF_STACKS)
def test_tiff_stacks_of_every_layout(tmp_path, name):
    shape, write, axes = TIFF_STACKS[name]
    pixels = noise(*shape)
    write(tmp_path / 's.tif', pixels)
    want = pixels[..., None] if axes is None else pixels if axes is ... else pixels.transpose(axes)
    (scene,) = find_scenes([tmp_path / 's.tif'])
    read = read_scene(scene)
    np.testing.assert_array_equal(read, want)
    assert read.dtype == np.uint16
    if len(want) == 4:
        second = find_scenes([tmp_path / 's.tif'], interleaved=2)[1]
        np.testing.assert_array_equal(read_scene(second), want[2:])


def test_time_and_depth_are_captures_and_channels_are_not(tmp_path):
    pixels = noise(2, 3, 4, 9, 8)
    for kind in ({'imagej': True}, {'ome': True}):
        tifffile.imwrite(tmp_path / 's.tif', pixels, metadata={'axes': 'TZCYX'}, **kind)
        (scene,) = find_scenes([tmp_path / 's.tif'])
        want = pixels.transpose(0, 1, 3, 4, 2).reshape(6, 9, 8, 4)
        np.testing.assert_array_equal(read_scene(scene), want)


@pytest.mark.parametrize(
    ('shape', 'options', 'axes'),
    [
        ((3, 9, 8), _SEPARATE, (1, 2, 0)),
        ((4, 9, 8), {**_SEPARATE, 'extrasamples': ['unassalpha']}, (1, 2, 0)),
        ((9, 8, 4), {'photometric': 'rgb', 'extrasamples': ['unassalpha']}, (0, 1, 2)),
        ((9, 8, 2), {**_GRAY, 'planarconfig': 'contig'}, (0, 1, 2)),
        ((9, 8, 2), {**_GRAY, 'planarconfig': 'contig', 'extrasamples': ['unassalpha']}, (0, 1, 2)),
        ((5, 9, 8), {**_GRAY, 'planarconfig': 'separate'}, (1, 2, 0)),
    ],
)
@pytest.mark.parametrize('dtype', ['uint8', 'uint16', 'int16', 'int32', 'uint32', 'float32'])
def test_planes_of_one_image_are_its_channels(tmp_path, shape, options, axes, dtype):
    a, b = noise(2, *shape, dtype=dtype)
    for name, pixels in (('a', a), ('b', b)):
        tifffile.imwrite(tmp_path / f'{name}.tif', pixels, **options)
    (scene,) = find_scenes([tmp_path / 'a.tif', tmp_path / 'b.tif'])
    want = np.stack([a, b]).transpose(0, *(1 + axis for axis in axes))
    alpha = int('extrasamples' in options)
    np.testing.assert_array_equal(read_scene(scene), want[..., : want.shape[-1] - alpha])


def test_a_lone_channel_axis_holds_captures(tmp_path):
    stack = noise(7, 9, 8)
    tifffile.imwrite(tmp_path / 's.tif', stack, imagej=True)  # which writes 7 channels
    (scene,) = find_scenes([tmp_path / 's.tif'])
    np.testing.assert_array_equal(read_scene(scene)[..., 0], stack)


def test_only_the_requested_images_of_a_large_stack_are_read(tmp_path, monkeypatch):
    stack = noise(6, 9, 8)
    pages(tmp_path / 's.tif', stack, compression='zlib', **_GRAY)
    tifffile.imwrite(tmp_path / 'z.tif', stack, compression='zlib', **_GRAY)
    seen = []
    real = TiffReader.read

    def watched(self, place, start, stop):
        seen.append(place)
        return real(self, place, start, stop)

    monkeypatch.setattr(TiffReader, 'read', watched)
    for name in ('s.tif', 'z.tif'):
        scenes = find_scenes([tmp_path / name], interleaved=2)
        assert not seen
        np.testing.assert_array_equal(read_scene(scenes[1])[..., 0], stack[2:4])
        assert seen == [2, 3]
        seen.clear()


def test_arrays_are_counted_by_their_headers(tmp_path):
    stack = noise(6, 9, 8)
    np.save(tmp_path / 's.npy', stack)
    np.savez_compressed(tmp_path / 's.npz', captures=stack)
    for name in ('s.npy', 's.npz'):
        scenes = find_scenes([tmp_path / name], interleaved=3)
        for captures_NHWC, want in zip(read_scenes(scenes), (stack[:3], stack[3:]), strict=True):
            np.testing.assert_array_equal(captures_NHWC[..., 0], want)
    raw = (tmp_path / 's.npy').read_bytes()
    (tmp_path / 's.npy').write_bytes(raw[:-10])
    with pytest.raises(UserError, match='s.npy is damaged'):
        stacks.open_stack(tmp_path / 's.npy')


def test_pages_of_different_sizes_are_refused_and_thumbnails_are_not(tmp_path):
    with tifffile.TiffWriter(tmp_path / 's.tif') as writer:
        for side in (16, 16, 8):
            writer.write(noise(side, side), metadata=None, **_GRAY)
    with pytest.raises(UserError, match='s.tif holds images of different sizes'):
        find_scenes([tmp_path / 's.tif'])
    with tifffile.TiffWriter(tmp_path / 's.tif') as writer:
        for side in (16, 16):
            writer.write(noise(side, side), metadata=None, **_GRAY)
        writer.write(noise(8, 8), metadata=None, subfiletype=1, **_GRAY)
    assert [len(scene.captures) for scene in find_scenes([tmp_path / 's.tif'])] == [2]


def test_exr_needs_its_package_and_says_so(tmp_path, monkeypatch):
    for name in ('a.exr', 'b.exr'):
        (tmp_path / name).write_bytes(b'v/1\x01')
    monkeypatch.setitem(sys.modules, 'OpenEXR', None)
    with pytest.raises(UserError, match=r"a.exr is an EXR .* pip install 'n2n_jax\[exr\]'"):
        list(read_scenes(find_scenes([tmp_path])))


def test_exr_keeps_values_above_white_and_skips_layers(tmp_path):
    OpenEXR = pytest.importorskip('OpenEXR')
    render = np.linspace(0, 50, 5 * 7 * 3).reshape(5, 7, 3).astype(np.float16)
    header = {'compression': OpenEXR.ZIP_COMPRESSION, 'type': OpenEXR.scanlineimage}
    for name, factor in (('a', 1), ('b', 2)):
        channels = {'RGBA': np.dstack([factor * render, render[..., 0]])}
        channels['albedo.R'] = render[..., 1].copy()
        OpenEXR.File(header, channels).write(str(tmp_path / f'x é_{name}.exr'))
    (scene,) = find_scenes([tmp_path])
    np.testing.assert_array_equal(read_scene(scene), np.stack([render, 2 * render]))
    depth = {'Z': render[..., 0].copy()}
    OpenEXR.File(header, depth).write(str(tmp_path / 'x é_b.exr'))
    with pytest.raises(UserError, match='holds the channels Z: it must have R, G and B'):
        read_scene(scene)
    (tmp_path / 'x é_b.exr').write_bytes(b'v/1\x01')
    with pytest.raises(UserError, match='is damaged or not an EXR file'):
        read_scene(scene)


def test_channels_of_a_stack_are_not_captures(tmp_path):
    stack = np.arange(2 * 3 * 4 * 5, dtype=np.uint16).reshape(2, 3, 4, 5)
    tifffile.imwrite(tmp_path / 's.tif', stack, imagej=True, metadata={'axes': 'TCYX'})
    (scene,) = find_scenes([tmp_path / 's.tif'])
    np.testing.assert_array_equal(read_scene(scene), stack.transpose(0, 2, 3, 1))
