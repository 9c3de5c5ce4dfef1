"""Layers that halve or double a map equal those of the libraries, in value and in gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from n2n_jax.models.resampling import DownConv, TransposedConv, upsample_bilinear_2x


def draw(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


def params_of(layer, x_BHWI):
    shapes = jax.eval_shape(layer.init, jax.random.key(0), x_BHWI)
    leaves, tree = jax.tree.flatten(shapes)
    return tree.unflatten(draw(i + 3, *leaf.shape) for i, leaf in enumerate(leaves))


def value_and_gradients(function, *arguments):
    def both(*arguments):
        value, vjp = jax.vjp(function, *arguments)
        return value, vjp(draw(9, *value.shape))

    return jax.jit(both)(*arguments)


def assert_equal(ours, library, *arguments):
    for ours_leaf, library_leaf in zip(
        jax.tree.leaves(value_and_gradients(ours, *arguments)),
        jax.tree.leaves(value_and_gradients(library, *arguments)),
        strict=True,
    ):
        np.testing.assert_allclose(ours_leaf, library_leaf, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('shape', [(2, 4, 6, 5), (1, 1, 1, 3)])
@pytest.mark.parametrize('plain', [True, False])
def test_the_transposed_convolution_is_that_of_lax(shape, plain):
    layer, x_BHWI = TransposedConv(4, plain=plain), draw(0, *shape)

    def library(variables, x_BHWI):
        params = variables['params']
        # The kernel of the convolution whose gradient a transposed convolution is: output channels
        # before input channels.
        kernel = params['kernel'].transpose(0, 1, 3, 2)
        y_BHWO = jax.lax.conv_transpose(
            x_BHWI, kernel, (2, 2), 'VALID', dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
            transpose_kernel=True,
        )  # fmt: skip
        return y_BHWO + params['bias'].reshape(1, 1, 1, -1)

    assert_equal(layer.apply, library, params_of(layer, x_BHWI), x_BHWI)


def test_a_pixel_becomes_a_block_of_its_own():
    layer = TransposedConv(1)
    kernel = np.arange(1, 5, dtype=np.float32).reshape(2, 2, 1, 1)
    x_BHWI = np.zeros((1, 2, 3, 1), np.float32)
    x_BHWI[0, 1, 2] = 1
    params = {'kernel': kernel, 'bias': np.zeros(1, np.float32)}
    y_BHWO = np.asarray(layer.apply({'params': params}, x_BHWI))
    np.testing.assert_array_equal(y_BHWO[0, 2:, 4:, 0], [[1, 2], [3, 4]])
    assert y_BHWO.sum() == 10


@pytest.mark.parametrize('plain', [True, False])
def test_the_halving_convolution_is_that_of_flax(plain):
    layer, x_BHWI = DownConv(4, plain=plain), draw(0, 2, 4, 6, 5)
    library = nn.Conv(4, (2, 2), strides=2, padding='VALID')
    assert_equal(layer.apply, library.apply, params_of(layer, x_BHWI), x_BHWI)


@pytest.mark.parametrize('shape', [(2, 4, 6, 3), (1, 1, 2, 1)])
def test_bilinear_upsampling_is_that_of_jax_image(shape):
    b, h, w, c = shape
    assert_equal(
        upsample_bilinear_2x,
        lambda x: jax.image.resize(x, (b, 2 * h, 2 * w, c), 'bilinear'),
        draw(0, *shape),
    )


def test_the_first_weights_keep_the_variance():
    x_BHWI = draw(1, 1, 32, 32, 64)
    layers = ((DownConv(64), 1), (TransposedConv(64), 2))  # a ReLU halves the second moment
    for layer, want in layers:
        y_BHWO, _ = jax.jit(layer.init_with_output)(jax.random.key(0), x_BHWI)
        assert jnp.mean(y_BHWO**2) == pytest.approx(want, rel=0.1)
