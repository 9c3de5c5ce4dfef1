"""NAFNet: sizes, mathematics against plain implementations, and its fast forms.

B batch, H height, W width, C channels.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import traverse_util
from random_variables import first_layers

from n2n_jax import models
from n2n_jax.models import convolutions
from n2n_jax.models.depthwise import DepthwiseConv
from n2n_jax.models.nafnet import Downsample, NAFBlock, NAFNet, Upsample, window_mean
from n2n_jax.runtime.config import ModelConfig
from n2n_jax.runtime.errors import UserError

# Compiles in half the time.
_jit = functools.partial(jax.jit, compiler_options={'xla_backend_optimization_level': 0})
_small = functools.partial(NAFNet, width=4, encoder=(1,), middle=1, decoder=(1,))


def draw(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def shapes_of(model, x_BHWC):
    return jax.eval_shape(model.init, jax.random.key(0), x_BHWC)


def random_variables(model, x_BHWC):
    """Random also where the network starts at zero."""
    rng = np.random.default_rng(0)

    def leaf(path, leaf):
        if path[-1].key in ('scale', 'beta', 'gamma'):
            return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        fan_in = np.prod(leaf.shape[:-1]) if leaf.ndim > 1 else 9
        return rng.standard_normal(leaf.shape, np.float32) / np.float32(np.sqrt(fan_in))

    return jax.tree_util.tree_map_with_path(leaf, shapes_of(model, x_BHWC))


def count(variables):
    return sum(leaf.size for leaf in jax.tree.leaves(variables))


def want_count(channels, width, encoder, middle, decoder):
    """Counts the layers of the paper's code, with its biases."""

    def convolution(size, num_in, num_out, *, bias=True):
        return size**2 * num_in * num_out + bias * num_out

    def block(c):
        spatial = convolution(1, c, 2 * c) + convolution(3, 1, 2 * c) + 2 * convolution(1, c, c)
        norms_and_scales = 2 * 2 * c + 2 * c
        return spatial + convolution(1, c, 2 * c) + convolution(1, c, c) + norms_and_scales

    total = convolution(3, channels, width) + convolution(3, width, channels)
    c = width
    for number in encoder:
        total += number * block(c) + convolution(2, c, 2 * c)
        c *= 2
    total += middle * block(c)
    for number in decoder:
        total += convolution(1, c, 2 * c, bias=False)
        c //= 2
        total += number * block(c)
    return total


@pytest.mark.parametrize(
    ('name', 'blocks', 'want'),
    [
        pytest.param('nafnet', (32, (1, 1, 1, 28), 1, (1, 1, 1, 1)), 17.11, marks=pytest.mark.slow),
        ('nafnet_m', (32, (2, 4, 8), 2, (4, 2, 2)), 2.93),
        ('nafnet_s', (24, (2, 2, 4), 1, (2, 2, 2)), 0.96),
        ('nafnet_xs', (16, (1, 1, 2), 1, (1, 1, 1)), 0.32),
        ('nafnet_xs:pool=0', (16, (1, 1, 2), 1, (1, 1, 1)), 0.32),
        ('nafnet:width=8,encoder=1-2,middle=0,decoder=2-1', (8, (1, 2), 0, (2, 1)), 0.02),
    ],
)
def test_each_size_has_the_parameters_of_the_papers_layers(name, blocks, want):
    config = ModelConfig(name=name, channels=3)
    total = count(jax.eval_shape(lambda: models.init(config, jax.random.key(0))))
    assert total == want_count(3, *blocks)
    assert total / 1e6 == pytest.approx(want, abs=0.005)


def test_the_first_and_last_layer_have_the_channels_of_the_image():
    config = ModelConfig(name='nafnet_xs', channels=1)
    total = count(jax.eval_shape(lambda: models.init(config, jax.random.key(0))))
    assert total == want_count(1, 16, (1, 1, 2), 1, (1, 1, 1))


def test_encoder_and_decoder_of_different_depth_are_refused():
    with pytest.raises(UserError, match=r'encoder=1-1-2 and decoder=1-1 do not match'):
        models.build(ModelConfig(name='nafnet:encoder=1-1-2,decoder=1-1'))
    with pytest.raises(UserError, match='at most 6'):
        models.build(ModelConfig(name='nafnet:encoder=1-1-1-1-1-1-1,decoder=1-1-1-1-1-1-1'))


def plain_block(params, x_BHWC):
    """Written from the equations of the paper, in NumPy and with the library's convolutions."""

    def norm(x_BHWC, name):
        mean, var = x_BHWC.mean(-1, keepdims=True), x_BHWC.var(-1, keepdims=True)
        return (x_BHWC - mean) / np.sqrt(var + 1e-6) * params[name]['scale'] + params[name]['bias']

    def linear(x_BHWC, name):
        return np.einsum('bhwi,io->bhwo', x_BHWC, params[name]['kernel']) + params[name]['bias']

    def gate(x_BHWC):
        half = x_BHWC.shape[-1] // 2
        return x_BHWC[..., :half] * x_BHWC[..., half:]

    y_BHWC = linear(norm(x_BHWC, 'norm1'), 'conv1')
    num_features = y_BHWC.shape[-1]
    depthwise = nn.Conv(num_features, (3, 3), feature_group_count=num_features)
    y_BHWC = gate(np.asarray(depthwise.apply({'params': params['conv2']}, y_BHWC)))
    y_BHWC = y_BHWC * linear(y_BHWC.mean((1, 2), keepdims=True), 'attention')
    x_BHWC = x_BHWC + params['beta'] * linear(y_BHWC, 'conv3')
    y_BHWC = linear(gate(linear(norm(x_BHWC, 'norm2'), 'conv4')), 'conv5')
    return x_BHWC + params['gamma'] * y_BHWC


@pytest.mark.parametrize('window', [0, 8])
def test_the_block_is_the_papers(window):
    x_BHWC = draw(1, 2, 6, 8, 5)
    block = NAFBlock(window)
    variables = random_variables(block, x_BHWC)
    output_BHWC = _jit(block.apply)(variables, x_BHWC)
    np.testing.assert_allclose(output_BHWC, plain_block(variables['params'], x_BHWC), atol=2e-5)


def test_a_new_block_changes_nothing():
    x_BHWC = draw(1, 2, 5, 6, 4)
    output_BHWC, variables = _jit(NAFBlock().init_with_output)(jax.random.key(0), x_BHWC)
    np.testing.assert_array_equal(output_BHWC, x_BHWC)
    assert np.asarray(variables['params']['conv5']['kernel']).any()


@pytest.mark.parametrize('size', [1, 2, 3, 4, 7, 8, 11])
def test_the_mean_is_that_of_a_window_moved_inside_the_map(size):
    x_BHWC = draw(0, 2, 5, 12, 3)
    _, h, w, _ = x_BHWC.shape
    want_BHWC = np.empty_like(x_BHWC)
    for i in range(h):
        for j in range(w):
            top = np.clip(i - (size - 1) // 2, 0, max(0, h - size))
            left = np.clip(j - (size - 1) // 2, 0, max(0, w - size))
            want_BHWC[:, i, j] = x_BHWC[:, top : top + size, left : left + size].mean((1, 2))
    mean_BHWC = np.broadcast_to(jax.jit(lambda x: window_mean(x, size))(x_BHWC), x_BHWC.shape)
    np.testing.assert_allclose(mean_BHWC, want_BHWC, atol=1e-6)


def test_a_window_as_large_as_the_crops_is_the_papers_attention_there():
    x_BHWC = draw(1, 2, 16, 16, 3)
    variables = random_variables(_small(3), x_BHWC)
    outputs = [_jit(_small(3, pool=pool).apply)(variables, x_BHWC) for pool in (0, 16, 8)]
    np.testing.assert_array_equal(outputs[0], outputs[1])
    assert np.abs(outputs[0] - outputs[2]).max() > 1e-3


def test_down_and_upsampling_are_those_of_the_library():
    x_BHWC = draw(0, 2, 4, 6, 8)
    variables = random_variables(Downsample(), x_BHWC)
    down = nn.Conv(16, (2, 2), strides=2, padding='VALID')
    np.testing.assert_allclose(
        Downsample().apply(variables, x_BHWC), down.apply(variables, x_BHWC), atol=1e-5
    )
    variables = random_variables(Upsample(), x_BHWC)
    up_BHWC = Upsample().apply(variables, x_BHWC)
    kernel = variables['params']['conv']['kernel']
    for place, (i, j) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        want_BHWC = x_BHWC @ kernel[:, 4 * place : 4 * place + 4]
        np.testing.assert_allclose(up_BHWC[:, i::2, j::2], want_BHWC, atol=1e-5)


@pytest.mark.parametrize('shape', [(2, 18, 6, 4), (1, 7, 5, 3), (34, 1, 2, 2)])
def test_the_fast_depthwise_convolution_is_that_of_the_library(shape):
    x_BHWC, grad_BHWC = draw(0, *shape), draw(1, *shape)
    library = nn.Conv(shape[-1], (3, 3), feature_group_count=shape[-1])
    variables = random_variables(library, x_BHWC)

    @jax.jit
    def results(variables, x_BHWC):
        layers = (library, DepthwiseConv(plain=True), DepthwiseConv())
        found = []
        for layer in layers:
            value_BHWC, vjp = jax.vjp(layer.apply, variables, x_BHWC)
            found.append((value_BHWC, vjp(grad_BHWC)))
        return found

    want, *others = results(variables, x_BHWC)
    for other in others:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), other, want)


@pytest.mark.parametrize(
    ('platform', 'plain', 'want'), [('cpu', False, 0), ('gpu', False, 1), ('cpu', True, 1)]
)
def test_the_sum_of_nine_is_for_cpus(platform, plain, want, monkeypatch):
    monkeypatch.setattr(convolutions, 'platform', lambda: platform)
    x_BHWC = draw(0, 1, 4, 4, 2)
    layer = DepthwiseConv(plain=plain)
    text = jax.jit(layer.apply).lower(shapes_of(layer, x_BHWC), x_BHWC).as_text()
    assert text.count('stablehlo.convolution') == want


def loss(model, variables, x_BHWC):
    output_BHWC = model.apply(variables, x_BHWC)
    return jnp.mean((output_BHWC - 1) ** 2), output_BHWC


@functools.cache
def results(**changes):
    """((loss, output), gradient) with random weights, which several tests share."""
    x_BHWC = draw(1, 2, 8, 12, 3)
    model = _small(3, pool=8, **changes)
    both = jax.value_and_grad(functools.partial(loss, model), has_aux=True)
    return jax.device_get(_jit(both)(random_variables(model, x_BHWC), x_BHWC))


def test_gradient_reaches_every_parameter_and_output_goes_negative():
    (_, output_BHWC), gradient = results()
    flat = traverse_util.flatten_dict(gradient)
    assert [key for key, value in flat.items() if not np.any(value)] == []
    assert output_BHWC.min() < 0 < output_BHWC.max()


# Rematerialized networks: see also test_remat.
@pytest.mark.slow
@pytest.mark.parametrize('changes', [{'plain': True}, {'remat': True}])
def test_plain_and_rematerialized_networks_compute_the_same(changes):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5),
        results(),
        results(**changes),
    )


def test_remat_recomputes_the_blocks():
    x_BHWC = draw(1, 2, 8, 8, 3)
    numbers = []
    for remat in (False, True):
        model = _small(3, remat=remat, plain=True)
        gradient = jax.jit(jax.grad(functools.partial(loss, model), has_aux=True))
        text = gradient.lower(shapes_of(model, x_BHWC), x_BHWC).as_text()
        numbers.append(text.count('stablehlo.convolution'))
    assert numbers[1] == numbers[0] + 3  # one depthwise convolution per block


@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('name', ['nafnet_xs', pytest.param('nafnet', marks=pytest.mark.slow)])
def test_any_size_comes_back_in_float32_from_bfloat16(name, channels):
    config = ModelConfig(name=name, channels=channels, dtype='bfloat16')
    variables = jax.eval_shape(lambda: models.init(config, jax.random.key(0)))
    image = jax.ShapeDtypeStruct((1, 37, 150, channels), jnp.float32)
    output = jax.eval_shape(models.build(config).apply, variables, image)
    assert output.shape == image.shape
    assert output.dtype == jnp.float32
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))


def test_bfloat16_is_close_to_float32():
    x_BHWC = draw(1, 1, 8, 20, 3)
    variables = random_variables(_small(3), x_BHWC)
    exact_BHWC, output_BHWC = (
        _jit(_small(3, pool=8, dtype=dtype).apply)(variables, x_BHWC)
        for dtype in (jnp.float32, jnp.bfloat16)
    )
    assert output_BHWC.dtype == jnp.float32
    difference = np.abs(output_BHWC - exact_BHWC).max() / np.abs(exact_BHWC).max()
    assert 0 < difference < 0.05


def test_a_new_network_is_the_identity_and_learns():
    config = ModelConfig(name='nafnet:width=4,encoder=1,middle=1,decoder=1', channels=1)
    model = models.build(config)
    noisy_BHWC = np.random.default_rng(0).random((1, 9, 14, 1), np.float32)
    # Of its first weights, only those of the last layer matter.
    params = random_variables(model.network, np.zeros((1, 12, 16, 1), np.float32))['params']
    variables = {'params': {'network': params | first_layers(config, 'ending')}}
    both = _jit(jax.grad(functools.partial(loss, model), has_aux=True))
    gradient, denoised_BHWC = both(variables, noisy_BHWC)
    np.testing.assert_array_equal(denoised_BHWC, noisy_BHWC)
    assert np.any(gradient['params']['network']['ending']['kernel'])
