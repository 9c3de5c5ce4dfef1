"""Writes a trained network as a file that other programs run, by the ending of its name."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from n2n_jax.denoise.denoiser import Denoiser
from n2n_jax.denoise.export import bioimage_file, onnx_check, onnx_file, stablehlo_file
from n2n_jax.denoise.export.description import description
from n2n_jax.denoise.export.program import Program
from n2n_jax.images.suffixes import either
from n2n_jax.models import model_file
from n2n_jax.models.model_file import Trained
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


def export(
    denoiser: Denoiser, path: str | Path, *, authors: Sequence[str] = (), license: str = ''
) -> Exported:
    """Writes a model as FILE.safetensors, .onnx, .stablehlo, or .zip for bioimage.io.

    Args:
      denoiser: the model.
      path: the file.
      authors: names, for bioimage.io.
      license: SPDX identifier of its license, for bioimage.io.

    Raises:
      UserError: the ending is another, a package is missing, the network has no such form, or ONNX
        Runtime denoises differently with it.
    """
    path = Path(path)
    check_name(path)
    if (authors or license) and path.suffix.lower() != ZIP:
        raise UserError(f'{path} holds no authors and no license: only packages (FILE.zip) do.')
    if path.suffix.lower() == ZIP:
        return _bioimage(denoiser, path, authors, license)
    return _WRITERS[path.suffix.lower()](denoiser, path)


def files(path: Path) -> list[Path]:
    """Returns the files that an export writes; raises as `check_name`."""
    check_name(path)
    return stablehlo_file.files(path) if path.suffix.lower() == '.stablehlo' else [path]


def check_name(path: Path) -> None:
    """Raises UserError unless the name of a file ends as one of the formats."""
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f'{path} names no format: end it in {either(SUFFIXES)}.')


def _safetensors(denoiser: Denoiser, path: Path) -> Exported:
    found = Trained(denoiser.config, denoiser.variables, denoiser.step)
    model_file.write(path, found)
    return Exported([path], f'For n2n_jax: n2n denoise photo.jpg --model {path}')


def _onnx(denoiser: Denoiser, path: Path) -> Exported:
    program = Program.of(denoiser)
    content = onnx_file.model(program).SerializeToString()
    checked = 'Not compared with the model, as onnxruntime is not installed.'
    if onnx_check.is_possible():
        checked = _same(onnx_check.compared(denoiser, content).difference)
    write_bytes(path, content)
    return Exported([path], description(program)['text'], checked)


def _stablehlo(denoiser: Denoiser, path: Path) -> Exported:
    program = Program.of(denoiser)
    written = stablehlo_file.write(program, path)
    stride, least = program.geometry.stride, program.minimum
    text = description(program)['text']
    return Exported(written, f'{text} Sides must be multiples of {stride} px, from {least} px on.')


def _bioimage(denoiser: Denoiser, path: Path, authors: Sequence[str], license: str) -> Exported:
    difference = bioimage_file.write(denoiser, path, authors=authors, license=license)
    text = description(Program.of(denoiser))['text']
    missing = [name for name, given in (('--author', authors), ('--license', license)) if not given]
    if missing:
        text += f' To upload it to bioimage.io, export it with {" and ".join(missing)}.'
    return Exported([path], text, _same(difference))


def _same(difference: float) -> str:
    return f'ONNX Runtime gives the same image, to {difference:.1e} of the range.'


ZIP = '.zip'
_WRITERS = {model_file.SUFFIX: _safetensors, '.onnx': _onnx, '.stablehlo': _stablehlo}
SUFFIXES = (*_WRITERS, ZIP)
