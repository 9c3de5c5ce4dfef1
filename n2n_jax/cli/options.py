"""Options and checks shared by several commands."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from n2n_jax.runtime import path_list
from n2n_jax.runtime.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from n2n_jax.captures.scene_files import Scene
    from n2n_jax.runtime.config import CapturesConfig


class OutputPath(NamedTuple):
    """A path to write to, and whether a trailing slash marks it as a folder."""

    path: Path
    is_folder: bool


def path(text: str) -> Path:
    """Argument type: a path. Surrounding spaces are kept, as file names may have them."""
    if not text:
        raise argparse.ArgumentTypeError('the path is empty')
    if '\0' in text:
        raise argparse.ArgumentTypeError('a path cannot contain a zero byte')
    return Path(text)


def output(text: str) -> OutputPath:
    """Argument type: a file or folder to write to."""
    separators = (os.sep, os.altsep or os.sep)
    return OutputPath(path(text), text.endswith((*separators, f'{os.sep}.')))


def run_folder(text: str) -> Path:
    """Argument type: the folder of a run. Orbax, which stores its checkpoints, needs UTF-8."""
    folder = path(text)
    try:
        str(folder.absolute()).encode('utf-8')
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(
            f'{_escaped(folder)}: checkpoints cannot be stored in a folder whose name is not '
            'UTF-8; rename it'
        ) from None
    return folder


def _escaped(file: Path) -> str:
    return os.fsencode(file).decode('utf-8', 'backslashreplace')


def add_model(parser: argparse.ArgumentParser) -> None:
    """Adds --model, the run whose weights are used."""
    parser.add_argument(
        '--model', required=True, type=run_folder, metavar='RUN',
        help='folder of a trained run (its --workdir)',
    )  # fmt: skip


def add_captures(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that locate captures; `captures` reads them."""
    parser.add_argument(
        'paths', nargs='+', type=path, metavar='PATH',
        help='captures: files, folders, a stack, or a CSV or JSON file that lists them (see '
        'docs/own-captures.md)',
    )  # fmt: skip
    add_arrangement(parser)


def add_arrangement(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say which captures belong to one scene."""
    parser.add_argument(
        '--pattern',
        help="how file names tell scenes and captures apart, such as '{scene}_{capture}.tif'",
    )
    parser.add_argument(
        '--interleaved', type=int, default=0, metavar='N',
        help='every N consecutive images of a stack show one scene',
    )  # fmt: skip


def add_fix(parser: argparse.ArgumentParser) -> None:
    """Adds --fix; `captures` reads it."""
    parser.add_argument(
        '--fix', default='', metavar='WHAT',
        help='correct differences between the captures of a scene: gain (brightness), shift '
        '(position), or gain,shift',
    )  # fmt: skip


def add_imports(parser: argparse.ArgumentParser) -> None:
    """Adds --imports, Python files of the user; `run_imports` runs them."""
    parser.add_argument(
        '--imports', default='', metavar='FILES',
        help='Python files of your own that add choices, with commas between (docs/extending.md)',
    )  # fmt: skip


def run_imports(arguments: argparse.Namespace) -> None:
    """Runs the files of --imports."""
    from n2n_jax.runtime import user_code
    from n2n_jax.runtime.config import Config

    user_code.resolved(Config(imports=arguments.imports))


def captures(arguments: argparse.Namespace) -> 'CapturesConfig':
    """Returns where the captures are, from the arguments of `add_captures` and `add_fix`."""
    from n2n_jax.runtime.config import CapturesConfig

    return CapturesConfig(
        paths=path_list.joined(arguments.paths),
        pattern=arguments.pattern or '',
        interleaved=arguments.interleaved,
        fix=getattr(arguments, 'fix', ''),
        single=getattr(arguments, 'single', False),
    )


def check_free(file: Path | None, option: str, arguments: argparse.Namespace) -> None:
    """Checks that an output file can be written, before the work that produces it.

    Args:
      file: the output; None if the user asked for none.
      option: the option that names it, for the message.
      arguments: those of the command; `force` allows overwriting.

    Raises:
      UserError: the file exists and --force was not given, or it cannot be written.
    """
    if not file:
        return
    if file.is_dir():
        raise UserError(f'{file} is a folder: {option} needs the name of a file.')
    if os.path.lexists(file) and not arguments.force:
        raise UserError(f'{file} exists: choose another {option}, or overwrite it with --force.')
    parent = next(folder for folder in file.absolute().parents if folder.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise UserError(f'{file} cannot be written: choose another {option}.')


def check_report_files(files: 'Sequence[Path | None]', scenes: 'Sequence[Scene]') -> None:
    """Refuses to overwrite a capture (even with --force) or to write two reports to one file.

    Raises:
      UserError: a file is a capture, or is named twice.
    """
    inputs = {capture.path.resolve() for scene in scenes for capture in scene.captures}
    seen: set[Path] = set()
    for file in files:
        if file is None:
            continue
        if file.resolve() in inputs:
            raise UserError(f'{file} is one of the captures: choose another name for the report.')
        if file.resolve() in seen:
            raise UserError(f'{file} is named twice: choose a different name for each report.')
        seen.add(file.resolve())
