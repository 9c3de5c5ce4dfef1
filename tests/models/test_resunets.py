"""The two ResUNets: layers of their documents, shapes, gradients and equal forms."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from random_variables import random_variables, with_first_last_layer
from tiny import first_variables, zero_variables

from n2n_jax import models
from n2n_jax.denoise.denoiser import Denoiser
from n2n_jax.models.residual_block import ResidualBlock
from n2n_jax.models.resunet_epfl import EPFLResUNet
from n2n_jax.runtime.config import ModelConfig

SMALL = ('resunet:width=4,levels=2', 'resunet:width=4,levels=2,up=plain', 'resunet_epfl')
SLOW_REST = (SMALL[0], *(pytest.param(name, marks=pytest.mark.slow) for name in SMALL[1:]))


def count(tree):
    return sum(x.size for x in jax.tree.leaves(tree))


def params_of(**changes):
    config = ModelConfig(**changes)
    shapes = jax.eval_shape(lambda key: models.init(config, key), jax.random.key(0))
    return shapes['params']['network']


def conv(num_in, num_out, size=3):
    return size * size * num_in * num_out + num_out


def image(*shape):
    return np.random.default_rng(1).uniform(-0.5, 0.5, shape).astype(np.float32)


@pytest.mark.parametrize(('channels', 'want'), [(3, 2_503_939), (1, 2_503_361)])
def test_the_resunet_has_the_layers_of_its_table(channels, want):
    widths = (16, 32, 64, 128, 128)
    table = conv(channels, 16) + conv(16, channels)
    for outer, inner in itertools.pairwise(widths):
        table += conv(outer, inner, size=2) + 2 * 2 * conv(inner, inner)
        table += conv(inner, outer) + 2 * 2 * conv(outer, outer)
    assert count(params_of(name='resunet', channels=channels)) == table == want


def test_the_plain_up_blocks_are_two_convolutions():
    down = sum(
        conv(outer, inner, size=2) + 4 * conv(inner, inner)
        for outer, inner in ((16, 32), (32, 64), (64, 128), (128, 128))
    )
    up = sum(
        conv(inner, outer) + conv(outer, outer)
        for inner, outer in ((128, 128), (128, 64), (64, 32), (32, 16))
    )
    assert count(params_of(name='resunet:up=plain')) == conv(3, 16) + down + up + conv(16, 3)


def test_width_and_levels_of_the_resunet_are_options():
    params = params_of(name='resunet:width=8,levels=2')
    assert params['in_conv']['kernel'].shape == (3, 3, 3, 8)
    assert params['down2_block1']['conv1']['kernel'].shape == (3, 3, 16, 16)
    assert models.geometry_of(ModelConfig(name='resunet:width=8,levels=2')).stride == 4


@pytest.mark.parametrize(('channels', 'want'), [(3, 1_147_539), (1, 1_145_457)])
@pytest.mark.parametrize('options', ['', ':residual_blocks=False,relu_output'])
def test_the_epfl_resunet_has_the_layers_of_table_1(channels, want, options):
    table = {
        'enc0': conv(channels, 48), **{f'enc{i}': conv(48, 48) for i in range(1, 7)},
        'upsample5': conv(48, 48, size=2),
        'dec5a': conv(96, 96), 'dec5b': conv(96, 96),
        **{f'upsample{i}': conv(96, 96, size=2) for i in (4, 3, 2, 1)},
        **{f'dec{i}a': conv(144, 96) for i in (4, 3, 2)},
        **{f'dec{i}b': conv(96, 96) for i in (4, 3, 2)},
        'dec1a': conv(96 + channels, 64), 'dec1b': conv(64, 32),
        'final_conv': conv(32, channels, size=1),
    }  # fmt: skip
    params = params_of(name=f'resunet_epfl{options}', channels=channels)
    assert {name: count(layer) for name, layer in params.items()} == table
    assert count(params) == want


def test_a_residual_block_without_weights_is_the_identity():
    x_BHWC = image(2, 4, 6, 8)
    shapes = jax.eval_shape(ResidualBlock().init, jax.random.key(0), x_BHWC)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes)
    np.testing.assert_array_equal(ResidualBlock().apply(zeros, x_BHWC), x_BHWC)


def test_without_weights_the_residual_additions_of_the_epfl_resunet_pass_features_on():
    # Only enc0 and the last level have weights; the skip of the other levels is cut off there.
    network = EPFLResUNet(1)
    x_BHWC = image(1, 32, 32, 1)
    shapes = jax.eval_shape(network.init, jax.random.key(0), x_BHWC)
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
    params['params']['enc0']['bias'][:] = 1
    for name in ('upsample5', 'upsample4', 'upsample3', 'upsample2', 'upsample1'):
        kernel = params['params'][name]['kernel']
        kernel[:, :, :48, :48] = np.eye(48)
    for name in ('dec4a', 'dec3a', 'dec2a'):  # keep the map from below, drop the skip
        params['params'][name]['kernel'][1, 1, :96] = np.eye(96)
    params['params']['dec1a']['kernel'][1, 1, 0, 0] = 1
    params['params']['dec1b']['kernel'][1, 1, 0, 0] = 1
    params['params']['final_conv']['kernel'][0, 0] = 1
    np.testing.assert_allclose(jax.jit(network.apply)(params, x_BHWC), 1)
    without = EPFLResUNet(1, residual_blocks=False)
    np.testing.assert_allclose(jax.jit(without.apply)(params, x_BHWC), 0)


@pytest.mark.parametrize('name', SMALL)
def test_a_network_that_predicts_the_noise_starts_as_the_identity(name):
    config = ModelConfig(name=name)
    image_BHWC = image(1, 33, 40, 3) + 0.5
    apply = jax.jit(models.build(config).apply)
    np.testing.assert_array_equal(apply(zero_variables(config), image_BHWC), image_BHWC)
    # Of its first weights, only the last layer matters.
    np.testing.assert_array_equal(apply(with_first_last_layer(config), image_BHWC), image_BHWC)


@pytest.mark.parametrize(
    'name',
    [
        'resunet:levels=2',
        *(pytest.param(name, marks=pytest.mark.slow) for name in ('resunet', 'resunet_epfl')),
    ],
)
def test_the_first_outputs_are_of_the_size_of_an_image(name):
    config = ModelConfig(name=name, residual=False)
    output_BHWC = jax.jit(models.build(config).apply)(
        first_variables(config), image(1, 64, 64, 3) + 0.5
    )
    assert 0.05 < np.std(output_BHWC) < 2


@pytest.mark.parametrize('name', SMALL)
@pytest.mark.parametrize(('channels', 'size'), [(1, (1, 1)), (2, (31, 33)), (3, (64, 45))])
def test_any_size_comes_back(name, channels, size):
    config = ModelConfig(name=name, channels=channels)
    shapes = jax.eval_shape(lambda key: models.init(config, key), jax.random.key(0))
    noisy_BHWC = jax.ShapeDtypeStruct((2, *size, channels), jnp.float32)
    output = jax.eval_shape(models.build(config).apply, shapes, noisy_BHWC)
    assert output.shape == noisy_BHWC.shape


@pytest.mark.parametrize('name', SMALL)
def test_the_output_of_a_bfloat16_network_is_float32(name):
    config = ModelConfig(name=name, dtype='bfloat16')
    variables = jax.eval_shape(lambda key: models.init(config, key), jax.random.key(0))
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))
    noisy_BHWC = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    network = models.build(config).network
    variables = {'params': variables['params']['network']}
    program = jax.jit(network.apply).lower(variables, noisy_BHWC)
    assert program.out_info.dtype == jnp.float32
    assert 'bf16' in program.as_text()


def loss_of(config):
    model = models.build(config)

    def loss(variables, x_BHWC):
        output_BHWC = model.apply(variables, x_BHWC)
        return jnp.mean((output_BHWC - 2) ** 2), output_BHWC

    return loss


@functools.cache
def results(name, convolutions='auto'):
    """((loss, output), gradient) with random weights, which two tests share."""
    config = ModelConfig(name=name, residual=False, convolutions=convolutions)
    both = jax.jit(jax.value_and_grad(loss_of(config), has_aux=True))
    return both(random_variables(config), image(1, 32, 32, 3) + 0.5)


@pytest.mark.parametrize('name', SLOW_REST)
def test_the_output_goes_negative_and_the_gradient_reaches_every_parameter(name):
    (_, output_BHWC), gradient = results(name)
    assert np.min(output_BHWC) - 0.5 < 0 < np.max(output_BHWC) - 0.5
    flat = traverse_util.flatten_dict(gradient['params'])
    assert [key for key, value in flat.items() if not np.any(value)] == []


@pytest.mark.parametrize('name', SMALL)
def test_the_gradient_has_no_scatter(name):
    config = ModelConfig(name=name)
    noisy_BHWC = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    variables = jax.eval_shape(lambda key: models.init(config, key), jax.random.key(0))
    gradient = jax.jit(jax.grad(loss_of(config), has_aux=True))
    text = gradient.lower(variables, noisy_BHWC).as_text()
    assert 'convolution' in text
    assert 'scatter' not in text


@pytest.mark.parametrize('name', SLOW_REST)
def test_fast_and_plain_layers_have_the_same_values_and_gradients(name):
    ((loss, _), gradient), ((other_loss, _), other_gradient) = (
        jax.device_get(results(name, convolutions)) for convolutions in ('auto', 'plain')
    )
    assert float(loss) == pytest.approx(float(other_loss), rel=1e-5)
    for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(other_gradient), strict=True):
        # Where the input of a ReLU is all but 0, rounding decides whether a gradient passes.
        assert np.linalg.norm(a - b) <= 0.01 * np.linalg.norm(b)


def test_relu_output_cuts_off_the_denoised_image_at_0():
    noisy_BHWC = image(1, 32, 32, 3) + 0.5
    lowest = {}
    for option in ('', ':relu_output'):
        config = ModelConfig(name=f'resunet_epfl{option}', residual=False)
        variables = random_variables(config)
        variables['params']['network']['final_conv']['kernel'] *= 10
        lowest[option] = np.min(jax.jit(models.build(config).apply)(variables, noisy_BHWC))
    assert lowest[''] < 0
    assert lowest[':relu_output'] == 0


@pytest.mark.parametrize(
    ('name', 'shape', 'core'),
    [
        ('resunet:width=4,levels=2', (83, 150), 24),
        pytest.param('resunet:width=4,levels=2,up=plain', (83, 150), 24, marks=pytest.mark.slow),
        pytest.param('resunet_epfl', (40, 420), 64, marks=pytest.mark.slow),
    ],
)
def test_tiles_make_up_the_whole(name, shape, core):
    config = ModelConfig(name=name, channels=1)
    noisy_HWC = image(*shape, 1) + 0.5
    model = models.build(config)
    variables = random_variables(config)
    whole_HWC = np.asarray(jax.jit(model.apply)(variables, noisy_HWC[None]))[0]
    assert np.std(whole_HWC - noisy_HWC) > 0.02
    tiled_HWC = Denoiser(config, variables, step=0, core=core).denoise(noisy_HWC)
    np.testing.assert_allclose(tiled_HWC, whole_HWC, atol=1e-4 * np.abs(whole_HWC).max())
