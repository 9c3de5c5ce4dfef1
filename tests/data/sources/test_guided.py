"""Images with auxiliary planes in folders beside them."""

import numpy as np
import pytest

from n2n_jax.data import sources
from n2n_jax.data.sources.guided import stacked
from n2n_jax.data.sources.source import Subset
from n2n_jax.images import image_io
from n2n_jax.runtime.config import ModelConfig
from n2n_jax.runtime.errors import UserError


@pytest.fixture
def folders(tmp_path):
    """Two color images, their depth in 16 bits and their normals in 8."""
    rng = np.random.default_rng(0)
    made = {}
    for folder, shape, dtype in (
        ('rgb', (8, 10, 3), np.uint8),
        ('depth', (8, 10), np.uint16),
        ('normal', (8, 10, 3), np.uint8),
    ):
        (tmp_path / folder).mkdir()
        for name in ('a', 'b'):
            pixels = rng.integers(0, np.iinfo(dtype).max, shape, dtype)
            image_io.write_pixels(tmp_path / folder / f'{name}.png', pixels)
            made[folder, name] = pixels
    return tmp_path, made


def spec_of(folder, *planes):
    parts = [f'{plane}={folder / plane}' for plane in planes]
    return ','.join([f'guided:{folder / "rgb"}', *parts])


def test_planes_follow_the_image_in_the_order_of_the_config(folders):
    folder, made = folders
    source = sources.open_source(spec_of(folder, 'depth', 'normal'))
    assert source.planes == ['depth', 'normal']
    both = stacked(source, ModelConfig(planes='normal:3,depth:1'), 'data.train')
    image_HWI = both.read(1)
    assert image_HWI.dtype == np.float32
    np.testing.assert_allclose(image_HWI[..., :3], made['rgb', 'b'] / 255, atol=1e-6)
    np.testing.assert_allclose(image_HWI[..., 3:6], made['normal', 'b'] / 255, atol=1e-6)
    np.testing.assert_allclose(image_HWI[..., 6], made['depth', 'b'] / 65535, atol=1e-6)


def test_8_bits_stay_8_bits(folders):
    folder, _ = folders
    source = sources.open_source(spec_of(folder, 'normal'))
    assert stacked(source, ModelConfig(planes='normal:3'), 'data.train').read(0).dtype == np.uint8


def test_planes_are_converted_to_the_channels_of_the_config(folders):
    folder, made = folders
    source = sources.open_source(spec_of(folder, 'depth'))
    image_HWI = stacked(source, ModelConfig(channels=1, planes='depth:3'), 'x').read(0)
    assert image_HWI.shape == (8, 10, 4)
    np.testing.assert_array_equal(image_HWI[..., 1], image_HWI[..., 3])
    np.testing.assert_allclose(image_HWI[..., 1], made['depth', 'a'] / 65535, atol=1e-6)


def test_several_sources_have_the_planes_that_all_of_them_have(folders):
    folder, _ = folders
    spec = f'{spec_of(folder, "depth", "normal")},{spec_of(folder, "normal")}'
    source = sources.open_source(spec)
    assert len(source.names) == 4
    assert list(source.planes) == ['normal']
    assert list(Subset(source, [3]).planes) == ['normal']
    np.testing.assert_array_equal(
        source.read_plane(3, 'normal'), Subset(source, [3]).read_plane(0, 'normal')
    )


def test_a_set_is_called_like_its_folder_of_images(folders):
    folder, _ = folders
    assert list(sources.open_named_sets(spec_of(folder, 'depth'))) == ['rgb']


def test_a_plane_that_a_source_lacks_is_named(folders):
    folder, _ = folders
    source = sources.open_source(spec_of(folder, 'depth'))
    with pytest.raises(UserError, match="'dept', which data.train lacks.*Did you mean 'depth'"):
        stacked(source, ModelConfig(planes='dept:1'), 'data.train')
    plain = sources.open_source(f'folder:{folder / "rgb"}')
    with pytest.raises(UserError, match=r'It has none.*guided:IMAGES,depth=FOLDER'):
        stacked(plain, ModelConfig(planes='depth:1'), 'data.train')


def test_a_missing_file_of_a_plane_is_named(folders):
    folder, _ = folders
    (folder / 'depth' / 'b.png').unlink()
    with pytest.raises(UserError, match=r'depth holds no file for the image b.png'):
        sources.open_source(spec_of(folder, 'depth'))


def test_two_files_for_one_plane_are_named(folders):
    folder, _ = folders
    image_io.write_pixels(folder / 'depth' / 'b.tif', np.zeros((8, 10), np.uint8))
    with pytest.raises(UserError, match=r'depth holds b.png and b.tif'):
        sources.open_source(spec_of(folder, 'depth'))


def test_a_plane_of_another_size_is_named(folders):
    folder, _ = folders
    image_io.write_pixels(folder / 'depth' / 'b.png', np.zeros((8, 9), np.uint8))
    with pytest.raises(UserError, match=r'b.png in .*depth is 9x8, its image b.png is 10x8'):
        sources.open_source(spec_of(folder, 'depth'))


@pytest.mark.parametrize('argument', ['', ':rgb', ':,depth=x'])
def test_folders_are_needed(argument):
    with pytest.raises(UserError, match='guided:IMAGES,depth=FOLDER'):
        sources.open_source(f'guided{argument}')


def test_two_folders_for_one_plane_are_refused(folders):
    folder, _ = folders
    twice = f'{spec_of(folder, "depth", "normal")},depth={folder / "depth"}'
    with pytest.raises(UserError, match="the plane 'depth' is given twice"):
        sources.open_source(twice)
    with pytest.raises(UserError, match="the plane 'depth' has no folder"):
        sources.open_source(f'guided:{folder / "rgb"},depth=')
