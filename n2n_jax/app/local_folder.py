"""The one folder of this machine that the page sees, and paths in it that users name."""

import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path

from n2n_jax.images import SUFFIXES
from n2n_jax.runtime.errors import UserError

_NAME = re.compile(r'[\w][\w .-]{0,99}')  # of a folder that the page makes
_MOST_FOLDERS = 20_000  # that are searched, so that a whole drive as --folder ends too
_MOST_DEPTH = 6
_RUN = ''  # stands for the files of a run
_MARKS = {'parameters.txt', 'metrics.jsonl', 'results.json', 'DONE.json'}  # beside its config
_SKIPPED = ('checkpoints', 'evaluation', 'best', 'node_modules', '__pycache__')


class OutsideFolderError(UserError):
    """The path leads out of the folder, or to nothing in it."""


class LocalFolder:
    """The folder.

    Args:
      path: the folder; must exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()

    def inside(self, given: str) -> Path:
        """Returns the path that a user names, relative to the folder.

        Raises:
          OutsideFolderError: it is not inside, also by a link that leads out, or does not exist.
        """
        words = f"'{given}' is not in the folder of this page."
        if '\0' in given or Path(given).is_absolute():
            raise OutsideFolderError(words)
        try:
            found = (self.path / given).resolve(strict=True)
        except (OSError, RuntimeError, ValueError):  # missing, a loop of links, a bad name
            raise OutsideFolderError(words) from None
        if not found.is_relative_to(self.path):
            raise OutsideFolderError(words)
        return found

    def without_links_out(self, given: str) -> Path:
        """Returns a folder that a user names, as `inside`, in which no link leads out.

        Raises:
          OutsideFolderError: one does, or as `inside`.
        """
        found = self.inside(given)
        for root, folders, files in os.walk(found):
            for name in (*folders, *files):
                path = Path(root, name)
                if path.is_symlink() and not path.resolve().is_relative_to(self.path):
                    raise OutsideFolderError(
                        f"'{given}' holds a link that leads out of the folder of this page, "
                        f'{path.relative_to(found)}: remove it.'
                    )
        return found

    def named(self, parent: str, name: str) -> Path:
        """Returns the path of a folder that the page makes, `parent`/`name`; it need not exist.

        Raises:
          OutsideFolderError: the name is not plain, or the parent leads out of the folder.
        """
        if not _NAME.fullmatch(name) or name.rstrip(' .') != name:
            raise OutsideFolderError(
                f"'{name}' cannot be the name of a folder: use letters, digits, spaces and .-_, "
                'a letter or digit first.'
            )
        above = self.path / parent
        above.mkdir(exist_ok=True)
        path = above / name
        if not path.resolve().is_relative_to(self.path):
            raise OutsideFolderError(f"'{name}' is not in the folder of this page.")
        return path

    def name_of(self, path: Path) -> str:
        """Returns a path inside as users name it."""
        return path.relative_to(self.path).as_posix()

    def runs(self) -> list[Path]:
        """Returns the folders that hold a run, in natural order."""
        return sorted(path for path, files in self._folders() if files == [_RUN])

    def with_images(self) -> dict[str, int]:
        """Returns the folders that hold images, by name, with the number of images."""
        found = {}
        for path, files in self._folders():
            count = sum(Path(file).suffix.lower() in SUFFIXES for file in files)
            if count:
                found[self.name_of(path)] = count
        return dict(sorted(found.items()))

    def tables(self) -> list[Path]:
        """Returns the tables of `n2n bench run` and `n2n table`: Markdown with JSON beside it."""
        return sorted(
            path / file
            for path, files in self._folders()
            for file in files
            if file.endswith('.md') and f'{file[:-3]}.json' in files
        )

    def _folders(self) -> Iterator[tuple[Path, list[str]]]:
        """Yields the folders and their files, without following links."""
        for root, folders, files in itertools.islice(os.walk(self.path), _MOST_FOLDERS):
            path = Path(root)
            deep = len(path.relative_to(self.path).parts) >= _MOST_DEPTH
            folders[:] = (
                []
                if deep
                else sorted(name for name in folders if name not in _SKIPPED and name[0] != '.')
            )
            if path != self.path and 'config.json' in files and _MARKS.intersection(files):
                folders[:] = []  # of a run: nothing in it is another
                yield path, [_RUN]
            else:
                yield path, sorted(files)
