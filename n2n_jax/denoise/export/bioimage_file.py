"""Exports a network as a package of the BioImage Model Zoo (bioimage.io), version 0.5.

B batch, H height, W width, C channels, P channels of a plane.
"""

import gc
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from n2n_jax.denoise.denoiser import Denoiser
from n2n_jax.denoise.export import onnx_check, onnx_file
from n2n_jax.denoise.export.description import description
from n2n_jax.denoise.export.onnx_graph import OPSET
from n2n_jax.denoise.export.program import IMAGE, OUTPUT, Program
from n2n_jax.models.geometry import padded
from n2n_jax.runtime.atomic_files import write_bytes
from n2n_jax.runtime.errors import UserError

HOW_TO_INSTALL = (
    'A package for bioimage.io needs the package bioimageio.spec: pip install "n2n_jax[bioimage]".'
)
_FORMAT = '0.5.3'
_AXES = ('y', 'x')
_LONGEST = 1000  # characters of a description
_CITE = {
    'text': 'Lehtinen et al. 2018, Noise2Noise: Learning Image Restoration without Clean Data',
    'url': 'https://arxiv.org/abs/1803.04189',
}


def write(
    denoiser: Denoiser, path: Path, *, authors: Sequence[str] = (), license: str = ''
) -> float:
    """Writes a ZIP file: the model as ONNX, a description, and a test image before and after.

    Args:
      denoiser: the model.
      path: the file.
      authors: names; the zoo asks for them.
      license: SPDX identifier, such as CC-BY-4.0; the zoo asks for it.

    Returns:
      The largest difference between ONNX Runtime and the model, as a share of the range.

    Raises:
      UserError: bioimageio.spec, onnx or onnxruntime is not installed, the license is unknown, or
        the network cannot be exported to ONNX.
    """
    for name in authors:
        if '/' in name or not name.strip():
            raise UserError(f"'{name}' is no name of an author: it may not be empty or hold a '/'.")
    try:
        from bioimageio.spec import save_bioimageio_package
    except ImportError as error:
        raise UserError(HOW_TO_INSTALL) from error
    program = Program.of(denoiser)
    content = onnx_file.model(program).SerializeToString()
    sides = (_least_side(program) + program.geometry.stride, _least_side(program))
    test = onnx_check.compared(denoiser, content, sides, batch=1)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / 'weights.onnx').write_bytes(content)
        (Path(folder) / 'README.md').write_text(_page(program))
        for name, array in test.inputs.items():
            np.save(Path(folder) / f'{name}.npy', array)
        np.save(Path(folder) / f'{OUTPUT}.npy', test.output_BCHW)
        package = Path(folder) / 'package.zip'
        with warnings.catch_warnings():  # bioimageio.spec 0.5 leaves open files to be collected
            warnings.simplefilter('ignore', ResourceWarning)
            model = _model(program, Path(folder), authors, license)
            save_bioimageio_package(model, output_path=package)
            del model
            gc.collect()
        write_bytes(path, package.read_bytes())
    return test.difference


def _model(program: Program, folder: Path, authors: Sequence[str], license: str) -> Any:
    """Returns the description, valid and with the hashes of its files."""
    from bioimageio.spec import InvalidDescr, ValidationContext, build_description

    network = program.config.name.partition(':')[0]
    facts: dict[str, Any] = {
        'format_version': _FORMAT,
        'type': 'model',
        'name': f'n2n_jax denoiser ({network})',
        'description': description(program)['text'][:_LONGEST],
        'documentation': {'source': 'README.md'},
        'authors': [{'name': name} for name in authors],
        'cite': [_CITE],
        'tags': ['denoising', 'noise2noise', 'n2n_jax'],
        'inputs': [
            _tensor(name, _input_axes(program, name, channels), _limits(program, name))
            for name, channels in program.inputs.items()
        ],
        'outputs': [_tensor(OUTPUT, _output_axes(program), _limits(program, OUTPUT))],
        'weights': {'onnx': {'source': 'weights.onnx', 'opset_version': OPSET}},
    }
    if license:
        facts['license'] = license
    model = build_description(facts, context=ValidationContext(root=folder))
    if isinstance(model, InvalidDescr):
        errors = [one for part in model.validation_summary.details for one in part.errors]
        if any('license' in error.loc for error in errors):
            raise UserError(
                f"'{license}' is no license of spdx.org/licenses, such as CC-BY-4.0 or MIT."
            )
        where = '.'.join(map(str, errors[0].loc))
        raise UserError(f'bioimage.io does not accept this model: {where}: {errors[0].msg}')
    return model


def _least_side(program: Program) -> int:
    """Returns the shortest side from which cutting the halo off leaves something."""
    stride, halo = program.geometry.stride, program.geometry.halo or 0
    return max(program.minimum, padded(2 * halo + 1, stride))


def _channels(name: str, count: int) -> list[str]:
    if name in (IMAGE, OUTPUT):
        colors = {1: ['gray'], 3: ['red', 'green', 'blue']}
        return colors.get(count, [f'channel{k}' for k in range(count)])
    return [f'{name}{k}' for k in range(count)]


def _tensor(
    name: str, axes: list[dict[str, Any]], limits: Sequence[float] | None = None
) -> dict[str, Any]:
    data: dict[str, Any] = {'type': 'float32'} | ({'range': list(limits)} if limits else {})
    return {
        'id': name,
        'axes': axes,
        'test_tensor': {'source': f'{name}.npy'},
        'data': data,
    }


def _limits(program: Program, name: str) -> tuple[float, float] | None:
    """Returns roughly the smallest and the largest value; noise may exceed them."""
    if name in (IMAGE, OUTPUT):
        return program.black, program.white
    return (0.0, 1.0) if program.inputs[name] else None


def _input_axes(program: Program, name: str, channels: int) -> list[dict[str, Any]]:
    if not channels:
        return [{'type': 'batch'}]
    stride = program.geometry.stride
    sizes: dict[str, Any] = {axis: {'min': _least_side(program), 'step': stride} for axis in _AXES}
    if name != IMAGE:
        sizes = {axis: _as_image(axis) for axis in _AXES}
    return [
        {'type': 'batch'},
        {'type': 'channel', 'channel_names': _channels(name, channels)},
        *({'type': 'space', 'id': axis, 'size': size} for axis, size in sizes.items()),
    ]


def _output_axes(program: Program) -> list[dict[str, Any]]:
    halo = program.geometry.halo
    more = {'halo': halo} if halo else {}
    return [
        {'type': 'batch'},
        {'type': 'channel', 'channel_names': _channels(OUTPUT, program.config.channels)},
        *({'type': 'space', 'id': axis, 'size': _as_image(axis), **more} for axis in _AXES),
    ]


def _as_image(axis: str) -> dict[str, str]:
    return {'tensor_id': IMAGE, 'axis_id': axis}


def _page(program: Program) -> str:
    facts = description(program)
    return f"""# A denoiser trained from noisy images alone

{facts['text']}

Trained after Noise2Noise (Lehtinen et al. 2018), or a method for single noisy images, with n2n_jax.
How good it is depends on how much an image resembles those it was trained on: compare its results
with a mean of many captures before you rely on them.
"""
