"""Converts a function of JAX to nodes of ONNX, operation by operation.

Networks here hold (B, H, W, C), ONNX convolves (B, C, H, W). So each value knows in what order its
axes are stored; operations work in that order, and axes move only where an operation requires it:
in a network of convolutions, at its input and output.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from n2n_jax.denoise.export.onnx_graph import (
    TO_END,
    Dim,
    Graph,
    Shape,
    UnconvertibleError,
    value_of,
)
from n2n_jax.denoise.export.program import asks_for_a_size

_SAMPLE = {'b': 10007, 'h': 10009, 'w': 10037}  # primes: equal products mean equal factors
_START = np.iinfo(np.int64).min  # as the end of a slice that runs backwards


@dataclasses.dataclass(frozen=True)
class Value:
    """An array of the function, and where the graph holds it.

    Attributes:
      shape: its shape in JAX; sizes may be symbolic.
      name: its name in the graph; '' for a constant.
      order: the axis of `shape` that each axis of the graph's array is.
      repeated: axes of `shape` along which all elements are equal and the graph stores only one.
      constant: the array, if it is known, with length 1 along `repeated` axes.
    """

    shape: Shape
    name: str = ''
    order: tuple[int, ...] = ()
    repeated: frozenset[int] = frozenset()
    constant: np.ndarray | None = None

    def stored_axis(self, axis: int) -> int:
        """Returns where the graph's array has an axis of `shape`."""
        return self.order.index(axis)


def constant(array: Any) -> Value:
    """Returns a value that is known."""
    array = np.asarray(array)
    return Value(array.shape, order=tuple(range(array.ndim)), constant=array)


def convert(graph: Graph, function: Any, inputs: Sequence[Value]) -> list[Value]:
    """Adds a traced function (a closed jaxpr) to a graph; returns its results.

    Raises:
      UnconvertibleError: there is no ONNX for one of its operations.
    """
    try:
        return _Converter(graph).run(function.jaxpr, function.consts, inputs)
    except Exception as error:
        if not asks_for_a_size(error):
            raise
        raise UnconvertibleError(f'an unknown size ({str(error).splitlines()[0]})') from error


class _Converter:
    """Runs a function on names in a graph: `_op_NAME` adds the operation NAME of JAX."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def run(self, jaxpr: Any, consts: Iterable[Any], inputs: Sequence[Value]) -> list[Value]:
        values: dict[Any, Value] = {}

        def value(variable: Any) -> Value:
            if hasattr(variable, 'val'):  # a literal
                return constant(np.asarray(variable.val, variable.aval.dtype))
            return values[variable]

        values.update(zip(jaxpr.constvars, map(constant, consts), strict=True))
        values.update(zip(jaxpr.invars, inputs, strict=True))
        for equation in jaxpr.eqns:
            operands = [value(variable) for variable in equation.invars]
            results = self._equation(equation, operands)
            values.update(zip(equation.outvars, results, strict=True))
        return [value(variable) for variable in jaxpr.outvars]

    def _equation(self, equation: Any, operands: list[Value]) -> list[Value]:
        name, params = equation.primitive.name, equation.params
        if name in _CALLS:
            inner = next(params[key] for key in _INNER if key in params)
            if not hasattr(inner, 'consts'):  # of a checkpoint
                return self.run(inner, (), operands)
            return self.run(inner.jaxpr, inner.consts, operands)
        shapes = [variable.aval.shape for variable in equation.outvars]
        if any(_is_empty(shape) for shape in shapes):
            return [Value(shape) for shape in shapes]
        if all(operand.constant is not None for operand in operands) and name != 'dim_as_value':
            folded = _folded(equation, operands)
            if folded is not None:
                return folded
        if name in _ELEMENTWISE:
            return [self._elementwise(_ELEMENTWISE[name], operands, shapes[0])]
        method = getattr(self, f'_op_{name}', None)
        if method is None:
            raise UnconvertibleError(f'the operation {name}')
        result = method([self._named(operand) for operand in operands], shapes[0], equation)
        return result if isinstance(result, list) else [result]

    def _named(self, value: Value) -> Value:
        """Returns a value that the graph holds, unless it is a constant that is known in full."""
        if value.constant is None or not value.repeated:
            return value
        name = self._graph.constant(value.constant)
        return Value(value.shape, name, value.order, value.repeated)

    # --- Storage ----------------------------------------------------------------------------------

    def _stored(self, value: Value, order: tuple[int, ...]) -> str:
        """Returns the name of a value with its axes in an order."""
        if value.constant is not None:
            return self._graph.constant(np.transpose(value.constant, order))
        if value.order == order:
            return value.name
        moves = [value.order.index(axis) for axis in order]
        return self._graph.add('Transpose', value.name, perm=moves)

    def _reordered(self, value: Value, order: tuple[int, ...]) -> Value:
        if value.constant is not None or value.order == order:
            return dataclasses.replace(value, order=order)
        return dataclasses.replace(value, name=self._stored(value, order), order=order)

    def _whole(self, value: Value) -> Value:
        """Returns a value that is stored without repeated axes."""
        if not value.repeated:
            return value
        shape = [value.shape[axis] if axis in value.repeated else 1 for axis in value.order]
        name = self._stored(value, value.order)
        expanded = self._graph.add('Expand', name, self._graph.shape(shape))
        return Value(value.shape, expanded, value.order)

    def _common_order(self, operands: Sequence[Value], rank: int) -> tuple[int, ...]:
        full = [v for v in operands if len(v.shape) == rank and v.constant is None]
        # The largest decides, so that it need not be moved.
        full.sort(key=lambda v: len(v.repeated))
        return full[0].order if full else tuple(range(rank))

    # --- Operations -------------------------------------------------------------------------------

    def _elementwise(self, operator: str, operands: Sequence[Value], shape: Shape) -> Value:
        order = self._common_order(operands, len(shape))
        names, repeated = [], frozenset(range(len(shape)))
        for operand in operands:
            if operand.shape or not shape:
                names.append(self._stored(operand, order))
                lengths = operand.shape if operand.constant is None else operand.constant.shape
                single = {axis for axis, length in enumerate(lengths) if _is_one(length)}
                repeated &= operand.repeated | single
            else:
                names.append(self._stored(operand, ()))
        repeated = frozenset(axis for axis in repeated if not _is_one(shape[axis]))
        result = names[0]
        if operator == 'Rsqrt':
            result = self._graph.add('Reciprocal', self._graph.add('Sqrt', result))
        elif operator == 'Square':
            result = self._graph.add('Mul', result, result)
        elif operator == 'NotEqual':
            result = self._graph.add('Not', self._graph.add('Equal', *names))
        elif operator == 'Expm1':
            result = self._graph.add('Sub', self._graph.add('Exp', result), self._one())
        elif operator == 'Erfc':
            result = self._graph.add('Sub', self._one(), self._graph.add('Erf', result))
        elif operator == 'Log1p':
            result = self._graph.add('Log', self._graph.add('Add', self._one(), result))
        elif operator == 'Max' and self._is_zero(operands[1]):
            result = self._graph.add('Relu', result)
        else:
            result = self._graph.add(operator, *names)
        return Value(shape, result, order, repeated)

    def _one(self) -> str:
        return self._graph.constant(np.ones((), np.float32))

    @staticmethod
    def _is_zero(value: Value) -> bool:
        return value.constant is not None and not value.constant.any()

    def _op_integer_pow(self, operands: list[Value], shape: Shape, equation: Any) -> Value:
        if equation.params['y'] == 2:
            return self._elementwise('Square', operands, shape)
        exponent = constant(np.float32(equation.params['y']))
        return self._elementwise('Pow', [operands[0], exponent], shape)

    def _op_select_n(self, operands: list[Value], shape: Shape, equation: Any) -> Value:
        del equation
        which, *cases = operands
        if len(cases) != 2:
            raise UnconvertibleError('a choice of more than two')
        return self._elementwise('Where', [which, cases[1], cases[0]], shape)

    def _op_clamp(self, operands: list[Value], shape: Shape, equation: Any) -> Value:
        del equation
        low, value, high = operands
        return self._elementwise(
            'Min', [self._elementwise('Max', [value, low], shape), high], shape
        )

    def _op_convert_element_type(self, operands: list[Value], shape: Shape, equation: Any) -> Value:
        from onnx import helper

        (value,) = operands
        old, new = equation.invars[0].aval.dtype, equation.params['new_dtype']
        if old == new:
            return dataclasses.replace(value, shape=shape)
        name = self._graph.add(
            'Cast', value.name, to=helper.np_dtype_to_tensor_dtype(np.dtype(new))
        )
        return dataclasses.replace(value, name=name)

    def _op_dim_as_value(self, operands: list[Value], shape: Shape, equation: Any) -> Value:
        del operands
        size = self._graph.size(equation.params['dim'])
        return Value(shape, self._graph.add('Squeeze', size))

    def _op_copy(self, operands: list[Value], shape: Shape, equation: Any) -> Value:
        del shape, equation
        return operands[0]

    _op_stop_gradient = _op_copy_p = _op_optimization_barrier = _op_copy

    def _op_transpose(self, operands: list[Value], shape: Shape, equation: Any) -> Value:
        (value,), moves = operands, list(equation.params['permutation'])
        order = tuple(moves.index(axis) for axis in value.order)
        repeated = frozenset(moves.index(axis) for axis in value.repeated)
        return Value(shape, value.name, order, repeated)

    def _op_broadcast_in_dim(self, operands: list[Value], shape: Shape, equation: Any) -> Value:
        value, kept = operands[0], equation.params['broadcast_dimensions']
        new = [axis for axis in range(len(shape)) if axis not in kept]
        repeated = {axis for axis in new if not _is_one(shape[axis])}
        for old, axis in enumerate(kept):
            grows = _is_one(value.shape[old]) and not _is_one(shape[axis])
            if old in value.repeated or grows:
                repeated.add(axis)
        if value.constant is not None:
            array = np.expand_dims(value.constant, tuple(new))
            return Value(shape, '', tuple(range(len(shape))), frozenset(repeated), array)
        # A new axis is stored behind the one that it follows in the shape.
        order = [kept[axis] for axis in value.order]
        for axis in new:
            order.insert(order.index(axis - 1) + 1 if axis else 0, axis)
        name = value.name
        if new:
            places = sorted(order.index(axis) for axis in new)
            name = self._graph.add('Unsqueeze', name, self._graph.integers(*places))
        return Value(shape, name, tuple(order), frozenset(repeated))

    def _op_reshape(self, operands: list[Value], shape: Shape, equation: Any) -> Value:
        del equation
        value = operands[0]
        if value.constant is not None:  # in full, as one that is repeated has a name here
            return constant(value.constant.reshape(shape))
        groups = _groups(value.shape, shape)
        if any(value.repeated & set(old) for old, new in groups if len(old) + len(new) > 2):
            value = self._whole(value)
        if not all(_is_consecutive(value.order, old) for old, _ in groups):
            value = self._reordered(self._whole(value), tuple(range(len(value.shape))))
            groups = [(list(range(len(value.shape))), list(range(len(shape))))]
        by_first = {min(old): new for old, new in groups if old}
        order = [axis for old in value.order for axis in by_first.get(old, [])]
        order += [axis for old, new in groups if not old for axis in new]
        repeated = frozenset(
            new[0] for old, new in groups if len(old) == len(new) == 1 and old[0] in value.repeated
        )
        lengths = [1 if axis in repeated else shape[axis] for axis in order]
        name = self._graph.add('Reshape', value.name, self._reshape_target(lengths))
        return Value(shape, name, tuple(order), repeated)

    def _reshape_target(self, lengths: Sequence[Dim]) -> str:
        unknown = [place for place, length in enumerate(lengths) if not isinstance(length, int)]
        if len(unknown) == 1:
            return self._graph.integers(*(x if isinstance(x, int) else -1 for x in lengths))
        return self._graph.shape(lengths)

    _op_squeeze = _op_expand_dims = _op_reshape

    def _reduced(self, operator: str, value: Value, shape: Shape, axes: Any) -> Value:
        value = self._whole(value)
        places = sorted(value.stored_axis(axis) for axis in axes)
        name = self._graph.add(operator, value.name, self._graph.integers(*places), keepdims=0)
        left = [axis for axis in value.order if axis not in axes]
        return Value(shape, name, tuple(sorted(left).index(axis) for axis in left))

    def _op_reduce_max(self, operands: list[Value], shape: Shape, equation: Any) -> Value:
        return self._reduced('ReduceMax', operands[0], shape, equation.params['axes'])

    def _op_reduce_min(self, operands: list[Value], shape: Shape, equation: Any) -> Value:
        return self._reduced('ReduceMin', operands[0], shape, equation.params['axes'])

    def _op_reduce_sum(self, operands: list[Value], shape: Shape, equation: Any) -> Value:
        return self._reduced('ReduceSum', operands[0], shape, equation.params['axes'])

    def _op_reduce_window_max(self, operands: list[Value], shape: Shape, equation: Any) -> Value:
        params, order = equation.params, (0, 3, 1, 2)
        steps = {*params['base_dilation'], *params['window_dilation']}
        window, strides = params['window_dimensions'], params['window_strides']
        if len(shape) != 4 or steps != {1} or window[0] != 1 or window[3] != 1:
            raise UnconvertibleError('a maximum over windows of another kind')
        pads = [params['padding'][axis][end] for end in (0, 1) for axis in (1, 2)]
        name = self._graph.add(
            'MaxPool',
            self._stored(self._whole(operands[0]), order),
            kernel_shape=window[1:3],
            strides=strides[1:3],
            pads=pads,
        )
        return Value(shape, name, order)

    def _joined(self, operands: Sequence[Value], shape: Shape, axis: int) -> Value:
        operands = [value for value in operands if not _is_empty(value.shape)]
        order = self._common_order(operands, len(shape))
        names = [self._stored(self._whole(value), order) for value in operands]
        return Value(shape, self._graph.add('Concat', *names, axis=order.index(axis)), order)

    def _op_concatenate(self, operands: list[Value], shape: Shape, equation: Any) -> Value:
        return self._joined(operands, shape, equation.params['dimension'])

    def _op_stack(self, operands: list[Value], shape: Shape, equation: Any) -> Value:
        axis = equation.params['axis']
        single = (*shape[:axis], 1, *shape[axis + 1 :])
        return self._joined(
            [self._op_reshape([value], single, None) for value in operands], shape, axis
        )

    def _op_split(self, operands: list[Value], shape: Shape, equation: Any) -> list[Value]:
        del shape
        value, sizes = self._whole(operands[0]), equation.params['sizes']
        names = self._graph.add_several(
            'Split',
            [value.name, self._graph.shape(sizes)],
            self._graph.new_names('Split', len(sizes)),
            axis=value.stored_axis(equation.params['axis']),
        )
        shapes = [variable.aval.shape for variable in equation.outvars]
        return [Value(part, name, value.order) for part, name in zip(shapes, names, strict=True)]

    def _op_slice(self, operands: list[Value], shape: Shape, equation: Any) -> Value:
        params = equation.params
        strides = params['strides'] or (1,) * len(shape)
        starts, ends = params['start_indices'], params['limit_indices']
        return self._cut(operands[0], shape, starts, ends, strides)

    def _op_gather(self, operands: list[Value], shape: Shape, equation: Any) -> Value:
        """A part at a known place, which is what x[:, 1:-2] becomes for unknown sizes."""
        value, where = operands
        numbers, sizes = equation.params['dimension_numbers'], equation.params['slice_sizes']
        if where.constant is None or where.constant.ndim != 1 or numbers.operand_batching_dims:
            raise UnconvertibleError('taking elements at places that are worked out')
        starts = [0] * len(sizes)
        for axis, start in zip(numbers.start_index_map, where.constant.tolist(), strict=True):
            starts[axis] = start
        ends = [start + size for start, size in zip(starts, sizes, strict=True)]
        part = self._cut(value, tuple(sizes), starts, ends, (1,) * len(sizes))
        return self._op_reshape([part], shape, equation) if numbers.collapsed_slice_dims else part

    def _cut(
        self,
        value: Value,
        shape: Shape,
        starts: Sequence[Dim],
        ends: Sequence[Dim],
        strides: Sequence[int],
    ) -> Value:
        cuts = []
        for axis, (start, end, step) in enumerate(zip(starts, ends, strides, strict=True)):
            length = value.shape[axis]
            to_end = _is_same(end, length)
            # Of equal elements, any are the right ones.
            if axis in value.repeated or (to_end and step == 1 and _is_same(start, 0)):
                continue
            last = TO_END if to_end else _index(end, length)
            cuts.append((_index(start, length), last, value.stored_axis(axis), step))
        if not cuts:
            return dataclasses.replace(value, shape=shape)
        vectors = (self._graph.integers(*numbers) for numbers in zip(*cuts, strict=True))
        name = self._graph.add('Slice', value.name, *vectors)
        return Value(shape, name, value.order, value.repeated)

    def _op_rev(self, operands: list[Value], shape: Shape, equation: Any) -> Value:
        value = self._whole(operands[0])
        places = [value.stored_axis(axis) for axis in equation.params['dimensions']]
        vectors = (self._graph.integers(*(number for _ in places)) for number in (-1, _START))
        name = self._graph.add(
            'Slice',
            value.name,
            *vectors,
            self._graph.integers(*places),
            self._graph.integers(*(-1 for _ in places)),
        )
        return Value(shape, name, value.order)

    def _op_pad(self, operands: list[Value], shape: Shape, equation: Any) -> Value:
        value, filling = self._whole(operands[0]), operands[1]
        widths = [equation.params['padding_config'][axis] for axis in value.order]
        if any(inner or low < 0 or high < 0 for low, high, inner in widths):
            raise UnconvertibleError('padding between elements, or by less than nothing')
        pads = [low for low, _, _ in widths] + [high for _, high, _ in widths]
        name = self._graph.add(
            'Pad', value.name, self._graph.integers(*pads), self._stored(filling, ())
        )
        return Value(shape, name, value.order)

    def _op_dot_general(self, operands: list[Value], shape: Shape, equation: Any) -> Value:
        """A matrix product with known weights, along the last axis: a 1x1 convolution."""
        value, weights = operands
        (contracted, rows), (batch, _) = equation.params['dimension_numbers']
        last = len(value.shape) - 1
        matrix = weights.constant
        if matrix is None or matrix.ndim != 2 or batch or tuple(contracted) != (last,):
            raise UnconvertibleError('a matrix product of two images')
        matrix_IO = matrix if tuple(rows) == (0,) else matrix.T
        value = self._whole(value)
        if last != 3:
            order = tuple(range(last + 1))
            name = self._graph.add(
                'MatMul', self._stored(value, order), self._graph.constant(matrix_IO)
            )
            return Value(shape, name, order)
        order = (0, 3, 1, 2)
        kernel = self._graph.constant(matrix_IO.T[..., None, None])
        return Value(shape, self._graph.add('Conv', self._stored(value, order), kernel), order)

    def _op_conv_general_dilated(self, operands: list[Value], shape: Shape, equation: Any) -> Value:
        value, weights = operands
        params, kernel = equation.params, weights.constant
        if kernel is None or params['batch_group_count'] != 1:
            raise UnconvertibleError('a convolution by a kernel that depends on the image')
        numbers = params['dimension_numbers']
        kernel_OIK = np.transpose(kernel, numbers.rhs_spec)
        image = self._stored(self._whole(value), tuple(numbers.lhs_spec))
        attributes: dict[str, Any] = {
            'dilations': list(params['rhs_dilation']),
            'group': params['feature_group_count'],
        }
        if any(step != 1 for step in params['lhs_dilation']):
            name = self._transposed_convolution(image, kernel_OIK, params, attributes)
        else:
            lows, highs = zip(*params['padding'], strict=True)
            if min(*lows, *highs) < 0:
                raise UnconvertibleError('a convolution that ignores borders')
            name = self._graph.add(
                'Conv',
                image,
                self._graph.constant(kernel_OIK),
                strides=list(params['window_strides']),
                pads=[*lows, *highs],
                **attributes,
            )
        return Value(shape, name, tuple(numbers.out_spec))

    def _transposed_convolution(
        self, image: str, kernel_OIK: np.ndarray, params: Any, attributes: dict[str, Any]
    ) -> str:
        """A convolution of an image with zeros between its pixels; ONNX turns the kernel around."""
        if attributes['group'] != 1 or any(step != 1 for step in params['window_strides']):
            raise UnconvertibleError('a transposed convolution with groups or strides')
        spatial = tuple(range(2, kernel_OIK.ndim))
        kernel_IOK = np.flip(kernel_OIK, spatial).swapaxes(0, 1)
        pads, more = [], []
        for side, dilation, (low, high) in zip(
            kernel_OIK.shape[2:], params['rhs_dilation'], params['padding'], strict=True
        ):
            reach = (side - 1) * dilation
            if low > reach:
                raise UnconvertibleError('a transposed convolution with wide borders')
            pads.append((reach - low, max(reach - high, 0)))
            more.append(max(high - reach, 0))
        lows, highs = zip(*pads, strict=True)
        return self._graph.add(
            'ConvTranspose',
            image,
            self._graph.constant(kernel_IOK),
            strides=list(params['lhs_dilation']),
            pads=[*lows, *highs],
            output_padding=more,
            **attributes,
        )


_CALLS = (  # operations that stand for others
    'checkpoint',
    'closed_call',
    'core_call',
    'custom_jvp_call',
    'custom_vjp_call',
    'custom_vjp_call_jaxpr',
    'jit',
    'pjit',
    'remat2',
)
_INNER = ('call_jaxpr', 'fun_jaxpr', 'jaxpr')  # parameters that hold them
_ELEMENTWISE = {
    'abs': 'Abs',
    'add': 'Add',
    'add_any': 'Add',
    'and': 'And',
    'ceil': 'Ceil',
    'cos': 'Cos',
    'div': 'Div',
    'eq': 'Equal',
    'erf': 'Erf',
    'erfc': 'Erfc',
    'exp': 'Exp',
    'expm1': 'Expm1',
    'floor': 'Floor',
    'ge': 'GreaterOrEqual',
    'gt': 'Greater',
    'le': 'LessOrEqual',
    'log': 'Log',
    'log1p': 'Log1p',
    'logistic': 'Sigmoid',
    'lt': 'Less',
    'max': 'Max',
    'min': 'Min',
    'mul': 'Mul',
    'ne': 'NotEqual',
    'neg': 'Neg',
    'not': 'Not',
    'or': 'Or',
    'pow': 'Pow',
    'rsqrt': 'Rsqrt',
    'sign': 'Sign',
    'sin': 'Sin',
    'sqrt': 'Sqrt',
    'square': 'Square',
    'sub': 'Sub',
    'tanh': 'Tanh',
}


def _folded(equation: Any, operands: Sequence[Value]) -> list[Value] | None:
    """Computes an operation on known arrays; returns None if its result has an unknown size."""
    shapes = [variable.aval.shape for variable in equation.outvars]
    if any(operand.repeated for operand in operands):
        if equation.primitive.name not in _ELEMENTWISE:
            return None
    elif not all(isinstance(length, int) for shape in shapes for length in shape):
        return None
    arrays = [np.asarray(operand.constant) for operand in operands]
    if any(operand.repeated for operand in operands):
        arrays = list(np.broadcast_arrays(*arrays))
    results = equation.primitive.bind(*map(jnp.asarray, arrays), **equation.params)
    found = []
    for shape, result in zip(
        shapes, results if equation.primitive.multiple_results else [results], strict=True
    ):
        array = np.asarray(result)
        repeated = frozenset(
            axis
            for axis, length in enumerate(array.shape)
            if length == 1 and not _is_one(shape[axis])
        )
        found.append(Value(shape, '', tuple(range(array.ndim)), repeated, array))
    return found


def _is_one(length: Dim) -> bool:
    return isinstance(length, int) and length == 1


def _is_empty(shape: Sequence[Dim]) -> bool:
    return any(isinstance(length, int) and length == 0 for length in shape)


def _is_same(a: Dim, b: Dim) -> bool:
    return value_of(a, _SAMPLE) == value_of(b, _SAMPLE)


def _index(place: Dim, length: Dim) -> int:
    """Returns a place along an axis as ONNX counts it: from the end if it is below 0."""
    if isinstance(place, int):
        return place
    difference = place - length
    if not isinstance(difference, int) or difference >= 0:
        raise UnconvertibleError(f'a slice that ends at {place} of {length}')
    return difference


def _is_consecutive(order: Sequence[int], axes: Sequence[int]) -> bool:
    """Returns whether axes are stored beside each other, in order."""
    if len(axes) < 2:
        return True
    first = order.index(axes[0])
    return list(order[first : first + len(axes)]) == list(axes)


def _groups(old: Sequence[Dim], new: Sequence[Dim]) -> list[tuple[list[int], list[int]]]:
    """Splits a reshape into axes that become axes: [([0], [0]), ([1], [1, 2]), ...]."""
    old_lengths, new_lengths = (
        [value_of(length, _SAMPLE) for length in shape] for shape in (old, new)
    )
    groups: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(old_lengths) or j < len(new_lengths):
        left, right = [], []
        if i < len(old_lengths):
            left.append(i)
            i += 1
        if j < len(new_lengths):
            right.append(j)
            j += 1
        while True:
            have = math.prod(old_lengths[axis] for axis in left)
            want = math.prod(new_lengths[axis] for axis in right)
            if have < want and i < len(old_lengths):
                left.append(i)
                i += 1
            elif want < have and j < len(new_lengths):
                right.append(j)
                j += 1
            else:
                break
        groups.append((left, right))
    return groups
