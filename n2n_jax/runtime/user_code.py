"""Python files of the user that add networks, corruptions, losses and more to the registries.

The config key `imports` lists them. A run keeps a copy of each in WORKDIR/imports and names it in
its config as NAME.py@HASH, by the first digits of the SHA-256 of its content, so that other code is
another config. Whatever opens the run later runs that copy: the original may be moved or deleted.

Running a file is running a program: open only runs whose code you trust.
"""

import contextlib
import dataclasses
import hashlib
import logging
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from n2n_jax.runtime import atomic_files, config_file, path_list, registry
from n2n_jax.runtime.config import Config
from n2n_jax.runtime.errors import UserError

_log = logging.getLogger(__name__)

FOLDER = 'imports'  # inside the workdir

_KEPT = re.compile(r'(?P<name>[^/\\]+\.py)@(?P<digest>[0-9a-f]{16})')

_run: dict[str, bytes] = {}  # content of the files that this program has run, by digest
_added: list[tuple[registry.Registry[Any], str]] = []  # by them


def resolved(config: Config, run: Path | None = None) -> Config:
    """Runs the files of a config, each once, and returns the config with their hashes.

    Args:
      config: the config; one that is resolved already stays as it is.
      run: workdir of the run, whose copy serves where the original is missing; None for none.

    Raises:
      UserError: a file is missing, fails, or adds what is there already.
    """
    kept: dict[str, str] = {}
    for path in _parted(config.imports):
        match = _KEPT.fullmatch(str(path))
        if match:
            name, digest = match['name'], match['digest']
            if digest not in _run:
                _run_copy(_need(run, path), name, digest)
        else:
            name, digest = path.name, _run_original(path, run)
        if kept.setdefault(name, digest) != digest:
            raise UserError(f'imports={config.imports} has two files called {name}: rename one.')
    return dataclasses.replace(config, imports=_joined(kept))


def located(config: Config, folder: Path) -> Config:
    """Names the copies beside a config that was read from a run, RUN/config.py, by their paths.

    So the config can be used outside of that run.
    """
    paths = []
    for path in _parted(config.imports):
        match = _KEPT.fullmatch(str(path))
        copy = folder / FOLDER / match['name'] if match else path
        unchanged = match and copy.is_file() and _digest(copy.read_bytes()) == match['digest']
        paths.append(copy if unchanged else path)
    return dataclasses.replace(config, imports=path_list.joined(paths)) if paths else config


def run_kept(config: Config, run: Path) -> None:
    """Runs the copies that a run has kept of the files of its config, each once.

    Raises:
      UserError: a copy is missing or was changed, fails, or adds what is there already.
    """
    for name, digest in _kept(config.imports):
        if digest not in _run:
            _run_copy(run, name, digest)


def run_others(config: Config, of_run: Config) -> None:
    """Runs the files of a config, such as metrics, that a run that is opened does not have.

    Raises:
      UserError: see `resolved`.
    """
    kept = dict(_kept(of_run.imports))
    others = []
    for path in _parted(config.imports):
        if path.name not in kept:
            others.append(path)
        elif path.is_file() and _digest(_content(path)) != kept[path.name]:
            _log.info('%s was changed since the run was trained: its own copy is used.', path)
    if others:
        resolved(dataclasses.replace(config, imports=path_list.joined(others)))


def merged(first: str, others: str) -> str:
    """Returns two resolved values of `imports` as one; of two files of a name the latter counts."""
    kept = {**dict(_kept(first)), **dict(_kept(others))}
    return _joined(kept)


def keep(config: Config, run: Path) -> None:
    """Writes the copies of the files of a resolved config that has been run, each whole."""
    for name, digest in _kept(config.imports):
        copy = run / FOLDER / name
        if not copy.is_file() or copy.read_bytes() != _run[digest]:
            atomic_files.write_bytes(copy, _run[digest])


def is_left_over(folder: Path, config: Config) -> bool:
    """Checks whether a folder holds nothing but copies of a run that was stopped at its start."""
    kept = dict(_kept(config.imports))
    return (
        folder.name == FOLDER
        and folder.is_dir()
        and all(
            atomic_files.is_temporary(path)
            or (path.is_file() and _digest(path.read_bytes()) == kept.get(path.name))
            for path in folder.iterdir()
        )
    )


def changed(old: str, new: str) -> str:
    """Returns the name of a file that two resolved values of `imports` share with other content.

    Returns:
      The name; '' if there is none.
    """
    kept = dict(_kept(old))
    names = [name for name, digest in _kept(new) if kept.get(name, digest) != digest]
    return names[0] if names else ''


def forget() -> None:
    """Removes what files have added, for tests: programs that were compiled with it stay."""
    for entries, name in _added:
        del entries[name]
    _added.clear()
    _run.clear()


def _parted(imports: str) -> list[Path]:
    return [path.expanduser() for path in path_list.parted(imports)] if imports.strip() else []


def _kept(imports: str) -> list[tuple[str, str]]:
    """Returns the names and hashes of resolved imports."""
    matches = [_KEPT.fullmatch(str(path)) for path in _parted(imports)]
    return [(match['name'], match['digest']) for match in matches if match]


def _joined(kept: dict[str, str]) -> str:
    texts = [Path(f'{name}@{digest}') for name, digest in kept.items()]
    return path_list.joined(texts) if texts else ''


def _need(run: Path | None, path: Path) -> Path:
    if run is None:
        raise UserError(f'imports={path} names the copy of a run: write the path of a file.')
    return run


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _content(path: Path) -> bytes:
    if path.suffix != '.py':
        raise UserError(f'imports={path} is not a Python file: write the path of a .py file.')
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        place = '' if path.is_absolute() else f" in '{Path.cwd()}'"
        raise UserError(f'imports={path}: there is no such file{place}.') from None
    except OSError as error:
        raise UserError(f'imports={path} cannot be read: {error.strerror}.') from None


def _run_original(path: Path, run: Path | None) -> str:
    """Runs a file, or the copy of a run if it is gone; returns the digest of its content."""
    copy = run / FOLDER / path.name if run else None
    if copy is not None and not path.exists() and copy.is_file():
        _log.info('%s is gone: using the copy in the run.', path)
        content, path = _content(copy), copy
        _log.info('Running %s, code that was kept with the run.', copy)
    else:
        content = _content(path)
    _run_once(path, content)
    return _digest(content)


def _run_copy(run: Path, name: str, digest: str) -> None:
    copy = run / FOLDER / name
    try:
        content = copy.read_bytes()
    except OSError as error:
        raise UserError(
            f'{copy} cannot be read ({error.strerror}), but the model needs that code: if the run '
            'is a copy, copy it again.'
        ) from None
    if _digest(content) != digest:
        raise UserError(
            f'{copy} was changed since the run was trained with it: restore it, as other code '
            'would make other images.'
        )
    _log.info('Running %s, code that was kept with the run.', copy)
    _run_once(copy, content)


def _run_once(path: Path, content: bytes) -> None:
    digest = _digest(content)
    if digest in _run:
        return
    # Under a name of its own, because dataclasses look up their module.
    module = types.ModuleType(f'n2n_jax_imports_{digest}')
    module.__file__ = str(path)
    with registry.adding(str(path)) as added, _named(path):
        sys.modules[module.__name__] = module
        try:
            exec(compile(content, str(path), 'exec'), module.__dict__)
        except BaseException:
            del sys.modules[module.__name__]
            raise
    _run[digest] = content
    _added.extend(added)


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Names the file and the line in errors of a user's code."""
    try:
        yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # sys.exit() would end the program without a word
        line = config_file.line_of(error, str(path))
        where = f'line {line}, ' if line else ''
        raise UserError(
            f'imports={path} failed ({where}{config_file.described(error)}).'
        ) from error
