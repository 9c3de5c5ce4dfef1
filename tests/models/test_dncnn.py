"""DnCNN: the source's parameters, and its output by an independent implementation.

B batch, H height, W width, C channels.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from random_variables import random_variables
from tiny import first_variables

from n2n_jax import models
from n2n_jax.runtime.config import ModelConfig
from n2n_jax.runtime.errors import UserError

NORMS = ['batch', 'none']


def small(norm='batch', **changes):
    return ModelConfig(**{'name': f'dncnn:depth=6,width=8,norm={norm}', **changes})


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def shapes_of(config):
    return jax.eval_shape(lambda key: models.init(config, key), jax.random.key(0))


def layer_table(depth, width, channels, norm):
    """The parameters of each layer, as the code of the source trains them."""
    table = {'conv1': 9 * channels * width + width}
    for i in range(2, depth):
        table[f'conv{i}'] = 9 * width**2 + (width if norm == 'none' else 0)
        if norm == 'batch':
            table[f'norm{i}'] = 2 * width  # scale and shift
    return {**table, f'conv{depth}': 9 * width * channels + channels}


@pytest.mark.parametrize(
    ('name', 'channels', 'want'),
    [
        ('dncnn', 1, 556_097),
        ('dncnn:norm=none', 1, 555_137),  # of the published weights for gray
        ('dncnn:depth=20', 3, 669_379),
        ('dncnn:depth=20,norm=none', 3, 668_227),  # of the published weights for color
    ],
)
def test_every_layer_has_the_parameters_of_the_source(name, channels, want):
    variables = shapes_of(ModelConfig(name=name, channels=channels))
    layers = variables['params']['network']
    norm, depth = 'none' if 'none' in name else 'batch', 20 if '20' in name else 17
    assert {key: count(layer) for key, layer in layers.items()} == layer_table(
        depth, 64, channels, norm
    )
    assert count(layers) == want
    # Means and variances are not trained, hence not among the parameters.
    assert count(variables.get('batch_stats', {})) == (2 * 64 * (depth - 2) * (norm == 'batch'))


def reference(variables, x_BHWC, *, train):
    """Computes the network from its definition: convolve, normalize, rectify."""
    params = variables['params']['network']
    stats = variables.get('batch_stats', {}).get('network', {})
    depth, y = sum(name.startswith('conv') for name in params), x_BHWC
    for i in range(1, depth + 1):
        layer = params[f'conv{i}']
        padded = np.pad(y, ((0, 0), (1, 1), (1, 1), (0, 0)))
        h, w = y.shape[1:3]
        y = sum(
            padded[:, row : row + h, column : column + w] @ layer['kernel'][row, column]
            for row in range(3)
            for column in range(3)
        )
        y = y + layer.get('bias', 0)
        if f'norm{i}' in params:
            mean, variance = y.mean((0, 1, 2)), y.var((0, 1, 2))
            if not train:
                mean, variance = stats[f'norm{i}']['mean'], stats[f'norm{i}']['var']
            norm = params[f'norm{i}']
            y = (y - mean) / np.sqrt(variance + 1e-4) * norm['scale'] + norm['bias']
        if i < depth:
            y = np.maximum(y, 0)
    return y


@pytest.mark.parametrize('norm', NORMS)
@pytest.mark.parametrize('train', [False, True])
@pytest.mark.parametrize('plain', [False, True])
def test_the_output_is_that_of_an_independent_implementation(norm, train, plain):
    config = small(norm, residual=False, convolutions='plain' if plain else 'auto')
    variables = random_variables(config)
    image_BHWC = np.random.default_rng(1).random((2, 9, 7, 3), np.float32)
    model = models.build(config)

    @jax.jit
    def output(variables):
        if not train:
            return model.apply(variables, image_BHWC)
        return model.apply(variables, image_BHWC, train=True, mutable=['batch_stats'])[0]

    want_BHWC = reference(variables, image_BHWC - 0.5, train=train) + 0.5
    assert want_BHWC.std() > 0.1
    np.testing.assert_allclose(output(variables), want_BHWC, atol=2e-5)


@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('size', [(1, 1), (2, 35), (17, 31)])
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_any_size_comes_back_in_float32(size, channels, dtype):
    config = small(channels=channels, dtype=dtype)
    image_BHWC = jax.ShapeDtypeStruct((2, *size, channels), jnp.float32)
    variables = shapes_of(config)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))
    output_BHWC = jax.eval_shape(models.build(config).apply, variables, image_BHWC)
    assert (output_BHWC.shape, output_BHWC.dtype) == (image_BHWC.shape, jnp.float32)


def loss_and_rest(config, params, stats, noisy_BHWC):
    output_BHWC, rest = models.build(config).apply(
        {'params': params, **stats}, noisy_BHWC, train=True, mutable=['batch_stats']
    )
    return jnp.mean((output_BHWC - 1) ** 2), (output_BHWC, rest)


def without_gradient(gradient):
    flat = traverse_util.flatten_dict(gradient['network'], sep='/')
    return [name for name, value in flat.items() if not np.any(value)]


@pytest.mark.parametrize('norm', NORMS)
def test_the_gradient_reaches_every_parameter_and_the_output_has_either_sign(norm):
    config = small(norm, residual=False)
    variables = random_variables(config)
    noisy_BHWC = np.random.default_rng(1).random((2, 12, 12, 3), np.float32)
    stats = {key: value for key, value in variables.items() if key != 'params'}
    gradient, (output_BHWC, rest) = jax.jit(
        jax.grad(lambda params: loss_and_rest(config, params, stats, noisy_BHWC), has_aux=True)
    )(variables['params'])
    assert output_BHWC.min() < 0.5 < output_BHWC.max()  # the network sees 0.5 as 0
    assert without_gradient(gradient) == []
    for before, after in zip(jax.tree.leaves(stats), jax.tree.leaves(rest), strict=True):
        assert np.any(before != after)


@pytest.mark.parametrize('norm', NORMS)
def test_it_starts_as_the_identity_and_learns_in_every_layer_from_the_second_step(norm):
    config = small(norm)
    variables = first_variables(config)
    noisy_BHWC = np.random.default_rng(1).random((2, 12, 12, 3), np.float32)
    params = variables.pop('params')
    step = jax.jit(
        jax.grad(lambda params: loss_and_rest(config, params, variables, noisy_BHWC), has_aux=True)
    )
    gradient, (output_BHWC, _) = step(params)
    np.testing.assert_array_equal(output_BHWC, noisy_BHWC)
    assert not {'conv6/kernel', 'conv6/bias'} & {*without_gradient(gradient)}
    params = jax.tree.map(lambda leaf, change: leaf - 1e-2 * change, params, gradient)
    assert without_gradient(step(params)[0]) == []


def test_batch_norms_start_small_and_of_either_sign():
    params = first_variables(ModelConfig(name='dncnn:depth=4'))['params']['network']
    scales = np.concatenate([params['norm2']['scale'], params['norm3']['scale']])
    assert np.abs(scales).min() >= 0.025
    assert np.abs(scales).max() < 0.2
    assert 0.3 < np.mean(scales > 0) < 0.7


def test_a_depth_without_layers_between_is_refused():
    with pytest.raises(UserError, match='depth=1.*write between 2 and 100'):
        models.build(ModelConfig(name='dncnn:depth=1'))


@pytest.mark.slow
@pytest.mark.parametrize('name', ['dncnn', 'dncnn:depth=20,norm=none'])
def test_a_step_of_the_full_network_lowers_the_loss(name):
    config = ModelConfig(name=name)
    variables = first_variables(config)
    noisy_BHWC = np.random.default_rng(1).random((2, 32, 32, 3), np.float32)
    params = variables.pop('params')
    step = jax.jit(
        jax.value_and_grad(
            lambda params: loss_and_rest(config, params, variables, noisy_BHWC), has_aux=True
        )
    )
    (before, _), gradient = step(params)
    (after, _), _ = step(jax.tree.map(lambda leaf, change: leaf - 1e-3 * change, params, gradient))
    assert after < before
