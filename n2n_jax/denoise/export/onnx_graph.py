"""An ONNX graph under construction: nodes, constants, and sizes that are known only at run time."""

import ast
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

Dim = Any  # an int, or a symbolic size of JAX such as 16*h + 1
Shape = tuple[Dim, ...]

OPSET = 18  # of 2022: ONNX Runtime 1.14, TensorRT 8.6 and OpenVINO 2023 know it
TO_END = np.iinfo(np.int64).max  # as the end of a slice


class UnconvertibleError(Exception):
    """There is no ONNX for what the message names."""


class Graph:
    """Collects nodes and constants, each under a name of its own.

    Attributes:
      nodes: the nodes, in order.
    """

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._sizes: dict[str, str] = {}
        self._names: dict[tuple[Any, ...], str] = {}
        self._counts: dict[str, int] = {}

    def add(self, operator: str, *inputs: str, name: str = '', **attributes: Any) -> str:
        """Adds a node with one output; returns the output's name.

        Args:
          operator: name of an operator of ONNX.
          *inputs: names of its inputs; '' for one that is left out.
          name: of the output; '' for a new one.
          **attributes: of the operator.
        """
        return self.add_several(operator, inputs, [name or self._new(operator)], **attributes)[0]

    def add_several(
        self, operator: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any
    ) -> Sequence[str]:
        """Adds a node with several outputs, whose names are given and returned."""
        from onnx import helper

        self.nodes.append(
            helper.make_node(operator, inputs, outputs, name=f'{outputs[0]}_node', **attributes)
        )
        return outputs

    def new_names(self, operator: str, count: int) -> list[str]:
        """Returns names that nothing has yet."""
        return [self._new(operator) for _ in range(count)]

    def constant(self, array: np.ndarray) -> str:
        """Returns the name of a constant; equal arrays are stored once."""
        from onnx import numpy_helper

        array = np.ascontiguousarray(array).reshape(np.shape(array))
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._names:
            self._names[key] = self._new('weights' if array.size > 1 else 'constant')
            self._constants.append(numpy_helper.from_array(array, self._names[key]))
        return self._names[key]

    def used_constants(self) -> 'list[onnx.TensorProto]':
        """Returns the constants that nodes refer to."""
        used = {name for node in self.nodes for name in node.input}
        return [constant for constant in self._constants if constant.name in used]

    def integers(self, *values: int) -> str:
        """Returns the name of a constant vector of integers."""
        return self.constant(np.array(values, np.int64))

    def know_size(self, symbol: str, name: str) -> None:
        """Says which vector of one integer holds the value of a symbolic size."""
        self._sizes[symbol] = name

    def size(self, dim: Dim) -> str:
        """Returns the name of a vector of one integer that holds a size."""
        if isinstance(dim, int):
            return self.integers(dim)
        text = str(dim)
        if text not in self._sizes:
            self._sizes[text] = self._computed(ast.parse(text, mode='eval').body)
        return self._sizes[text]

    def shape(self, dims: Sequence[Dim]) -> str:
        """Returns the name of a vector that holds a shape."""
        if all(isinstance(dim, int) for dim in dims):
            return self.integers(*dims)
        return self.add('Concat', *(self.size(dim) for dim in dims), axis=0)

    def _computed(self, node: ast.expr) -> str:
        text = ast.unparse(node)
        if text in self._sizes:
            return self._sizes[text]
        if isinstance(node, ast.Constant):
            return self.integers(int(text))
        operator, operands = _parts(node)
        inputs = [self._computed(operand) for operand in operands]
        if operator == 'Div':  # which rounds toward 0, unlike JAX
            inputs[0] = self.add('Sub', inputs[0], self.add('Mod', *inputs))
        self._sizes[text] = self.add(operator, *inputs)
        return self._sizes[text]

    def _new(self, operator: str) -> str:
        count = self._counts[operator] = self._counts.get(operator, 0) + 1
        return f'{operator.lower()}_{count}'


def value_of(dim: Dim, symbols: Mapping[str, int]) -> int:
    """Returns a size for given values of the symbols in it."""
    if isinstance(dim, int):
        return dim
    return _value(ast.parse(str(dim), mode='eval').body, symbols)


def _value(node: ast.expr, symbols: Mapping[str, int]) -> int:
    if isinstance(node, ast.Constant):
        return int(ast.unparse(node))
    if isinstance(node, ast.Name):
        return symbols[node.id]
    operator, operands = _parts(node)
    values = [_value(operand, symbols) for operand in operands]
    functions: dict[str, Callable[[list[int]], int]] = {
        'Add': sum,
        'Sub': lambda pair: pair[0] - pair[1],
        'Mul': lambda pair: pair[0] * pair[1],
        'Neg': lambda one: -one[0],
        'Div': lambda pair: pair[0] // pair[1],
        'Mod': lambda pair: pair[0] % pair[1],
        'Max': max,
        'Min': min,
    }
    return functions[operator](values)


_OPERATORS = {ast.Add: 'Add', ast.Sub: 'Sub', ast.Mult: 'Mul'}
_FUNCTIONS = {'floordiv': 'Div', 'mod': 'Mod', 'max': 'Max', 'min': 'Min'}


def _parts(node: ast.expr) -> tuple[str, list[ast.expr]]:
    """Returns the operator of ONNX for an expression of sizes, and its operands."""
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)], [node.left, node.right]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return 'Neg', [node.operand]
    if isinstance(node, ast.Call) and ast.unparse(node.func) in _FUNCTIONS:
        return _FUNCTIONS[ast.unparse(node.func)], node.args
    raise UnconvertibleError(f'the size {ast.unparse(node)}')
