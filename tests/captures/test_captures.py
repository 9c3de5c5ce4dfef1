"""Files are grouped by scene, in every supported arrangement."""

import json
import os
import random
import sys

import numpy as np
import pytest
import tifffile
from PIL import Image

from n2n_jax.captures import find as captures
from n2n_jax.captures.find import find_scenes, read_scene, read_scenes
from n2n_jax.images import image_io, stacks
from n2n_jax.images.codecs.tiff_reader import TiffReader
from n2n_jax.runtime.errors import UserError


def image(value=0, shape=(6, 8)):
    return np.full(shape, value, np.uint8)


def save(folder, *names):
    """Writes files in shuffled order, with distinct pixel values."""
    order = list(enumerate(names))
    random.Random(0).shuffle(order)
    for value, name in order:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image_io.write_pixels(path, image(value))


def names(scenes):
    return {scene.name: [capture.path.name for capture in scene.captures] for scene in scenes}


def test_two_files_are_two_captures(tmp_path):
    save(tmp_path, 'x é.png', 'y.png')
    (scene,) = find_scenes([tmp_path / 'x é.png', tmp_path / 'y.png'])
    assert [capture.path.name for capture in scene.captures] == ['x é.png', 'y.png']
    captures_NHWC = read_scene(scene)
    assert captures_NHWC.shape == (2, 6, 8, 1)
    assert captures_NHWC[:, 0, 0, 0].tolist() == [0, 1]


def test_two_folders_pair_by_name_not_by_order(tmp_path):
    save(tmp_path, 'A/cell2.png', 'A/cell10.png', 'B/cell10.png', 'B/cell2.png')
    scenes = find_scenes([tmp_path / 'A', tmp_path / 'B'])
    assert names(scenes) == {'cell2': ['cell2.png'] * 2, 'cell10': ['cell10.png'] * 2}
    assert [c.path.parent.name for c in scenes[0].captures] == ['A', 'B']


def test_a_file_without_partner_is_listed(tmp_path):
    save(tmp_path, 'A/1.png', 'A/2.png', 'B/1.png')
    with pytest.raises(UserError, match=r'B lacks 2: every file needs a partner'):
        find_scenes([tmp_path / 'A', tmp_path / 'B'])


def test_two_files_of_one_name_in_a_folder_are_refused(tmp_path):
    save(tmp_path, 'A/1.png', 'A/1.jpg', 'B/1.png')
    with pytest.raises(UserError, match=r'1.(png|jpg) and .*1.(png|jpg) have the same name'):
        find_scenes([tmp_path / 'A', tmp_path / 'B'])


def test_folder_per_scene(tmp_path):
    save(tmp_path, 's2/b.png', 's2/a.png', 's10/x.png', 's10/y.png', 's10/z.png')
    assert names(find_scenes([tmp_path])) == {
        's2': ['a.png', 'b.png'],
        's10': ['x.png', 'y.png', 'z.png'],
    }


@pytest.mark.parametrize(
    ('files', 'want'),
    [
        (['c_1.png', 'c_2.png', 'd_1.png', 'd_2.png'], {'c': 2, 'd': 2}),
        (['Confocal_BPAE_B_1.png', 'Confocal_BPAE_B_10.png'], {'Confocal_BPAE_B': 2}),
        (['c_a.png', 'c_b.png'], {'c': 2}),
        (['t1_EVN_Vol.png', 't1_ODD_Vol.png', 't2_EVN_Vol.png', 't2_ODD_Vol.png'], None),
        (['c-even.png', 'c-odd.png'], {'c': 2}),
        (['IMG0001.png', 'IMG0002.png', 'IMG0003.png'], {'IMG': 3}),
    ],
)
def test_endings_of_names(tmp_path, files, want):
    save(tmp_path, *files)
    scenes = find_scenes([tmp_path])
    assert {scene.name: len(scene.captures) for scene in scenes} == (want or {'t1': 2, 't2': 2})


def test_captures_are_in_natural_order(tmp_path):
    save(tmp_path, 'c_10.png', 'c_9.png', 'c_1.png')
    assert names(find_scenes([tmp_path])) == {'c': ['c_1.png', 'c_9.png', 'c_10.png']}


def test_bare_capture_numbers_form_a_scene_named_after_the_folder(tmp_path):
    save(tmp_path / 'field 7', 'a.png', 'b.png')
    assert names(find_scenes([tmp_path / 'field 7'])) == {'field 7': ['a.png', 'b.png']}


def test_a_scene_with_one_capture_is_listed(tmp_path):
    save(tmp_path, 'c_1.png', 'c_2.png', 'lonely.png')
    with pytest.raises(UserError, match=r'1 of 2 scenes .* only one capture: lonely.png'):
        find_scenes([tmp_path])


def test_pattern(tmp_path):
    save(tmp_path, 't0/p1_z.png', 't1/p1_y.png', 't0/p2_z.png', 't1/p2_y.png', 't0/note.png')
    scenes = find_scenes([tmp_path], pattern='t{capture}/{scene}_*.png')
    assert names(scenes) == {'p1': ['p1_z.png', 'p1_y.png'], 'p2': ['p2_z.png', 'p2_y.png']}
    with pytest.raises(UserError, match='No file in'):
        find_scenes([tmp_path], pattern='{scene}-{capture}.tif')
    with pytest.raises(UserError, match='must contain {scene}'):
        find_scenes([tmp_path], pattern='{capture}.tif')


def test_stack_is_one_scene_and_interleaved_several(tmp_path):
    stack = np.arange(4, dtype=np.uint16)[:, None, None] * np.ones((4, 5, 6), np.uint16)
    tifffile.imwrite(tmp_path / 's.tif', stack, photometric='minisblack')
    np.save(tmp_path / 's.npy', stack.astype(np.float32))
    for name in ('s.tif', 's.npy'):
        (scene,) = find_scenes([tmp_path / name])
        np.testing.assert_array_equal(read_scene(scene)[..., 0], stack)
        scenes = find_scenes([tmp_path / name], interleaved=2)
        assert [read_scene(s)[:, 0, 0, 0].tolist() for s in scenes] == [[0, 1], [2, 3]]
        with pytest.raises(UserError, match='4 images, which cannot be divided into groups of 3'):
            find_scenes([tmp_path / name], interleaved=3)
    for paths in ([tmp_path], [tmp_path / 's.tif', tmp_path / 's.npy']):
        with pytest.raises(UserError, match='--interleaved needs exactly one stack'):
            find_scenes(paths, interleaved=2)


def test_stacks_in_a_folder_and_stacks_side_by_side(tmp_path):
    for name in ('x', 'y'):
        tifffile.imwrite(
            tmp_path / f'{name}.tif', np.zeros((3, 5, 6), np.uint16), photometric='minisblack'
        )
    assert {s.name: len(s.captures) for s in find_scenes([tmp_path])} == {'x': 3, 'y': 3}
    scenes = find_scenes([tmp_path / 'x.tif', tmp_path / 'y.tif'])
    assert [(s.name, [c.frame for c in s.captures]) for s in scenes] == [
        ('x_1', [0, 0]),
        ('x_2', [1, 1]),
        ('x_3', [2, 2]),
    ]


def test_channels_of_a_stack_are_not_captures(tmp_path):
    stack = np.arange(2 * 3 * 4 * 5, dtype=np.uint16).reshape(2, 3, 4, 5)
    tifffile.imwrite(tmp_path / 's.tif', stack, imagej=True, metadata={'axes': 'TCYX'})
    (scene,) = find_scenes([tmp_path / 's.tif'])
    np.testing.assert_array_equal(read_scene(scene), stack.transpose(0, 2, 3, 1))


def test_manifests(tmp_path):
    save(tmp_path, 'one.png', 'two.png', 'three.png', 'four.png')
    (tmp_path / 'm.csv').write_text('scene,path\nx,one.png\nx,three.png\ny,two.png\ny,four.png\n')
    content = {'x': ['one.png', 'three.png'], 'y': ['two.png', 'four.png']}
    (tmp_path / 'm.json').write_text(json.dumps(content))
    for name in ('m.csv', 'm.json'):
        assert names(find_scenes([tmp_path / name])) == content
    (tmp_path / 'bad.csv').write_text('scene,path\nx,one.png\nx,gone.png\n')
    with pytest.raises(UserError, match='lists files that do not exist: .*gone.png'):
        find_scenes([tmp_path / 'bad.csv'])


@pytest.mark.parametrize(
    ('name', 'content', 'words'),
    [
        ('a.json', b'[1]', r'a.json has the wrong structure: it must be \{"scene"'),
        ('a.json', b'{"x": "one.png"}', 'with a list of paths for every scene'),
        ('a.json', b'{"x"', 'a.json is not valid JSON'),
        ('a.csv', b'scene;path\nx;one.png\n', 'first line must be scene,path .with a comma'),
        ('a.csv', b'', 'first line must be scene,path'),
        ('a.csv', b'scene,path\nx,one.png\nx\n', 'a.csv, line 3: scene or path is missing'),
        ('a.csv', b'scene,path\nx,donn\xe9es.png\n', 'a.csv is not UTF-8 text: save it'),
    ],
)
def test_manifests_that_cannot_be_read_say_why(name, content, words, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=words) as error:
        find_scenes([tmp_path / name])
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    ('name', 'content', 'words'),
    [
        ('a.csv', 'scene,path\n' + 'a' * 200_000 + ',m.png\n', 'line 2: not valid CSV'),
        ('a.json', '[' * 200_000, 'is not valid JSON'),
        ('a.json', '{"a\\u0000": ["m.png"]}', 'it contains a null byte'),
        ('a.json', '{"a\\ud800": ["m.png"]}', 'it contains half of a character'),
        ('a.json', '{"a": ["m.png"], "a": ["n.png"]}', 'lists scenes twice: a. Merge their paths'),
        ('a.json', '{"a": ["m\\u0000.png"]}', 'lists files that do not exist'),
        ('a.json', '{"a": ["m\\ud800.png"]}', 'lists files that do not exist'),
        ('a.json', json.dumps({'a': ['x' * 5000]}), 'lists files that do not exist'),
        (
            'a.csv',
            'scene,path\n../a,m.png\n',
            "'../a' is not a valid scene name: it points outside",
        ),
        ('a.csv', 'scene,path\n/a,m.png\n', 'it points outside the output folder'),
        ('a.csv', 'scene,path\n.,m.png\n', 'it is empty'),
    ],
)
def test_hostile_manifests_are_refused_with_an_error(name, content, words, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=words):
        find_scenes([tmp_path / name])


def test_scenes_of_a_manifest_may_lie_in_folders_and_have_odd_names(tmp_path):
    save(tmp_path, 'a.png', 'b.png')
    for name in ('day 1/cell', 'x..y', 'été\n', 'a:b', '~'):
        (tmp_path / 'a.json').write_text(json.dumps({name: ['a.png', 'b.png']}))
        assert names(find_scenes([tmp_path / 'a.json'])) == {name: ['a.png', 'b.png']}


def test_scene_folders_that_are_links_are_found(tmp_path):
    save(tmp_path / 'far', 's1/c_1.png', 's1/c_2.png')
    save(tmp_path / 'cells', 's2/c_1.png', 's2/c_2.png')
    (tmp_path / 'cells' / 's1').symlink_to(tmp_path / 'far' / 's1')
    want = {'s1': ['c_1.png', 'c_2.png'], 's2': ['c_1.png', 'c_2.png']}
    assert names(find_scenes([tmp_path / 'cells'])) == want


def test_pipes_and_broken_links_are_skipped_with_a_warning(tmp_path, caplog):
    save(tmp_path, 'c_1.png', 'c_2.png')
    (tmp_path / 'c_3.png').symlink_to(tmp_path / 'gone')
    os.mkfifo(tmp_path / 'c_4.png')
    assert names(find_scenes([tmp_path])) == {'c': ['c_1.png', 'c_2.png']}
    left_out, pipe = [record.getMessage() for record in caplog.records]
    assert 'c_3.png: it is a broken link' in left_out
    assert 'c_4.png: it is a pipe' in pipe
    for find in (find_scenes, captures.find_single_images):
        with pytest.raises(UserError, match='c_4.png cannot be read: it is a pipe'):
            find([tmp_path / 'c_4.png'])


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


def noise(*shape, dtype=np.uint16):
    return np.random.default_rng(0).integers(1, 200, size=shape).astype(dtype)


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


def test_stacks_of_the_same_length_pair_image_by_image(tmp_path):
    for folder in ('A', 'B'):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / 'x.npy', noise(3, 9, 8))
    scenes = find_scenes([tmp_path / 'A', tmp_path / 'B'])
    assert [(s.name, [c.frame for c in s.captures]) for s in scenes] == [
        ('x_1', [0, 0]),
        ('x_2', [1, 1]),
        ('x_3', [2, 2]),
    ]
    np.save(tmp_path / 'B' / 'x.npy', noise(2, 9, 8))
    with pytest.raises(UserError, match=r'must have the same length, not: .*x.npy \(3\), .* \(2\)'):
        find_scenes([tmp_path / 'A', tmp_path / 'B'])


def test_numbered_stacks_in_a_folder_are_ambiguous(tmp_path):
    for i in (1, 2):
        np.save(tmp_path / f'x_{i}.npy', noise(3, 9, 8))
    with pytest.raises(UserError, match=r"are stacks.*--pattern '{scene}.npy'"):
        find_scenes([tmp_path])
    scenes = find_scenes([tmp_path], pattern='{scene}.npy')
    assert {s.name: len(s.captures) for s in scenes} == {'x_1': 3, 'x_2': 3}


def test_a_stack_in_its_own_folder_is_a_scene(tmp_path):
    for name in ('s1', 's2'):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / 'frames.npy', noise(3, 9, 8))
    assert {s.name: len(s.captures) for s in find_scenes([tmp_path])} == {'s1': 3, 's2': 3}


def test_other_files_in_a_folder_are_ignored(tmp_path):
    save(tmp_path / 'Zellen é 1', 'a.png', 'b.png')
    (tmp_path / 'Zellen é 1' / 'notes.txt').write_text('exposure 10 ms')
    (tmp_path / 'Zellen é 1' / '.a.png').write_text('')
    assert names(find_scenes([tmp_path / 'Zellen é 1'])) == {'Zellen é 1': ['a.png', 'b.png']}
    with pytest.raises(UserError, match=r'notes.txt cannot be read: its name must end in'):
        find_scenes([tmp_path / 'Zellen é 1/a.png', tmp_path / 'Zellen é 1/notes.txt'])


def test_one_image_in_a_folder(tmp_path):
    save(tmp_path, 'a_1.png')
    with pytest.raises(UserError, match='1 of 1 scenes .* only one capture: a_1.png'):
        find_scenes([tmp_path])


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


def test_nothing_there(tmp_path):
    with pytest.raises(UserError, match='no such file or folder'):
        find_scenes([tmp_path / 'gone'])
    with pytest.raises(UserError, match='contains no image'):
        find_scenes([tmp_path])
