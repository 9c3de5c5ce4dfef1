"""Operations of JAX as nodes of ONNX, for sizes that are unknown when they are converted."""

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest
from flax import linen as nn
from jax import lax
from onnx import TensorProto, helper

from n2n_jax.denoise.export import onnx_operators
from n2n_jax.denoise.export.onnx_graph import OPSET, Graph, UnconvertibleError, value_of
from n2n_jax.denoise.export.onnx_operators import Value

WEIGHTS = np.random.default_rng(1).normal(0, 1, (3, 3, 4, 4)).astype(np.float32)
VECTOR = np.arange(1.0, 5.0, dtype=np.float32)
CONVOLVE = {'dimension_numbers': ('NHWC', 'HWIO', 'NHWC')}


def convolved(x, weights=WEIGHTS, stride=1, pad=((1, 1), (1, 1)), **more):
    return lax.conv_general_dilated(x, weights, (stride, stride), pad, **CONVOLVE, **more)


FUNCTIONS = {
    'a convolution': convolved,
    'with a stride and an uneven border': lambda x: convolved(x, stride=2, pad=((0, 1), (1, 0))),
    'with holes in its kernel': lambda x: convolved(x, pad=((2, 2), (2, 2)), rhs_dilation=(2, 2)),
    'of each channel': lambda x: convolved(x, WEIGHTS[:, :, :1], feature_group_count=4),
    'transposed': lambda x: convolved(x, pad=((1, 2), (1, 2)), lhs_dilation=(2, 2)),
    'transposed, wide': lambda x: convolved(x, pad=((2, 3), (0, 2)), lhs_dilation=(2, 2)),
    'a matrix product': lambda x: x @ WEIGHTS[0, 0],
    'of weights that are turned': lambda x: lax.dot_general(
        x, WEIGHTS[0, 1], (((3,), (1,)), ((), ()))
    ),
    'of a list': lambda x: x.mean((1, 2)) @ WEIGHTS[0, 0],
    'blocks of pixels': lambda x: x.reshape(-1, x.shape[1] // 2, 2, x.shape[2], 4).max(2),
    'pixels of blocks': lambda x: jnp.repeat(jnp.repeat(convolved(x), 2, axis=1), 3, axis=2),
    'channels to pixels': lambda x: (
        x.reshape(*x.shape[:3], 2, 2)
        .transpose(0, 1, 3, 2, 4)
        .reshape(-1, 2 * x.shape[1], x.shape[2], 2)
    ),
    'all pixels in a row': lambda x: convolved(x).reshape(x.shape[0], -1, 4),
    'the mean of a map': lambda x: x * x.mean((1, 2), keepdims=True),
    'of channels': lambda x: (x - x.mean(-1, keepdims=True)) * lax.rsqrt(x.var(-1) + 1)[..., None],
    'least and largest': lambda x: x.min(-1, keepdims=True) + x.max((1, 2), keepdims=True),
    'a part': lambda x: x[:, 1:-2, 3:, 1:3],
    'every second row': lambda x: lax.slice(x, (0, 1, 0, 0), x.shape, (1, 2, 1, 1)),
    'backwards': lambda x: jnp.flip(convolved(x), (1, 3)),
    'padded': lambda x: jnp.pad(x, ((0, 0), (1, 2), (0, 3), (0, 0)), constant_values=0.5),
    'padded by reflection': lambda x: jnp.pad(x, ((0, 0), (2, 3), (1, 0), (0, 0)), mode='reflect'),
    'padded by the edge': lambda x: jnp.pad(x, ((0, 0), (2, 1), (0, 2), (0, 0)), mode='edge'),
    'joined': lambda x: jnp.concatenate([x, jnp.broadcast_to(VECTOR, x.shape), convolved(x)], -1),
    'stacked': lambda x: jnp.stack([x, 2 * x], axis=2).reshape(-1, x.shape[1], 2 * x.shape[2], 4),
    'split': lambda x: jnp.split(x, 2, axis=-1)[0] * jnp.split(x, [1, 3], axis=-1)[1],
    'a choice': lambda x: jnp.where((x > 0.5) & ~(x >= 1), x, VECTOR),
    'limits': lambda x: jnp.clip(x, 0.2, 0.8) + lax.clamp(0.1, x, 0.3) + jnp.minimum(x, 0.4),
    'powers': lambda x: x**2 + x**3 + jnp.square(x) + jnp.abs(x) ** 0.5 + jnp.sqrt(x + 2),
    'functions': lambda x: jnp.exp(x) + jnp.log(x + 2) + jnp.sin(x) + jnp.cos(x) + jnp.tanh(x),
    'of networks': lambda x: jax.nn.gelu(x) + jax.nn.silu(x) + jax.nn.leaky_relu(x - 0.5),
    'more of networks': lambda x: jax.nn.elu(x - 0.5) + nn.softplus(x) + lax.erfc(x),
    'largest in windows': lambda x: nn.max_pool(x, (3, 3), (2, 1), ((1, 0), (1, 1))),
    'a stack with a constant': lambda x: jnp.stack([x.mean((0, 1, 2)), jnp.ones(4)]),
    'halves rounded up': lambda x: x * jnp.float32(-(-x.shape[2] // 2)),
    'what is left': lambda x: x * jnp.float32((-x.shape[2]) % 5),
    'erf': lambda x: lax.erf(x) + jnp.sign(x - 0.5) * jnp.floor(3 * x) - jnp.ceil(x),
    'whole numbers': lambda x: (4 * x).astype(jnp.int32).astype(jnp.float32) / 4,
    'one for all': lambda x: x + jnp.float32(3) * (jnp.float32(x.shape[1]) - 2),
    'what is computed twice for its gradient': lambda x: jax.checkpoint(jnp.tanh)(x),
    'constants that are worked out before': lambda x: x * lax.rsqrt(jnp.flip(VECTOR) + VECTOR),
}


def run(function, x):
    """Converts a function of (b, 2h, w, 4), and runs it in ONNX Runtime."""
    b, h, w = jax.export.symbolic_shape('b, h, w', constraints=('h >= 3', 'w >= 5'))
    traced = jax.make_jaxpr(function)(jax.ShapeDtypeStruct((b, 2 * h, w, 4), jnp.float32))
    graph = Graph()
    sizes = graph.add('Shape', 'x')
    b_size, rows, w_size = (
        graph.add('Gather', sizes, graph.integers(axis), axis=0) for axis in range(3)
    )
    graph.know_size('b', b_size)
    graph.know_size('h', graph.add('Div', rows, graph.integers(2)))
    graph.know_size('w', w_size)
    (result,) = onnx_operators.convert(
        graph, traced, [Value(traced.in_avals[0].shape, 'x', (0, 1, 2, 3))]
    )
    moves = [result.order.index(axis) for axis in range(len(result.order))]
    graph.add('Transpose', result.name, perm=moves, name='y')
    shape = [None] * len(result.shape)
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            'test',
            [helper.make_tensor_value_info('x', TensorProto.FLOAT, [None, None, None, 4])],
            [helper.make_tensor_value_info('y', TensorProto.FLOAT, shape)],
            initializer=graph.used_constants(),
        ),
        opset_imports=[helper.make_opsetid('', OPSET)],
        ir_version=8,
    )
    (y,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {'x': np.asarray(x)})
    assert not result.repeated
    return y


@pytest.mark.parametrize('function', FUNCTIONS.values(), ids=FUNCTIONS)
def test_an_operation_is_the_same_in_onnx(function):
    x = np.random.default_rng(0).normal(0.5, 0.4, (2, 8, 7, 4)).astype(np.float32)
    with jax.numpy_rank_promotion('allow'):
        expected = np.asarray(jax.jit(function)(x))
        found = run(function, x)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(
    ('function', 'words'),
    [
        (lambda x: jnp.sort(x), 'the operation sort'),
        (lambda x: lax.scan(lambda y, _: (y + 1, None), x, length=3)[0], 'the operation scan'),
        (lambda x: x.mean((1, 2)) @ x.mean((1, 2)).T, 'product of two images'),
        (lambda x: jnp.pad(x, ((0, 0), (0, -x.shape[2] % 8), (0, 0), (0, 0))), 'an unknown size'),
        (lambda x: convolved(x, pad=((-1, 1), (1, 1))), 'ignores borders'),
    ],
)
def test_what_has_no_form_is_named(function, words):
    with pytest.raises(UnconvertibleError, match=words):
        run(function, np.zeros((1, 8, 8, 4), np.float32))


def test_sizes_are_worked_out():
    h, w = jax.export.symbolic_shape('h, w')
    sizes = {'h': 11, 'w': 6}
    for size, value in ((3 * h + w, 39), (h * w - 4, 62), ((h + 1) // 4, 3), (h % w, 5)):
        assert value_of(size, sizes) == value
