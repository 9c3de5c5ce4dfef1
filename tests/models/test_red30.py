"""RED30: the source's layers, and its output by an independent implementation.

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

DEPTHS = [4, 6, 8, 10]  # with and without a skip around the two layers in the middle


def small(depth=6, **changes):
    return ModelConfig(**{'name': f'red30:depth={depth},width=8', **changes})


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def shapes_of(config):
    return jax.eval_shape(lambda key: models.init(config, key), jax.random.key(0))


@pytest.mark.parametrize(('channels', 'want'), [(1, 4_134_785), (3, 4_139_395)])
def test_every_layer_has_the_size_of_the_source(channels, want):
    params = shapes_of(ModelConfig(name='red30', channels=channels))['params']['network']
    inner = 9 * 128 * 128 + 128
    table = {
        'conv1': 9 * channels * 128 + 128,
        **{f'conv{i}': inner for i in range(2, 16)},
        **{f'deconv{i}': inner for i in range(1, 15)},
        'deconv15': 9 * 128 * channels + channels,
    }
    assert len(table) == 30
    assert {name: count(layer) for name, layer in params.items()} == table
    assert count(params) == want


def reference(variables, x_BHWC):
    """Computes the network from its definition, with transposed convolutions."""
    params = variables['params']['network']
    half = len(params) // 2
    maps = [x_BHWC]
    for i in range(1, half + 1):
        layer = params[f'conv{i}']
        y = jax.lax.conv_general_dilated(
            maps[-1], layer['kernel'], (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
        )
        maps.append(jax.nn.relu(y + layer['bias'].reshape(1, 1, 1, -1)))
    y = maps[half]
    for i in range(half - 1, -1, -1):  # the convolution that is mirrored; 0 is the input
        layer = params[f'deconv{half - i}']
        turned = layer['kernel'][::-1, ::-1].swapaxes(2, 3)
        y = jax.lax.conv_transpose(
            y, turned, (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
            transpose_kernel=True,
        )  # fmt: skip
        y = y + layer['bias'].reshape(1, 1, 1, -1)
        if i % 2 == 0:
            y = y + maps[i]
        if i > 0:
            y = jax.nn.relu(y)
    return y


@pytest.mark.parametrize('depth', DEPTHS)
@pytest.mark.parametrize('plain', [False, True])
def test_the_output_is_that_of_an_independent_implementation(depth, plain):
    # The skip from the input to the output is the wrapper's: hence residual.
    config = small(depth, residual=True, convolutions='plain' if plain else 'auto')
    variables = random_variables(config)
    image_BHWC = np.random.default_rng(1).random((2, 9, 7, 3), np.float32)
    output_BHWC = jax.jit(models.build(config).apply)(variables, image_BHWC)
    want_BHWC = jax.jit(reference)(variables, image_BHWC - 0.5) + 0.5
    assert np.std(want_BHWC - image_BHWC) > 0.1
    np.testing.assert_allclose(output_BHWC, want_BHWC, atol=2e-5)


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


def make_step(config):
    """A function of parameters that returns ((loss, output), gradient), and the input."""
    noisy_BHWC = np.random.default_rng(1).random((2, 12, 12, 3), np.float32)

    def loss(params):
        output_BHWC = models.build(config).apply({'params': params}, noisy_BHWC)
        return jnp.mean((output_BHWC - 1) ** 2), output_BHWC

    return jax.jit(jax.value_and_grad(loss, has_aux=True)), noisy_BHWC


def without_gradient(gradient):
    flat = traverse_util.flatten_dict(gradient['network'], sep='/')
    return [name for name, value in flat.items() if not np.any(value)]


@pytest.mark.parametrize('depth', [8, 10])
def test_the_gradient_reaches_every_parameter_and_the_output_has_either_sign(depth):
    config = small(depth, residual=False)
    step, _ = make_step(config)
    (_, output_BHWC), gradient = step(random_variables(config)['params'])
    assert output_BHWC.min() < 0.5 < output_BHWC.max()  # the network sees 0.5 as 0
    assert without_gradient(gradient) == []


def test_it_starts_as_the_identity_and_learns_in_every_layer_from_the_second_step():
    config = small()
    step, noisy_BHWC = make_step(config)
    params = first_variables(config)['params']
    (_, output_BHWC), gradient = step(params)
    np.testing.assert_array_equal(output_BHWC, noisy_BHWC)
    assert not {'deconv3/kernel', 'deconv3/bias'} & {*without_gradient(gradient)}
    params = jax.tree.map(lambda leaf, change: leaf - 1e-2 * change, params, gradient)
    assert without_gradient(step(params)[1]) == []


def test_an_odd_depth_is_refused():
    with pytest.raises(UserError, match="'depth=7' of red30 is invalid: write an even number"):
        models.build(ModelConfig(name='red30:depth=7'))


@pytest.mark.slow
def test_a_step_of_the_full_network_lowers_the_loss():
    config = ModelConfig(name='red30')
    step, _ = make_step(config)
    params = first_variables(config)['params']
    (before, _), gradient = step(params)
    (after, _), _ = step(jax.tree.map(lambda leaf, change: leaf - 1e-3 * change, params, gradient))
    assert after < before
