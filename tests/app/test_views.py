"""Tiles are the pixels of the file, halved once per level."""

import io

import numpy as np
import pytest
import tifffile
from PIL import Image

from n2n_jax.app import views
from n2n_jax.denoise.choice import Range


@pytest.fixture
def image_HWC():
    return np.random.default_rng(0).integers(0, 256, (700, 1301, 3)).astype(np.uint8)


def test_tiles_of_the_first_level_are_the_pixels(image_HWC, tmp_path):
    source = tmp_path / 'a.png'
    Image.fromarray(image_HWC).save(source)
    (tmp_path / 'view').mkdir()
    view = views.make(source, 0, np.dtype(np.uint8), Range(), tmp_path / 'view')
    assert view.size == (1301, 700)
    assert [level.shape[:2] for level in view.levels] == [(700, 1301), (350, 651), (175, 326)]
    np.testing.assert_array_equal(view.tile(0, 2, 1), image_HWC[512:, 1024:])
    squares = image_HWC[:700, :1300].reshape(350, 2, 650, 2, 3).mean(axis=(1, 3))
    assert np.abs(view.levels[1][:, :650] - squares).max() <= 0.5
    np.testing.assert_array_equal(view.levels[1][:, 650], np.uint8(
        (np.uint16(image_HWC[::2, 1300]) + image_HWC[1::2, 1300] + 1) // 2))  # fmt: skip
    for level, column, row in [(0, 3, 0), (0, 0, 2), (3, 0, 0), (0, -1, 0), (-1, 0, 0)]:
        with pytest.raises(views.OutsideError):
            view.tile(level, column, row)


def test_the_range_of_the_picture_is_what_is_black_and_white(tmp_path):
    stored_HW = np.linspace(100, 1100, 64 * 64, dtype=np.float32).reshape(64, 64)
    tifffile.imwrite(tmp_path / 'a.tif', stored_HW)
    (tmp_path / 'view').mkdir()
    shown, dtype = Range(100.0, 1100.0), stored_HW.dtype
    view = views.make(tmp_path / 'a.tif', 0, dtype, shown, tmp_path / 'view')
    want_HW = np.rint((stored_HW - 100) / 1000 * 255)
    assert np.abs(view.tile(0, 0, 0)[..., 1] - want_HW).max() <= 1
    assert view.tile(0, 0, 0).shape == (64, 64, 3)


def test_a_stack_is_shown_image_by_image(tmp_path):
    stack_NHW = np.arange(3, dtype=np.uint8)[:, None, None] * np.full((3, 20, 30), 50, np.uint8)
    tifffile.imwrite(tmp_path / 'a.tif', stack_NHW, photometric='minisblack')
    (tmp_path / 'view').mkdir()
    view = views.make(tmp_path / 'a.tif', 2, stack_NHW.dtype, Range(), tmp_path / 'view')
    assert set(view.tile(0, 0, 0).flat) == {100}
    with pytest.raises(views.OutsideError):
        views.make(tmp_path / 'a.tif', 3, stack_NHW.dtype, Range(), tmp_path / 'view')


def test_differences_are_gray_where_nothing_changed_and_magnified():
    before = np.full((4, 5, 3), 100, np.uint8)
    after = before.copy()
    after[0, 0] = 90
    after[1, 1] = 200
    removed = views.difference(before, after, 3.0)
    assert [int(removed[at][0]) for at in ((0, 0), (1, 1), (2, 2))] == [158, 0, 128]
    error = views.error_map(after, before, 2.0)
    assert [int(error[at][0]) for at in ((0, 0), (1, 1), (2, 2))] == [20, 200, 0]


def test_a_tile_survives_png(image_HWC):
    read = np.asarray(Image.open(io.BytesIO(views.png(image_HWC))))
    np.testing.assert_array_equal(read, image_HWC)
