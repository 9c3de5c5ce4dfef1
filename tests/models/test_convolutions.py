"""The fast convolutions equal those of Flax, in value and in gradient.

B batch, H height, W width, I input channels, O output channels.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from random_variables import first_layers, random_variables
from tiny import tiny_config

from n2n_jax import models
from n2n_jax.models import convolutions
from n2n_jax.models.convolutions import Conv, UpConv
from n2n_jax.models.layers import upsample_2x
from n2n_jax.runtime.parallel import make_layout


def draw(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


def flax_conv(params, x_BHWI):
    return nn.Conv(params['kernel'].shape[-1], (3, 3)).apply({'params': params}, x_BHWI)


def value_and_gradients(function, grad_BHWO, *arguments):
    def both(grad_BHWO, *arguments):
        value, vjp = jax.vjp(function, *arguments)
        return value, vjp(grad_BHWO)

    return jax.jit(both)(grad_BHWO, *arguments)


def assert_close(a, b):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), a, b)


@pytest.mark.parametrize('size', [2, 3])
@pytest.mark.parametrize('num_out', [5, 16])  # narrower and wider than the input
@pytest.mark.parametrize(
    ('shape', 'block'),
    [
        ((2, 8, 12), 20),  # row by row
        ((2, 8, 12), 50),  # halves of images
        ((3, 6, 4), 24),  # whole images
        ((4, 2, 2), 8),  # pairs of images
        ((1, 1, 7), 4096),
    ],
)
def test_the_weight_gradient_is_the_one_of_xla(shape, block, num_out, size, monkeypatch):
    monkeypatch.setattr(convolutions, '_BLOCK_PIXELS', block)
    b, h, w = shape
    x_BHWI, kernel_HWIO = draw(0, b, h, w, 8), draw(1, size, size, 8, num_out)
    grad_BHWO = draw(2, b, h + 3 - size, w + 3 - size, num_out)

    @jax.jit
    def both(x_BHWI, grad_BHWO):
        _, vjp = jax.vjp(lambda k: convolutions._convolve(x_BHWI, k), kernel_HWIO)
        return convolutions.weight_gradient(x_BHWI, grad_BHWO, size=size), vjp(grad_BHWO)[0]

    assert_close(*both(x_BHWI, grad_BHWO))


def test_a_batch_on_several_devices_is_not_cut_into_blocks(monkeypatch):
    monkeypatch.setattr(convolutions, '_BLOCK_PIXELS', 64)
    x_BHWI, grad_BHWO = draw(0, 8, 8, 8, 3), draw(1, 8, 8, 8, 3)
    program = str(jax.make_jaxpr(functools.partial(convolutions.weight_gradient, size=3))(
        x_BHWI, grad_BHWO
    ))  # fmt: skip
    assert 'dynamic_slice' in program
    mesh = make_layout(8, jax.devices()[:8]).mesh.abstract_mesh
    with jax.sharding.use_abstract_mesh(mesh):
        program = str(jax.make_jaxpr(functools.partial(convolutions.weight_gradient, size=3))(
            x_BHWI, grad_BHWO
        ))  # fmt: skip
    assert 'scan' not in program


@pytest.mark.parametrize('plain', [False, True])
def test_a_convolution_is_that_of_flax(plain):
    layer = Conv(6, plain=plain)
    x_BHWI, grad_BHWO = draw(0, 2, 8, 9, 4), draw(1, 2, 8, 9, 6)
    params = jax.jit(layer.init)(jax.random.key(0), x_BHWI)['params']
    params['bias'] = draw(2, 6)
    got = value_and_gradients(lambda p, x: layer.apply({'params': p}, x), grad_BHWO, params, x_BHWI)
    assert_close(got, value_and_gradients(flax_conv, grad_BHWO, params, x_BHWI))


@pytest.mark.parametrize('form', ['plain', 'cpu', 'gpu'])
@pytest.mark.parametrize('size', [(4, 6), (1, 1)])
def test_upsampling_folds_into_the_convolution(size, form, monkeypatch):
    monkeypatch.setattr(convolutions, 'platform', lambda: form)
    h, w = size
    layer = UpConv(6, plain=form == 'plain')
    low_BHWI, skip_BHWI = draw(0, 2, h, w, 4), draw(1, 2, 2 * h, 2 * w, 3)
    params = jax.jit(layer.init)(jax.random.key(0), low_BHWI, skip_BHWI)['params']
    params['bias'] = draw(2, 6)

    def written_out(params, low_BHWI, skip_BHWI):
        x_BHWI = jnp.concatenate([upsample_2x(low_BHWI), skip_BHWI], axis=-1)
        return flax_conv(params, x_BHWI)

    grad_BHWO = draw(3, 2, 2 * h, 2 * w, 6)
    arguments = (params, low_BHWI, skip_BHWI)
    got = value_and_gradients(
        lambda p, *maps: layer.apply({'params': p}, *maps), grad_BHWO, *arguments
    )
    assert_close(got, value_and_gradients(written_out, grad_BHWO, *arguments))


def test_bfloat16_sums_in_float32():
    x_BHWI = draw(0, 2, 32, 32, 8).astype(jnp.bfloat16)
    grad_BHWO = draw(1, 2, 32, 32, 8).astype(jnp.bfloat16)
    got = convolutions.weight_gradient(x_BHWI, grad_BHWO, size=3)
    want = convolutions.weight_gradient(
        x_BHWI.astype(jnp.float32), grad_BHWO.astype(jnp.float32), size=3
    )
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-3)


def test_both_forms_have_the_same_weights_and_output():
    auto = tiny_config(**{'model.name': 'unet', 'model.zero_last': False}).model
    plain = dataclasses.replace(auto, convolutions='plain')
    layers = ('enc_conv0', 'dec_conv5a', 'dec_conv1c')  # of each kind one
    first, same = (first_layers(config, *layers) for config in (auto, plain))
    # Two programs may round their random draws differently.
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-7), first, same)
    variables = random_variables(auto)
    assert jax.tree.map(np.shape, variables) == jax.tree.map(np.shape, random_variables(plain))
    x_BHWC = np.random.default_rng(1).random((1, 64, 64, 3), np.float32)
    got, want = (jax.jit(models.build(config).apply)(variables, x_BHWC) for config in (auto, plain))
    assert np.std(got) > 0.1
    np.testing.assert_allclose(got, want, atol=2e-5)
