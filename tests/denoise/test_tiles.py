"""Tiling: what an output depends on, where tiles are cut, and equality with the whole image."""

import dataclasses

import jax
import numpy as np
import pytest
from random_variables import random_variables
from tiny import first_variables

from n2n_jax import models
from n2n_jax.denoise import denoiser as denoiser_module
from n2n_jax.denoise import tiles
from n2n_jax.denoise.denoiser import Denoiser
from n2n_jax.denoise.orientations import ORIENTATIONS, oriented, oriented_back
from n2n_jax.runtime import device_memory
from n2n_jax.runtime.config import ModelConfig
from n2n_jax.runtime.errors import UserError


def linear_like(config):
    """Positive weights, no bias: every input that reaches an output changes it."""

    def fill(path, leaf):
        name = jax.tree_util.keystr(path)
        if 'bias' in name or 'mean' in name:
            return np.zeros(leaf.shape, np.float32)
        if 'var' in name or 'scale' in name:
            return np.ones(leaf.shape, np.float32)
        return np.full(leaf.shape, 1 / np.prod(leaf.shape[:-1]), np.float32)

    shapes = jax.eval_shape(lambda key: models.init(config, key), jax.random.key(0))
    return jax.tree_util.tree_map_with_path(fill, shapes)


@pytest.mark.parametrize(
    ('config', 'width'),
    [
        (ModelConfig(name='unet', channels=1), 640),
        pytest.param(ModelConfig(name='resnet34', channels=1), 1280, marks=pytest.mark.slow),
        pytest.param(ModelConfig(name='resnet50', channels=1), 1280, marks=pytest.mark.slow),
        # Of RedNet with 34 layers, float32 loses what reaches the farthest output.
        pytest.param(
            ModelConfig(name='rednet:depth=50,width=2', channels=1), 2048, marks=pytest.mark.slow
        ),
        (ModelConfig(name='resunet:width=2', channels=1), 640),
        (ModelConfig(name='resunet:width=2,levels=2', channels=1), 192),
        pytest.param(
            ModelConfig(name='resunet:width=2,levels=5,up=plain', channels=1),
            1024,
            marks=pytest.mark.slow,
        ),
        (ModelConfig(name='resunet_epfl', channels=1), 640),
        (ModelConfig(name='tiny', channels=1), 64),
        (ModelConfig(name='dncnn:depth=5,width=4', channels=1), 32),
        (ModelConfig(name='red30:depth=6,width=4', channels=1), 32),
        (ModelConfig(name='red30:depth=8,width=4', channels=1), 32),
    ],
)
def test_halo_is_what_the_network_depends_on(config, width):
    model = models.build(dataclasses.replace(config, residual=False))
    geometry = models.geometry_of(config)
    stride, halo = geometry.stride, geometry.halo
    apply = jax.jit(model.apply)
    variables = linear_like(config)
    middle = width // 2 // stride * stride
    gray_BHWC = np.full((1, stride, width, 1), 0.5, np.float32)  # 0 to the network
    before, after = [], []
    for place in {0, 1, stride - 1}:
        spot_BHWC = gray_BHWC.copy()
        spot_BHWC[:, :, middle + place] = 1e30  # what reaches the farthest output is not lost
        changed = np.asarray(apply(variables, spot_BHWC)) != np.asarray(apply(variables, gray_BHWC))
        columns = np.flatnonzero(changed.any(axis=(0, 1, 3)))
        assert columns[0] > 0  # otherwise the strip is too short to see the whole halo
        assert columns[-1] < width - 1
        # The cores, one stride wide, of the first and last output that the spot affects.
        first, last = columns[0] // stride * stride, columns[-1] // stride * stride
        after.append(middle + place + 1 - (first + stride))
        before.append(last - (middle + place))
    needed = max(*before, *after)
    assert halo - stride < needed <= halo


def test_group_norm_depends_on_all_of_an_image():
    assert models.geometry_of(ModelConfig(name='resnet50:norm=group')).halo is None


@pytest.mark.parametrize(
    'name',
    [
        pytest.param(
            'nafnet:width=2,encoder=1-1,middle=1,decoder=1-1,pool=16', marks=pytest.mark.slow
        ),
        'nafnet:width=2,encoder=1-0-2,middle=0,decoder=1-1-0,pool=10',
        pytest.param('nafnet:width=2,encoder=2,middle=1,decoder=1,pool=1', marks=pytest.mark.slow),
    ],
)
def test_halo_is_what_a_nafnet_depends_on(name):
    # Its layer norm would hide a change of all channels, but passes on what is not a number.
    config = ModelConfig(name=name, channels=1, residual=False)
    model, geometry = models.build(config), models.geometry_of(config)
    stride, halo = geometry.stride, geometry.halo
    apply = jax.jit(model.apply)
    variables = random_variables(config)
    middle = 2 * halo // stride * stride
    needed = []
    for place in range(stride):
        spot_BHWC = np.zeros((1, stride, 2 * middle, 1), np.float32)
        spot_BHWC[:, :, middle + place] = np.nan
        changed = np.isnan(apply(variables, spot_BHWC))
        columns = np.flatnonzero(changed.any(axis=(0, 1, 3)))
        assert columns[0] > 0
        assert columns[-1] < 2 * middle - 1
        first, last = columns[0] // stride * stride, columns[-1] // stride * stride
        needed += [middle + place + 1 - (first + stride), last - (middle + place)]
    assert halo - stride < max(needed) <= halo


def test_a_mean_over_the_whole_image_has_no_tiles():
    assert models.geometry_of(ModelConfig(name='nafnet:pool=0')).halo is None


@pytest.mark.parametrize('geometry', [tiles.Geometry(32, 128), tiles.Geometry(4, 4)])
def test_cores_cover_an_axis_once_and_keep_their_distance(geometry):
    stride, halo = geometry.stride, geometry.halo
    for core in (stride, 3 * stride):
        for length in [*range(1, 3 * stride), *range(500, 900, 13)]:
            side = tiles.tile_shape(length, 100_000, core, geometry)[0]
            padded = tiles.padded(length, stride)
            spans = tiles.spans(length, side, geometry)
            kept = np.concatenate([np.arange(span.start, span.stop) for span in spans])
            np.testing.assert_array_equal(kept, np.arange(length))
            assert side % stride == 0
            assert side <= core + 2 * halo
            for span in spans:
                assert span.origin % stride == 0
                assert 0 <= span.origin <= padded - side
                assert span.origin == 0 or span.start >= span.origin + halo
                end = span.origin + side
                assert end == padded or span.stop <= end - halo


def test_padding_is_that_of_the_network():
    for length in (1, 2, 3, 5, 31, 32, 33, 70):
        row = np.random.default_rng(length).random(length).astype(np.float32)
        padded = tiles.padded(length, 32)
        want = jax.numpy.pad(row, (0, padded - length), mode='reflect')
        np.testing.assert_array_equal(row[tiles.reflected(length, 32)], want)


def random_unet(**changes):
    config = ModelConfig(name='unet', channels=1)
    shapes = jax.eval_shape(lambda key: models.init(config, key), jax.random.key(0))
    rng = np.random.default_rng(1)
    variables = jax.tree.map(
        lambda leaf: np.float32(rng.normal(0, np.prod(leaf.shape[:-1]) ** -0.5, leaf.shape)), shapes
    )
    return Denoiser(config, variables, step=0, **changes)


def step_image(height, width):
    image = np.full((height, width, 1), 0.2, np.float32)
    image[height // 2 :, width // 3 :] = 0.9
    noise = np.random.default_rng(0).normal(0, 0.1, image.shape)
    noise[: height // 4] = 0  # flat
    return (image + noise).astype(np.float32)


@pytest.mark.parametrize(
    ('shape', 'core'), [pytest.param((363, 301), 96, marks=pytest.mark.slow), ((40, 700), 64)]
)
def test_tiles_make_up_the_whole_of_a_unet(shape, core):
    noisy_HWC = step_image(*shape)
    unet = random_unet()
    direct = jax.jit(models.build(unet.config).apply)
    whole_HWC = np.asarray(direct(unet.variables, noisy_HWC[None]))[0]
    assert np.std(whole_HWC - noisy_HWC) > 0.05
    np.testing.assert_allclose(unet.denoise(noisy_HWC), whole_HWC, atol=1e-5)
    network = random_unet(core=core)
    np.testing.assert_allclose(network.denoise(noisy_HWC), whole_HWC, atol=1e-5)
    # A smaller halo would not be enough.
    network.__dict__['_geometry'] = tiles.Geometry(32, 64)
    assert np.abs(network.denoise(noisy_HWC) - whole_HWC).max() > 1e-4


@pytest.mark.parametrize('name', ['dncnn:depth=5,width=8', 'red30:depth=6,width=8'])
@pytest.mark.parametrize('shape', [(37, 50), (3, 171)])
def test_tiles_make_up_the_whole_of_a_network_at_full_resolution(name, shape):
    config = ModelConfig(name=name, channels=1)
    variables, noisy_HWC = random_variables(config), step_image(*shape)
    direct = jax.jit(models.build(config).apply)
    whole_HWC = np.asarray(direct(variables, noisy_HWC[None]))[0]
    assert np.std(whole_HWC - noisy_HWC) > 0.05
    tiled = Denoiser(config, variables, step=0, core=9)
    np.testing.assert_allclose(tiled.denoise(noisy_HWC), whole_HWC, atol=1e-5)
    # A smaller halo would not be enough.
    tiled.__dict__['_geometry'] = tiles.Geometry(1, 3)
    assert np.abs(tiled.denoise(noisy_HWC) - whole_HWC).max() > 1e-4


@pytest.mark.slow
def test_tiles_make_up_the_whole_of_a_nafnet():
    config = ModelConfig(name='nafnet:width=4,encoder=1-1,middle=1,decoder=1-1,pool=8', channels=1)
    shapes = jax.eval_shape(lambda key: models.init(config, key), jax.random.key(0))
    rng = np.random.default_rng(1)
    variables = jax.tree.map(
        lambda leaf: np.float32(rng.normal(0, np.prod(leaf.shape[:-1]) ** -0.5, leaf.shape)), shapes
    )
    noisy_HWC = step_image(133, 190)
    whole_HWC = Denoiser(config, variables, step=0).denoise(noisy_HWC)
    assert np.std(whole_HWC - noisy_HWC) > 0.05
    tiled = Denoiser(config, variables, step=0, core=16)
    np.testing.assert_allclose(tiled.denoise(noisy_HWC), whole_HWC, rtol=1e-4, atol=1e-4)
    tiled.__dict__['_geometry'] = tiles.Geometry(4, 8)  # too small a halo
    assert np.abs(tiled.denoise(noisy_HWC) - whole_HWC).max() > 1e-2


def tiny(channels=1, **changes):
    config = ModelConfig(name='tiny', channels=channels, residual=False)
    return Denoiser(config, first_variables(config), step=0, **changes)


@pytest.mark.parametrize('shape', [(37, 50), (50, 37), (3, 71), (71, 1)])
def test_tiles_make_up_the_whole_over_all_orientations(shape):
    noisy_HWC = step_image(*shape)
    assert np.prod(tiles.tile_shape(*shape, 8, tiles.Geometry(4, 4))) < np.prod(shape)
    whole_HWC = tiny().denoise(noisy_HWC, tta=True)
    tiled_HWC = tiny(core=8).denoise(noisy_HWC, tta=True)
    np.testing.assert_allclose(tiled_HWC, whole_HWC, atol=1e-5)
    assert np.abs(whole_HWC - tiny().denoise(noisy_HWC)).max() > 1e-3


def test_the_mean_over_orientations_is_that_of_flipped_images():
    noisy_HWC = step_image(24, 16)  # multiples of the stride: nothing is padded
    answers = [
        oriented_back(tiny().denoise(np.ascontiguousarray(oriented(noisy_HWC, o))), o)
        for o in ORIENTATIONS
    ]
    np.testing.assert_allclose(
        tiny().denoise(noisy_HWC, tta=True), np.mean(answers, axis=0), atol=1e-5
    )
    (band,) = tiny().bands(
        noisy_HWC.shape, [lambda start, stop: noisy_HWC[start:stop]], tta=True, spread=True
    )
    np.testing.assert_allclose(band.spread_hWC, np.std(answers, axis=0), atol=1e-5)
    np.testing.assert_allclose(band.mean_hWC, np.mean(answers, axis=0), atol=1e-5)


def test_tiles_become_smaller_where_the_memory_is_short(monkeypatch):
    noisy_HWC = step_image(96, 80)
    network = tiny(core=64)
    want_HWC = network.denoise(noisy_HWC)
    _, needed = denoiser_module._compiled(network.config, (96, 80, 1))
    seen = []
    compiled = denoiser_module._compiled

    def watched(config, shape):
        seen.append(shape)
        return compiled(config, shape)

    monkeypatch.setattr(denoiser_module, '_compiled', watched)
    monkeypatch.setattr(device_memory, 'available_bytes', lambda: needed // 2)
    np.testing.assert_allclose(network.denoise(noisy_HWC), want_HWC, atol=1e-5)
    assert max(np.prod(shape) for shape in seen[2:]) < 96 * 80 / 1.5
    monkeypatch.setattr(device_memory, 'available_bytes', lambda: 1 << 10)
    with pytest.raises(UserError, match=r'image \(80x96\).*memory'):
        network.denoise(noisy_HWC)


def test_tiles_become_smaller_when_memory_runs_out_on_the_way(monkeypatch):
    noisy_HWC = step_image(90, 80)
    want_HWC = tiny().denoise(noisy_HWC)
    apply, calls = Denoiser._apply, []

    def failing(self, noisy_HWC):
        calls.append(noisy_HWC.shape)
        if len(calls) > 3 and noisy_HWC.shape[0] > 24:
            raise jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: out of memory')
        return apply(self, noisy_HWC)

    monkeypatch.setattr(Denoiser, '_apply', failing)
    np.testing.assert_allclose(tiny(core=24).denoise(noisy_HWC), want_HWC, atol=1e-5)
    assert len({shape for shape in calls}) == 2


def test_other_failures_of_the_network_are_not_mistaken_for_a_lack_of_memory(monkeypatch):
    def failing(self, noisy_HWC):
        raise jax.errors.JaxRuntimeError('INTERNAL: something else')

    monkeypatch.setattr(Denoiser, '_apply', failing)
    with pytest.raises(jax.errors.JaxRuntimeError, match='something else'):
        tiny().denoise(step_image(9, 9))
