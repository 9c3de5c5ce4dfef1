"""Files are grouped by scene, in every supported arrangement."""

import os

import numpy as np
import pytest
import tifffile
from image_files import names, noise, save

from n2n_jax.captures.grouping import find_scenes, find_single_images
from n2n_jax.captures.scene_files import read_scene
from n2n_jax.runtime.errors import UserError


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
    for find in (find_scenes, find_single_images):
        with pytest.raises(UserError, match='c_4.png cannot be read: it is a pipe'):
            find([tmp_path / 'c_4.png'])


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


def test_nothing_there(tmp_path):
    with pytest.raises(UserError, match='no such file or folder'):
        find_scenes([tmp_path / 'gone'])
    with pytest.raises(UserError, match='contains no image'):
        find_scenes([tmp_path])
