import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import traverse_util

from n2n_jax.models.resnet50 import Bottleneck, ResNet50, ResNet50UNet, _convolve


def _init_shapes(model, side=32, channels=3):
    image = jax.ShapeDtypeStruct((1, side, side, channels), jnp.float32)
    return jax.eval_shape(model.init, jax.random.key(0), image)


def _count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize('norm', ['batch', 'group'])
def test_encoder_has_the_parameters_of_resnet50(norm):
    assert _count(_init_shapes(ResNet50(norm=norm))['params']) == 23_508_032


def test_without_norm_each_scale_and_bias_becomes_one_bias():
    params = _init_shapes(ResNet50(norm='none'))['params']
    norm_params = _init_shapes(ResNet50(norm='batch'))['params']
    scales = [v for k, v in traverse_util.flatten_dict(norm_params).items() if k[-1] == 'scale']
    assert _count(params) == 23_508_032 - _count(scales) == 23_481_472


def test_total_parameters():
    assert _count(_init_shapes(ResNet50UNet(3))['params']) == 24_975_171
    assert _count(_init_shapes(ResNet50UNet(3, norm='none'))['params']) == 24_948_611


def test_stage_depths_and_widths():
    shapes = jax.eval_shape(
        lambda x: ResNet50().init_with_output(jax.random.key(0), x)[0], jnp.zeros((2, 64, 96, 3))
    )
    assert [f.shape for f in shapes] == [
        (2, 32, 48, 64),
        (2, 16, 24, 256),
        (2, 8, 12, 512),
        (2, 4, 6, 1024),
        (2, 2, 3, 2048),
    ]
    params = _init_shapes(ResNet50())['params']
    depths = [sum(name.startswith(f'layer{i}_') for name in params) for i in (1, 2, 3, 4)]
    assert depths == [3, 4, 6, 3]


@pytest.mark.parametrize('channels', [1, 2, 3])
@pytest.mark.parametrize('norm', ['batch', 'group', 'none'])
def test_output_shape_and_type_in_bfloat16(norm, channels):
    model = ResNet50UNet(channels, norm=norm, dtype=jnp.bfloat16)
    image = jax.ShapeDtypeStruct((2, 64, 96, channels), jnp.float32)
    output, variables = jax.eval_shape(
        lambda x: model.init_with_output(jax.random.key(0), x), image
    )
    assert output.shape == (2, 64, 96, channels)
    assert output.dtype == jnp.float32
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))


@pytest.mark.parametrize(
    ('size', 'stride', 'height', 'width'),
    [
        (7, 2, 32, 32),
        (3, 1, 8, 6),
        (3, 2, 8, 6),
        (3, 1, 2, 8),
        (3, 2, 4, 8),
        (1, 1, 4, 4),
        (1, 2, 4, 6),
    ],
)
def test_convolution_is_the_symmetrically_padded_one(size, stride, height, width):
    x_BHWC = jax.random.normal(jax.random.key(0), (2, height, width, 3))
    kernel_HWIO = jax.random.normal(jax.random.key(1), (size, size, 3, 4))
    layer = nn.Conv(4, (size, size), strides=stride, padding=size // 2, use_bias=False)
    expected = layer.apply({'params': {'kernel': kernel_HWIO}}, x_BHWC)
    np.testing.assert_allclose(_convolve(x_BHWC, kernel_HWIO, stride), expected, atol=1e-5)


@pytest.mark.parametrize('norm', ['batch', 'group', 'none'])
def test_block_starts_as_its_shortcut(norm):
    block = Bottleneck(width=32, stride=1, project=False, norm=norm)
    x_BHWC = jax.random.normal(jax.random.key(0), (2, 4, 4, 128))
    variables = block.init(jax.random.key(1), x_BHWC)
    np.testing.assert_array_equal(block.apply(variables, x_BHWC), nn.relu(x_BHWC))


def _is_behind_a_zero(key, norm):
    """Whether the zero that ends a residual branch hides this parameter from the gradient."""
    if len(key) < 4:  # encoder, block, layer, leaf
        return False
    return key[2] in ('conv1', 'conv2', 'norm1', 'norm2') or (key[2] == 'conv3' and norm != 'none')


def _without_zero_ends(params, norm):
    end = ('conv3', 'kernel') if norm == 'none' else ('norm3', 'scale')
    flat = traverse_util.flatten_dict(params)
    for key, value in flat.items():
        if key[-2:] == end:
            assert not value.any()
            flat[key] = 0.01 * jax.random.normal(jax.random.key(3), value.shape)
    return traverse_util.unflatten_dict(flat)


@pytest.mark.parametrize('norm', ['batch', 'group', 'none'])
def test_gradient_reaches_every_parameter_and_output_goes_negative(norm):
    model = ResNet50UNet(3, norm=norm, decoder_widths=(8, 8, 8, 8, 8))
    x_BHWC = jax.random.uniform(jax.random.key(0), (2, 64, 64, 3)) - 0.5
    variables = jax.jit(model.init)(jax.random.key(1), x_BHWC)
    params, rest = variables['params'], {k: v for k, v in variables.items() if k != 'params'}

    @jax.jit
    def output_and_gradient(params):
        def loss(params):
            output_BHWC, _ = model.apply(
                {'params': params, **rest}, x_BHWC, train=True, mutable=['batch_stats']
            )
            return jnp.mean((output_BHWC - 1) ** 2), output_BHWC

        gradient, output_BHWC = jax.grad(loss, has_aux=True)(params)
        return output_BHWC, gradient

    def silent(gradient):
        flat = traverse_util.flatten_dict(gradient)
        return {key for key, value in flat.items() if not jnp.any(value)}

    output_BHWC, gradient = output_and_gradient(params)
    assert output_BHWC.min() < 0 < output_BHWC.max()
    keys = traverse_util.flatten_dict(params)
    assert silent(gradient) == {key for key in keys if _is_behind_a_zero(key, norm)}
    _, gradient = output_and_gradient(_without_zero_ends(params, norm))
    assert silent(gradient) == set()


def test_running_statistics_move_only_in_training():
    model = ResNet50UNet(1, decoder_widths=(8, 8, 8, 8, 8))
    x_BHWC = jax.random.uniform(jax.random.key(0), (2, 32, 32, 1)) - 0.5
    variables = jax.jit(model.init)(jax.random.key(1), x_BHWC)
    before = traverse_util.flatten_dict(variables['batch_stats'])

    def stats_after(train):
        apply = jax.jit(lambda v: model.apply(v, x_BHWC, train=train, mutable=['batch_stats'])[1])
        return traverse_util.flatten_dict(apply(variables)['batch_stats'])

    evaluated, trained = stats_after(False), stats_after(True)
    assert all(np.array_equal(before[key], evaluated[key]) for key in before)
    assert all(not np.array_equal(before[key], trained[key]) for key in before)


@pytest.mark.parametrize('norm', ['batch', 'group', 'none'])
def test_gradient_has_no_scatter(norm):
    model = ResNet50UNet(3, norm=norm)
    variables = _init_shapes(model, side=64)

    def loss(variables, x_BHWC):
        output_BHWC, _ = model.apply(variables, x_BHWC, train=True, mutable=['batch_stats'])
        return jnp.sum(output_BHWC**2)

    image = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)
    text = jax.jit(jax.grad(loss)).lower(variables, image).as_text()
    assert 'convolution' in text
    assert 'scatter' not in text
