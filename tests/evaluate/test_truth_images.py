"""Clean images are found by the names of the scenes."""

import numpy as np
import pytest

from n2n_jax.captures.scene_captures import SceneCaptures
from n2n_jax.evaluate import truth_images
from n2n_jax.images import image_io
from n2n_jax.runtime.errors import UserError


def test_truth_is_found_by_the_name_of_the_scene(tmp_path):
    pixels = np.zeros((8, 9), np.uint8)
    scenes = [
        SceneCaptures('a', pixels[None, ..., None]),
        SceneCaptures('b', pixels[None, ..., None]),
    ]
    image_io.write_pixels(tmp_path / 'a.png', pixels)
    with pytest.raises(UserError, match='no clean image for b'):
        truth_images.read(tmp_path, scenes)
    image_io.write_pixels(tmp_path / 'b_1.png', pixels)
    assert set(truth_images.read(tmp_path, scenes)) == {'a', 'b'}
    image_io.write_pixels(tmp_path / 'b_1.png', pixels[1:])
    with pytest.raises(UserError, match=r'b_1.png has \d+x\d+ pixels, but the captures of b'):
        truth_images.read(tmp_path, scenes)
    (tmp_path / 'b_1.png').unlink()
    np.save(tmp_path / 'b.npy', np.full((8, 9), 0.5, np.float32))
    assert truth_images.read(tmp_path, scenes)['b'].shape == (8, 9, 1)
    np.save(tmp_path / 'b.npy', np.zeros((5, 8, 9), np.float32))
    with pytest.raises(UserError, match='b.npy holds 5 images: save the clean one alone'):
        truth_images.read(tmp_path, scenes)


def test_truth_in_sub_folders_is_found_and_names_that_are_there_twice_are_refused(tmp_path):
    scenes = [SceneCaptures(f'{d}/cell1', np.zeros((2, 40, 44, 1), np.uint8)) for d in 'ab']
    for i, name in enumerate('ab'):
        (tmp_path / name).mkdir()
        image_io.write_pixels(tmp_path / name / 'cell1.png', np.full((40, 44), i, np.uint16))
    truth = truth_images.read(tmp_path, scenes)
    assert [truth[scene.name].max() for scene in scenes] == [0, 1]
    alone = [SceneCaptures('cell1', scenes[0].captures_NHWC)]
    with pytest.raises(UserError, match=r'more than one clean image for cell1: a.cell1.png, b'):
        truth_images.read(tmp_path, alone)
    np.save(tmp_path / 'a/cell1.npy', np.zeros((40, 44)))
    with pytest.raises(UserError, match=r'more than one clean image for a/cell1'):
        truth_images.read(tmp_path, scenes)
    (tmp_path / 'a/cell1.png').unlink()
    np.save(tmp_path / 'a/cell1.npy', np.full((40, 44), np.nan))
    with pytest.raises(UserError, match=r'cell1.npy holds NaN'):
        truth_images.read(tmp_path, scenes)
    np.save(tmp_path / 'a/cell1.npy', np.zeros((40, 44, 3)))
    with pytest.raises(UserError, match=r'cell1.npy has 3 channels, but .* of a/cell1 have 1'):
        truth_images.read(tmp_path, scenes)
