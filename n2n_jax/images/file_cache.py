"""Caches of open image files, shared between scenes and between blocks of an image.

H height, W width, C channels.

One file may hold many scenes, and opening it parses every page, so it stays open. But a scene may
have more captures than the process may open files, or than fit into memory once decoded.
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np

from n2n_jax.images.alpha import AlphaWatch
from n2n_jax.images.frames import Metadata
from n2n_jax.images.image_file import ImageFile, OpenedFile, open_image

_MOST_OPEN = 32
_MOST_DECODED = 8  # formats such as PNG keep their pixels in memory while open


class FewFiles:
    """An LRU cache of open files; as a context manager it closes them all.

    Args:
      most: how many files may be open at a time.
    """

    def __init__(self, most: int = _MOST_DECODED):
        self._most = most
        # Least recently used first.
        self._opened: dict[Path, tuple[OpenedFile, contextlib.ExitStack]] = {}
        self._watches: dict[Path, AlphaWatch] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close(self.paths)

    def opened(self, path: Path) -> OpenedFile:
        """Returns a file, opened if necessary; valid until the next call.

        Raises:
          UserError: as `open_image`.
        """
        if path in self._opened:
            image, stack = self._opened.pop(path)
        else:
            self.close(self.paths[: max(0, len(self._opened) + 1 - self._most)])
            stack = contextlib.ExitStack()
            image = stack.enter_context(open_image(path))
            # So that a file opened again does not warn again.
            image.alpha_watch = self._watches.setdefault(path, image.alpha_watch)
        self._opened[path] = image, stack
        return image

    def close(self, paths: Sequence[Path]) -> None:
        """Closes these files."""
        for path in paths:
            self._opened.pop(path)[1].close()

    @property
    def paths(self) -> list[Path]:
        """The open files, least recently used first."""
        return list(self._opened)


class ReopenedFile(ImageFile):
    """A file that reopens itself through a cache on every access.

    Args:
      files: the cache of open files.
      path: the file.
    """

    def __init__(self, files: FewFiles, path: Path):
        super().__init__(path)
        self._files = files
        self.frames = files.opened(path).frames

    def read(self, index: int, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Delegates to the open file."""
        return self._files.opened(self.path).read(index, start, stop)

    def metadata(self, index: int = 0) -> Metadata:
        """Delegates to the open file."""
        return self._files.opened(self.path).metadata(index)


class OpenFiles:
    """Reads images from several files; as a context manager it closes them all."""

    def __init__(self) -> None:
        self._files = FewFiles(_MOST_OPEN)
        self._last: tuple[Path, int] | None = None
        self._last_HWC = np.empty(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close(self._files.paths)

    def read(self, locations: Sequence[tuple[Path, int]]) -> list[np.ndarray]:
        """Returns the channels of each image, (H, W, C), given by its file and index in the file.

        Multi-image files stay open until a call does not need them, up to a fixed number.

        Raises:
          UserError: as `ImageFile.read`.
        """
        wanted = {path for path, _ in locations}
        self._files.close([path for path in self._files.paths if path not in wanted])
        return [self._read(path, index) for path, index in locations]

    def _read(self, path: Path, index: int) -> np.ndarray:
        # Where the captures are the channels of one image, each channel requests it separately.
        if self._last != (path, index):
            self._last, self._last_HWC = None, np.empty(0)
            self._last_HWC = self._read_from_file(path, index)
            self._last = path, index
        return self._last_HWC

    def _read_from_file(self, path: Path, index: int) -> np.ndarray:
        image = self._files.opened(path)
        image_HWC = image.read_channels(index)
        if len(image.frames) == 1:
            self._files.close([path])
        return image_HWC
