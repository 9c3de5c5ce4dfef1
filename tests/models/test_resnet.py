from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import traverse_util

from n2n_jax.models import resnet
from n2n_jax.models.resnet import BasicBlock, Bottleneck, ResNet, ResNetUNet, _convolve

# Compiles in half the time.
_jit = partial(jax.jit, compiler_options={'xla_backend_optimization_level': 0})


def _init_shapes(model, side=32, channels=3):
    image = jax.ShapeDtypeStruct((1, side, side, channels), jnp.float32)
    return jax.eval_shape(model.init, jax.random.key(0), image)


def _count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    ('depth', 'norm', 'count'),
    [
        (34, 'batch', 21_284_672),
        (34, 'group', 21_284_672),
        (50, 'batch', 23_508_032),
        (50, 'group', 23_508_032),
        (101, 'batch', 42_500_160),
        (152, 'batch', 58_143_808),
    ],
)
def test_encoders_have_the_parameters_of_torchvisions(depth, norm, count):
    assert _count(_init_shapes(ResNet(depth, norm=norm))['params']) == count


def test_without_norm_each_scale_and_bias_becomes_one_bias():
    params = _init_shapes(ResNet(norm='none'))['params']
    norm_params = _init_shapes(ResNet(norm='batch'))['params']
    scales = [v for k, v in traverse_util.flatten_dict(norm_params).items() if k[-1] == 'scale']
    assert _count(params) == 23_508_032 - _count(scales) == 23_481_472


def test_total_parameters():
    assert _count(_init_shapes(ResNetUNet(3, norm='batch'))['params']) == 24_975_171
    assert _count(_init_shapes(ResNetUNet(3))['params']) == 24_948_611


def test_stage_depths_and_widths():
    shapes = jax.eval_shape(
        lambda x: ResNet().init_with_output(jax.random.key(0), x)[0], jnp.zeros((2, 64, 96, 3))
    )
    assert [f.shape for f in shapes] == [
        (2, 32, 48, 64),
        (2, 16, 24, 256),
        (2, 8, 12, 512),
        (2, 4, 6, 1024),
        (2, 2, 3, 2048),
    ]
    params = _init_shapes(ResNet())['params']
    depths = [sum(name.startswith(f'layer{i}_') for name in params) for i in (1, 2, 3, 4)]
    assert depths == [3, 4, 6, 3]


@pytest.fixture
def shallow(monkeypatch):
    """One block per stage: the real depth adds compile time, not coverage."""
    monkeypatch.setitem(resnet.LAYOUTS, 50, resnet.Layout((1, 1, 1, 1), bottleneck=True))
    monkeypatch.setitem(resnet.LAYOUTS, 34, resnet.Layout((1, 1, 1, 1), bottleneck=False))


@pytest.mark.parametrize('channels', [1, 2, 3])
@pytest.mark.parametrize('norm', ['batch', 'group', 'none'])
def test_output_shape_and_type_in_bfloat16(shallow, norm, channels):
    model = ResNetUNet(channels, norm=norm, dtype=jnp.bfloat16)
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
    rng = np.random.default_rng(0)
    x_BHWC = rng.standard_normal((2, height, width, 3), np.float32)
    kernel_HWIO = rng.standard_normal((size, size, 3, 4), np.float32)
    layer = nn.Conv(4, (size, size), strides=stride, padding=size // 2, use_bias=False)

    @jax.jit
    def both(x_BHWC, kernel_HWIO):
        expected = layer.apply({'params': {'kernel': kernel_HWIO}}, x_BHWC)
        return _convolve(x_BHWC, kernel_HWIO, stride), expected

    np.testing.assert_allclose(*both(x_BHWC, kernel_HWIO), atol=1e-5)


@pytest.mark.parametrize('norm', ['batch', 'group', 'none'])
@pytest.mark.parametrize(('kind', 'channels'), [(Bottleneck, 128), (BasicBlock, 32)])
def test_block_starts_as_its_shortcut(kind, channels, norm):
    block = kind(width=32, stride=1, project=False, norm=norm)
    x_BHWC = np.random.default_rng(0).standard_normal((2, 4, 4, channels), np.float32)
    output_BHWC, _ = _jit(block.init_with_output)(jax.random.key(1), x_BHWC)
    np.testing.assert_array_equal(output_BHWC, np.maximum(x_BHWC, 0))


def _random_variables(model, x_BHWC):
    # Not `init`, which compiles a random draw per shape, and starts residual branches at zero,
    # which stops the gradient before the layers inside them.
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        if path[-1].key in ('scale', 'var'):
            return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        fan_in = np.prod(leaf.shape[:-1])
        return rng.standard_normal(leaf.shape, np.float32) / np.float32(np.sqrt(fan_in))

    shapes = jax.eval_shape(model.init, jax.random.key(0), x_BHWC)
    return jax.tree_util.tree_map_with_path(draw, shapes)


@pytest.mark.parametrize(
    ('depth', 'norm'),
    [
        # Their blocks are in test_gradient_reaches_every_parameter_of_a_block.
        pytest.param(50, 'batch', marks=pytest.mark.slow),
        pytest.param(50, 'group', marks=pytest.mark.slow),
        pytest.param(50, 'none', marks=pytest.mark.slow),
        pytest.param(34, 'batch', marks=pytest.mark.slow),
        pytest.param(34, 'none', marks=pytest.mark.slow),
    ],
)
def test_gradient_reaches_every_parameter_and_output_goes_negative(shallow, depth, norm):
    model = ResNetUNet(3, depth, norm=norm, decoder_widths=(8, 8, 8, 8, 8))
    x_BHWC = np.random.default_rng(1).uniform(-0.5, 0.5, (2, 64, 64, 3)).astype(np.float32)
    variables = _random_variables(model, x_BHWC)

    @_jit
    def gradient_and_output(variables):
        def loss(params):
            output_BHWC, _ = model.apply(
                {**variables, 'params': params}, x_BHWC, train=True, mutable=['batch_stats']
            )
            return jnp.mean((output_BHWC - 1) ** 2), output_BHWC

        return jax.grad(loss, has_aux=True)(variables['params'])

    gradient, output_BHWC = gradient_and_output(variables)
    assert output_BHWC.min() < 0 < output_BHWC.max()
    flat = traverse_util.flatten_dict(gradient)
    assert [key for key, value in flat.items() if not jnp.any(value)] == []


@pytest.mark.parametrize(
    ('kind', 'norm'),
    [(Bottleneck, 'batch'), (Bottleneck, 'group'), (Bottleneck, 'none'), (BasicBlock, 'batch')],
)
def test_gradient_reaches_every_parameter_of_a_block(kind, norm):
    block = kind(width=32, stride=2, project=True, norm=norm)
    x_BHWC = np.random.default_rng(0).standard_normal((2, 8, 8, 16), np.float32)
    variables = _random_variables(block, x_BHWC)

    @_jit
    def gradient(params):
        def loss(params):
            output_BHWC, _ = block.apply(
                {**variables, 'params': params}, x_BHWC, train=True, mutable=['batch_stats']
            )
            return jnp.mean((output_BHWC - 1) ** 2)

        return jax.grad(loss)(params)

    flat = traverse_util.flatten_dict(gradient(variables['params']))
    assert [key for key, value in flat.items() if not np.any(value)] == []


def test_running_statistics_move_only_in_training(shallow):
    x_BHWC = np.random.default_rng(1).uniform(-0.5, 0.5, (2, 64, 64, 1)).astype(np.float32)
    model = ResNet()
    variables = _random_variables(model, x_BHWC)
    before = traverse_util.flatten_dict(variables['batch_stats'])

    @partial(_jit, static_argnums=0)
    def updated(train, variables):
        return model.apply(variables, x_BHWC, train=train, mutable=['batch_stats'])[1]

    def stats_after(train):
        updates = updated(train, variables)
        return traverse_util.flatten_dict(updates['batch_stats'])

    evaluated, trained = stats_after(False), stats_after(True)
    assert all(np.array_equal(before[key], evaluated[key]) for key in before)
    assert all(not np.array_equal(before[key], trained[key]) for key in before)


@pytest.mark.parametrize(
    'norm', ['batch', *(pytest.param(norm, marks=pytest.mark.slow) for norm in ('group', 'none'))]
)
def test_gradient_has_no_scatter(shallow, norm):
    model = ResNetUNet(3, norm=norm)
    variables = _init_shapes(model, side=64)

    def loss(variables, x_BHWC):
        output_BHWC, _ = model.apply(variables, x_BHWC, train=True, mutable=['batch_stats'])
        return jnp.sum(output_BHWC**2)

    image = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)
    text = jax.jit(jax.grad(loss)).lower(variables, image).as_text()
    assert 'convolution' in text
    assert 'scatter' not in text
