"""What several commands take."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from n2n_jax.runtime import path_list
from n2n_jax.runtime.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from n2n_jax.captures.find import Scene
    from n2n_jax.runtime.config import CapturesConfig


class OutputPath(NamedTuple):
    """A path to write to, and whether it was written as that of a folder, with a slash behind."""

    path: Path
    is_folder: bool


def path(text: str) -> Path:
    """The type of an argument that is a path; spaces around it belong to it."""
    if not text:
        raise argparse.ArgumentTypeError('an empty path')
    if '\0' in text:
        raise argparse.ArgumentTypeError('a path cannot hold a zero byte')
    return Path(text)


def output(text: str) -> OutputPath:
    """The type of an argument that is a file or a folder to write."""
    ends = (os.sep, os.altsep or os.sep)
    return OutputPath(path(text), text.endswith((*ends, f'{os.sep}.')))


def run_folder(text: str) -> Path:
    """The type of an argument that is the folder of a run, which the checkpoint library opens."""
    folder = path(text)
    try:
        str(folder.absolute()).encode('utf-8')
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(
            f'{_shown(folder)}: checkpoints cannot lie in a folder whose name is not UTF-8; '
            'rename it'
        ) from None
    return folder


def _shown(file: Path) -> str:
    return os.fsencode(file).decode('utf-8', 'backslashreplace')


def add_captures(parser: argparse.ArgumentParser) -> None:
    """Adds what says where captures are."""
    parser.add_argument(
        'paths', nargs='+', type=path, metavar='PATH',
        help='files, folders, a stack or a list of captures: see docs/own-captures.md',
    )  # fmt: skip
    add_arrangement(parser)


def add_arrangement(parser: argparse.ArgumentParser) -> None:
    """Adds what says which captures are of one scene."""
    parser.add_argument('--pattern', help="of file names in one folder: '{scene}_{capture}.tif'")
    parser.add_argument(
        '--interleaved', type=int, default=0, metavar='N',
        help='N images of a stack in a row are of one scene',
    )  # fmt: skip


def add_fix(parser: argparse.ArgumentParser) -> None:
    """Adds --fix, which `captures` looks for."""
    parser.add_argument(
        '--fix', default='', metavar='WHAT',
        help='put right what differs between the captures of a scene: gain, shift, or gain,shift',
    )  # fmt: skip


def captures(arguments: argparse.Namespace) -> 'CapturesConfig':
    """Where the captures are, as `add_captures` was told."""
    from n2n_jax.runtime.config import CapturesConfig

    return CapturesConfig(
        paths=path_list.joined(arguments.paths),
        pattern=arguments.pattern or '',
        interleaved=arguments.interleaved,
        fix=getattr(arguments, 'fix', ''),
        single=getattr(arguments, 'single', False),
    )


def check_free(file: Path | None, option: str, arguments: argparse.Namespace) -> None:
    """Refuses what cannot be written, before any time goes into it.

    Raises:
      UserError: the file exists, and --force was not given; or nothing can be written there.
    """
    if not file:
        return
    if file.is_dir():
        raise UserError(f'{file} is a folder: give {option} the name of a file.')
    if os.path.lexists(file) and not arguments.force:
        raise UserError(f'{file} exists: choose another {option}, or give --force.')
    there = next(folder for folder in file.absolute().parents if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise UserError(f'{file} cannot be written: choose another {option}.')


def check_no_input(files: 'Sequence[Path | None]', scenes: 'Sequence[Scene]') -> None:
    """Refuses to write over captures, with --force too, and two reports to one file.

    Raises:
      UserError: a file is a capture, or named twice.
    """
    inputs = {capture.path.resolve() for scene in scenes for capture in scene.captures}
    seen: set[Path] = set()
    for file in files:
        if file is None:
            continue
        if file.resolve() in inputs:
            raise UserError(f'{file} is a capture itself: choose another name for the report.')
        if file.resolve() in seen:
            raise UserError(f'{file} is named twice: give each report a name of its own.')
        seen.add(file.resolve())
