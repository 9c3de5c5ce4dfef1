"""Writes a trained network as a file that other programs run, by the ending of its name."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from n2n_jax.denoise.denoiser import Denoiser
from n2n_jax.denoise.export import onnx_check, onnx_file, stablehlo_file
from n2n_jax.denoise.export.description import description
from n2n_jax.denoise.export.program import Program
from n2n_jax.runtime.atomic_files import write_bytes
from n2n_jax.runtime.errors import UserError


@dataclasses.dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
      files: the files.
      text: how to use them, in words.
      checked: what was compared with the model; '' if nothing was.
    """

    files: list[Path]
    text: str
    checked: str = ''


def export(denoiser: Denoiser, path: str | Path) -> Exported:
    """Writes a model as FILE.onnx or FILE.stablehlo.

    Raises:
      UserError: the ending is another, a package is missing, the network has no such form, or ONNX
        Runtime denoises differently with it.
    """
    path = Path(path)
    check_name(path)
    return FORMATS[path.suffix.lower()](denoiser, path)


def check_name(path: Path) -> None:
    """Raises UserError unless the name of a file ends as one of the formats."""
    if path.suffix.lower() not in FORMATS:
        raise UserError(f'{path} names no format: end it in {" or ".join(FORMATS)}.')


def _onnx(denoiser: Denoiser, path: Path) -> Exported:
    program = Program.of(denoiser)
    content = onnx_file.model(program).SerializeToString()
    difference = onnx_check.largest_difference(denoiser, content)
    write_bytes(path, content)
    checked = (
        'Not compared with the model, as onnxruntime is not installed.'
        if difference is None
        else f'ONNX Runtime gives the same image, to {difference:.1e} of the range.'
    )
    return Exported([path], description(program)['text'], checked)


def _stablehlo(denoiser: Denoiser, path: Path) -> Exported:
    program = Program.of(denoiser)
    files = stablehlo_file.write(program, path)
    stride = program.geometry.stride
    text = description(program)['text']
    return Exported(files, f'{text} Sides must be multiples of {stride} pixels.')


FORMATS: dict[str, Callable[[Denoiser, Path], Exported]] = {
    '.onnx': _onnx,
    '.stablehlo': _stablehlo,
}
