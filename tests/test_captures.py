"""Which files belong together, in every form that people keep them in."""

import json
import random

import numpy as np
import pytest
import tifffile

from n2n_jax import io
from n2n_jax.data.captures import find_scenes, read_scene
from n2n_jax.errors import UserError


def image(value=0, shape=(6, 8)):
    return np.full(shape, value, np.uint8)


def save(folder, *names):
    """Files in a shuffled order of creation; pixel values tell them apart."""
    order = list(enumerate(names))
    random.Random(0).shuffle(order)
    for value, name in order:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        io.write_pixels(path, image(value))


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


def test_a_name_without_partner_is_listed(tmp_path):
    save(tmp_path, 'A/1.png', 'A/2.png', 'B/1.png')
    with pytest.raises(UserError, match=r'B lacks 2: every file needs its partner'):
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


def test_names_of_captures_alone_are_a_scene_named_as_the_folder(tmp_path):
    save(tmp_path / 'field 7', 'a.png', 'b.png')
    assert names(find_scenes([tmp_path / 'field 7'])) == {'field 7': ['a.png', 'b.png']}


def test_a_capture_alone_is_listed(tmp_path):
    save(tmp_path, 'c_1.png', 'c_2.png', 'lonely.png')
    with pytest.raises(UserError, match=r'1 of 2 scenes .* one capture only: lonely.png'):
        find_scenes([tmp_path])


def test_pattern(tmp_path):
    save(tmp_path, 't0/p1_z.png', 't1/p1_y.png', 't0/p2_z.png', 't1/p2_y.png', 't0/note.png')
    scenes = find_scenes([tmp_path], pattern='t{capture}/{scene}_*.png')
    assert names(scenes) == {'p1': ['p1_z.png', 'p1_y.png'], 'p2': ['p2_z.png', 'p2_y.png']}
    with pytest.raises(UserError, match='No file in'):
        find_scenes([tmp_path], pattern='{scene}-{capture}.tif')
    with pytest.raises(UserError, match='needs {scene} and {capture}'):
        find_scenes([tmp_path], pattern='{scene}.tif')


def test_stack_is_one_scene_and_interleaved_several(tmp_path):
    stack = np.arange(4, dtype=np.uint16)[:, None, None] * np.ones((4, 5, 6), np.uint16)
    tifffile.imwrite(tmp_path / 's.tif', stack, photometric='minisblack')
    np.save(tmp_path / 's.npy', stack.astype(np.float32))
    for name in ('s.tif', 's.npy'):
        (scene,) = find_scenes([tmp_path / name])
        np.testing.assert_array_equal(read_scene(scene)[..., 0], stack)
        scenes = find_scenes([tmp_path / name], interleaved=2)
        assert [read_scene(s)[:, 0, 0, 0].tolist() for s in scenes] == [[0, 1], [2, 3]]
        with pytest.raises(UserError, match='4 images, which are not groups of 3'):
            find_scenes([tmp_path / name], interleaved=3)


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
    with pytest.raises(UserError, match='names files that are not there: .*gone.png'):
        find_scenes([tmp_path / 'bad.csv'])
    (tmp_path / 'bad.json').write_text('[1]')
    with pytest.raises(UserError, match='is not understood'):
        find_scenes([tmp_path / 'bad.json'])


def test_captures_of_different_kind_are_refused_with_both_named(tmp_path):
    io.write_pixels(tmp_path / 'c_1.png', image(shape=(6, 8)))
    for shape, words in (((6, 9), '9x6 with 1 channel'), ((6, 8, 3), '8x6 with 3 channels')):
        io.write_pixels(tmp_path / 'c_2.png', image(shape=shape))
        (scene,) = find_scenes([tmp_path])
        with pytest.raises(UserError, match=f'c_1.png is 8x6 .*c_2.png is {words}'):
            read_scene(scene)


@pytest.mark.parametrize(
    ('make', 'words'),
    [
        (lambda p: np.save(p / 'x.npy', np.zeros((2, 4, 4), np.int64)), 'holds int64 numbers'),
        (lambda p: np.save(p / 'x.npy', np.zeros((2, 0, 4))), 'holds no pixels'),
        (lambda p: (p / 'x.npy').write_bytes(b'no'), 'damaged or no NumPy file'),
        (lambda p: np.savez(p / 'x.npz', a=[1], b=[2]), 'must hold one array'),
        (lambda p: np.save(p / 'x.npy', np.zeros((4, 4))), 'holds one capture'),
    ],
)
def test_bad_files_are_named(tmp_path, make, words):
    make(tmp_path)
    file = next(tmp_path.iterdir())
    with pytest.raises(UserError, match=words) as error:
        find_scenes([file])
    assert file.name in str(error.value)


def test_a_stack_cut_short_is_named(tmp_path):
    file = tmp_path / 's.tif'
    tifffile.imwrite(file, np.zeros((4, 50, 60), np.uint16), photometric='minisblack')
    file.write_bytes(file.read_bytes()[:9000])
    with pytest.raises(UserError, match='s.tif'):
        find_scenes([file])


def test_nothing_there(tmp_path):
    with pytest.raises(UserError, match='no such file or folder'):
        find_scenes([tmp_path / 'gone'])
    with pytest.raises(UserError, match='holds no image'):
        find_scenes([tmp_path])
