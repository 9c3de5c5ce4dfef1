"""The paper's U-Net, its layers, and the wrapper for images of any size."""

import jax
import numpy as np
import pytest
from flax import linen as nn
from random_variables import first_layers, random_variables, with_first_last_layer
from tiny import zero_variables

from n2n_jax import models
from n2n_jax.models import layers
from n2n_jax.runtime.config import ModelConfig


def count(tree):
    return sum(x.size for x in jax.tree.leaves(tree))


def apply(config, variables, x_BHWC):
    return jax.jit(models.build(config).apply)(variables, x_BHWC)


def shapes_of(**changes):
    config = ModelConfig(**{'name': 'unet', **changes})
    return jax.eval_shape(lambda key: models.init(config, key), jax.random.key(0))


@pytest.mark.parametrize(('channels', 'want'), [(3, 991_203), (1, 988_609)])
def test_the_parameter_count_is_the_papers(channels, want):
    assert count(shapes_of(channels=channels)) == want


def test_every_layer_has_the_papers_size_and_its_own_weights():
    params = shapes_of()['params']['network']
    want = {
        'enc_conv0': 1_344, **{f'enc_conv{i}': 20_784 for i in range(1, 7)},
        'dec_conv5a': 83_040, 'dec_conv5b': 83_040,
        **{f'dec_conv{i}a': 124_512 for i in (4, 3, 2)},
        **{f'dec_conv{i}b': 83_040 for i in (4, 3, 2)},
        'dec_conv1a': 57_088, 'dec_conv1b': 18_464, 'dec_conv1c': 867,
    }  # fmt: skip
    assert {name: count(layer) for name, layer in params.items()} == want


def test_the_first_weights_are_those_of_he_and_the_last_layers_gain_is_one():
    gains = {'dec_conv4a': np.sqrt(2), 'enc_conv3': np.sqrt(2), 'dec_conv1c': 1}
    params = first_layers(ModelConfig(name='unet', zero_last=False), *gains)
    for name, gain in gains.items():
        kernel = np.asarray(params[name]['kernel'])
        fan_in = np.prod(kernel.shape[:3])
        assert kernel.std() == pytest.approx(gain / np.sqrt(fan_in), rel=0.08)
        assert not np.asarray(params[name]['bias']).any()
    kernel = np.asarray(params['dec_conv4a']['kernel'])
    assert np.abs(kernel).max() > 3.5 * kernel.std()  # not a truncated normal


def test_the_output_is_linear():
    config = ModelConfig(name='unet', residual=False)
    variables = random_variables(config)
    x = np.random.default_rng(1).random((1, 32, 32, 3), np.float32)
    direct = jax.jit(models.build(config).apply)
    last = variables['params']['network']['dec_conv1c']
    last['bias'] *= 0
    y = np.asarray(direct(variables, x)) - 0.5
    last['kernel'] = -last['kernel']
    mirrored = np.asarray(direct(variables, x)) - 0.5
    np.testing.assert_allclose(mirrored, -y, atol=1e-6)  # any activation would break this
    assert np.abs(y).max() > 0.05


@pytest.mark.parametrize('size', [(1, 1), (2, 70), (31, 33), (32, 32), (64, 45)])
@pytest.mark.parametrize('residual', [True, False])
def test_any_size_comes_back(size, residual):
    config = ModelConfig(name='tiny', residual=residual)
    x = jax.ShapeDtypeStruct((2, *size, 3), np.float32)
    output = jax.eval_shape(models.build(config).apply, zero_variables(config), x)
    assert output.shape == x.shape


def test_padding_reflects():
    config = ModelConfig(name='tiny', residual=False)
    variables = random_variables(config)
    x = np.random.default_rng(1).random((1, 6, 7, 3), np.float32)
    padded = np.pad(x, ((0, 0), (0, 2), (0, 1), (0, 0)), mode='reflect')
    want = apply(config, variables, padded)[:, :6, :7]
    np.testing.assert_allclose(apply(config, variables, x), want, atol=1e-6)


def test_a_residual_network_with_no_weights_is_the_identity_bit_for_bit():
    config = ModelConfig(name='unet', residual=True)
    variables = zero_variables(config)
    x = jax.random.uniform(jax.random.key(1), (1, 33, 40, 3))
    np.testing.assert_array_equal(apply(config, variables, x), x)


def test_pooling_and_upsampling_equal_the_library_and_have_scatter_free_gradients():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 8, 12, 3), np.float32)
    pairs = [
        (layers.max_pool_2x2, lambda x: nn.max_pool(x, (2, 2), (2, 2))),
        (
            layers.max_pool_3x3_stride_2,
            lambda x: nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1))),
        ),
        (layers.upsample_2x, lambda x: jax.image.resize(x, (2, 16, 24, 3), 'nearest')),
    ]
    for ours, library in pairs:
        weights = rng.standard_normal(jax.eval_shape(library, x).shape, np.float32)

        @jax.jit
        def both(x, functions=(ours, library), weights=weights):
            found = [jax.vjp(f, x) for f in functions]
            return [value for value, _ in found], [vjp(weights)[0] for _, vjp in found]

        values, gradients = both(x)
        np.testing.assert_array_equal(*values)
        np.testing.assert_allclose(*gradients, atol=1e-5)
        text = jax.jit(jax.grad(lambda x, f=ours: (f(x) ** 2).sum())).lower(x).as_text()
        assert 'scatter' not in text


def test_it_starts_as_the_identity_where_it_predicts_the_noise():
    image_BHWC = np.random.default_rng(0).random((1, 32, 32, 3), np.float32)
    config = ModelConfig(name='unet')
    denoised_BHWC = apply(config, with_first_last_layer(config), image_BHWC)
    np.testing.assert_array_equal(denoised_BHWC, image_BHWC)
    # If it predicts the image itself, starting at zero would give gray.
    last = first_layers(ModelConfig(name='unet', residual=False), 'dec_conv1c')['dec_conv1c']
    assert np.asarray(last['kernel']).any()
