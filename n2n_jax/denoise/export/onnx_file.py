"""Exports a network to ONNX, for images of any size.

B batch, H height, W width, C channels, P channels of a plane, I channels of image and planes.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax

import n2n_jax
from n2n_jax.denoise.export import onnx_operators
from n2n_jax.denoise.export.description import description
from n2n_jax.denoise.export.onnx_graph import OPSET, TO_END, Graph, UnconvertibleError
from n2n_jax.denoise.export.onnx_operators import Value
from n2n_jax.denoise.export.program import IMAGE, OUTPUT, Program, sizes_may_be_unknown
from n2n_jax.runtime import json_files
from n2n_jax.runtime.errors import UserError

if TYPE_CHECKING:
    import onnx

HOW_TO_INSTALL = 'Exporting to ONNX needs the package onnx: pip install "n2n_jax[onnx]".'
_IR_VERSION = 8  # of 2022, that of opset 18
_HEIGHT_WIDTH = (2, 3)  # axes of (B, C, H, W)


def model(program: Program) -> 'onnx.ModelProto':
    """Returns a model that ONNX Runtime and others run without JAX.

    Its inputs are `image`, (B, C, H, W) float32 in the units of the program, and what the program
    takes beside it: planes, (B, P, H, W), and `noise_level`, (B,). Its output, `denoised`, has the
    shape of the image. Inside, the image is padded by reflection as the network needs it, so its
    sides must exceed the padding; see `description` for the rest, which the model holds as
    metadata.

    Raises:
      UserError: onnx is not installed, or there is no ONNX for an operation of the network.
    """
    try:
        import onnx
    except ImportError as error:
        raise UserError(HOW_TO_INSTALL) from error
    from onnx import TensorProto, helper

    with sizes_may_be_unknown(program):
        function = jax.make_jaxpr(program)(*program.shapes())
    graph = Graph()
    try:
        inputs = _padded(graph, program, [array.shape for array in function.in_avals])
        (denoised,) = onnx_operators.convert(graph, function, inputs)
    except UnconvertibleError as error:
        raise _without_form(program, error) from error
    _cropped(graph, denoised)

    def described(name: str, channels: int) -> 'onnx.ValueInfoProto':
        shape: list[str | int | None] = ['batch']
        if channels:
            shape += [channels, 'height', 'width']
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    result = helper.make_model(
        helper.make_graph(
            graph.nodes,
            'n2n_jax',
            [described(name, channels) for name, channels in program.inputs.items()],
            [described(OUTPUT, program.config.channels)],
            initializer=graph.used_constants(),
        ),
        opset_imports=[helper.make_opsetid('', OPSET)],
        ir_version=_IR_VERSION,
        producer_name='n2n_jax',
        producer_version=n2n_jax.__version__,
    )
    facts = description(program)
    result.doc_string = facts['text']
    helper.set_model_props(
        result, {key: x if isinstance(x, str) else json_files.dumps(x) for key, x in facts.items()}
    )
    try:
        onnx.checker.check_model(result, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise _without_form(program, f'an operation ({error})') from error
    return result


def _without_form(program: Program, what: object) -> UserError:
    return UserError(
        f'model.name={program.config.name} cannot be exported to ONNX, which has no form of '
        f'{what} here: export it to StableHLO (FILE.stablehlo).'
    )


def _padded(graph: Graph, program: Program, shapes: Sequence[tuple]) -> list[Value]:
    """Adds the padding of all inputs, at the bottom and the right; returns them as JAX has them."""
    stride, minimum = program.geometry.stride, program.minimum
    zero = graph.integers(0)
    sizes = graph.add('Shape', IMAGE)
    ends = []
    for axis, symbol in zip(_HEIGHT_WIDTH, 'hw', strict=True):
        length = graph.add('Gather', sizes, graph.integers(axis), axis=0)
        # ceil(length / stride), at least that of the minimum
        rounded = graph.add('Add', length, graph.integers(stride - 1))
        units = graph.add('Div', rounded, graph.integers(stride))
        if minimum > stride:
            units = graph.add('Max', units, graph.integers(minimum // stride))
        graph.know_size(symbol, units)
        whole = graph.size(f'{stride}*{symbol}') if stride > 1 else units
        ends.append(graph.add('Sub', whole, length))
    graph.know_size('b', graph.add('Gather', sizes, zero, axis=0))
    pads = graph.add('Concat', *[zero] * 6, *ends, axis=0)
    values = []
    for (name, channels), shape in zip(program.inputs.items(), shapes, strict=True):
        if not channels:
            values.append(Value(shape, name, (0,)))
            continue
        stored = name
        if minimum > 1:
            stored = graph.add('Pad', name, pads, mode='reflect')
        values.append(Value(shape, stored, (0, 3, 1, 2)))
    return values


def _cropped(graph: Graph, denoised: Value) -> None:
    """Adds the output: the result without what was padded, (B, C, H, W)."""
    name = denoised.name
    if denoised.order != (0, 3, 1, 2):
        moves = [denoised.order.index(axis) for axis in (0, 3, 1, 2)]
        name = graph.add('Transpose', name, perm=moves)
    ends = graph.add('Slice', graph.add('Shape', IMAGE), graph.integers(2), graph.integers(TO_END))
    graph.add('Slice', name, graph.integers(0, 0), ends, graph.integers(2, 3), name=OUTPUT)
