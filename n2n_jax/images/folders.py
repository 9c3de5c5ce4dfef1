"""Files in a folder and the folders below, as people keep them: with links, and hidden ones."""

import logging
import os
from collections.abc import Collection, Mapping
from pathlib import Path

from n2n_jax.images.natural_sort import Key, natural_key

_log = logging.getLogger(__name__)


def files_below(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """Files whose names end in one of the suffixes, 'img2' before 'img10', no hidden ones.

    Links to folders are followed, so that a folder may gather scenes from elsewhere; each folder is
    searched once, by its own name if it has one in here. What is left out is told.

    Args:
      folder: where to search.
      suffixes: in lower case, with their dots.

    Returns:
      Paths that begin with `folder`. They need not be files that can be read: links to nothing,
      pipes and devices are among them.
    """
    found: list[Path] = []
    searched: dict[str, str] = {}  # by where they really are
    waiting = [folder]  # the folder itself, then links to folders
    while waiting:
        start = waiting.pop(0)
        if searched and _leads_back(start, folder, searched):
            continue
        for parent, folders, names in os.walk(start, onerror=_tell):
            real = os.path.realpath(parent)
            if real in searched:  # inside a link to a folder above it
                _tell_again(parent, searched[real])
                folders[:] = []
                continue
            searched[real] = parent
            folders[:] = sorted(name for name in folders if not name.startswith('.'))
            # os.walk does not follow links by itself.
            paths = [Path(parent, name) for name in folders]
            waiting += [path for path in paths if path.is_symlink()]
            found += [
                Path(parent, name)
                for name in names
                if not name.startswith('.') and Path(name).suffix.lower() in suffixes
            ]
    return sorted(found, key=lambda path: natural_order(path.relative_to(folder).as_posix()))


def readable_files(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """What `files_below` finds, without pipes, devices and links to nothing, which it tells."""
    found = []
    for path in files_below(folder, suffixes):
        if why := why_no_file(path):
            _log.warning('%s is left out: %s.', path, why)
        else:
            found.append(path)
    return found


def natural_order(name: str) -> tuple[list[Key], str]:
    """Sorts names with slashes part by part, 'a2/x' before 'a10/x'."""
    return [natural_key(part) for part in name.split('/')], name


def why_no_file(path: Path) -> str:
    """Why something cannot be read as a file, in words; '' if it can."""
    if os.path.isfile(path):
        return ''
    if os.path.isdir(path):
        return 'it is a folder'
    if os.path.exists(path):
        return 'it is a pipe, a socket or a device, not a file'
    return 'it is a link to nothing' if os.path.islink(path) else 'no such file'


def _leads_back(link: Path, folder: Path, searched: Mapping[str, str]) -> bool:
    real = os.path.realpath(link)
    if real in searched:
        _tell_again(link, searched[real])
    elif Path(os.path.realpath(folder)).is_relative_to(real):
        _log.warning('%s is left out: it leads back to a folder around it.', link)
    else:
        return False
    return True


def _tell_again(path: str | Path, before: str) -> None:
    _log.warning(
        '%s is left out: it is another name of %s, which is searched already.', path, before
    )


def _tell(error: OSError) -> None:
    _log.warning('%s is left out: %s.', error.filename, error.strerror)
