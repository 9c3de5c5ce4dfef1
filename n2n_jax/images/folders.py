"""Recursive file listing that follows links to folders and skips hidden files."""

import logging
import os
from collections.abc import Collection, Mapping
from pathlib import Path

from n2n_jax.images.natural_sort import Key, natural_key

_log = logging.getLogger(__name__)


def files_below(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """Returns the files with one of the suffixes in natural order, without hidden ones.

    Links to folders are followed, so a folder may collect scenes from elsewhere. Each folder is
    searched once, under its real path if that lies inside `folder`. What is skipped is logged.

    Args:
      folder: where to search.
      suffixes: in lower case, with their dots.

    Returns:
      Paths that begin with `folder`. They may include broken links, pipes and devices.
    """
    found: list[Path] = []
    searched: dict[str, str] = {}  # by real path
    waiting = [folder]  # then links to folders
    while waiting:
        start = waiting.pop(0)
        if searched and _leads_back(start, folder, searched):
            continue
        for parent, folders, names in os.walk(start, onerror=_warn_unreadable):
            real = os.path.realpath(parent)
            if real in searched:  # inside a link to a folder above it
                _warn_searched(parent, searched[real])
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
    """Returns `files_below` without broken links, pipes and devices, each with a warning."""
    found = []
    for path in files_below(folder, suffixes):
        if why := why_no_file(path):
            _log.warning('Skipping %s: %s.', path, why)
        else:
            found.append(path)
    return found


def natural_order(name: str) -> tuple[list[Key], str]:
    """Returns a sort key for paths with slashes: 'a2/x' before 'a10/x'."""
    return [natural_key(part) for part in name.split('/')], name


def why_no_file(path: Path) -> str:
    """Returns why a path is not a regular file, as a clause; '' if it is one."""
    if os.path.isfile(path):
        return ''
    if os.path.isdir(path):
        return 'it is a folder'
    if os.path.exists(path):
        return 'it is a pipe, a socket or a device, not a file'
    return 'it is a broken link' if os.path.islink(path) else 'no such file'


def _leads_back(link: Path, folder: Path, searched: Mapping[str, str]) -> bool:
    real = os.path.realpath(link)
    if real in searched:
        _warn_searched(link, searched[real])
    elif Path(os.path.realpath(folder)).is_relative_to(real):
        _log.warning('Skipping %s: it links to a folder that contains it.', link)
    else:
        return False
    return True


def _warn_searched(path: str | Path, before: str) -> None:
    _log.warning('Skipping %s: it is the same folder as %s, already searched.', path, before)


def _warn_unreadable(error: OSError) -> None:
    _log.warning('Skipping %s: %s.', error.filename, error.strerror)
