"""Files that stay open from one scene, or one part of an image, to the next.

H height, W width, C channels. An h in place of H: some rows.

Many scenes may lie in one file, and opening it takes a look at every page. But a scene may have
more captures than a process may have files open, or than fit into the memory once they are decoded.
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np

from n2n_jax.images.alpha import Watch
from n2n_jax.images.frames import Metadata
from n2n_jax.images.image_file import ImageFile, open_image

_MOST_OPEN = 32
_MOST_DECODED = 8  # the pixels of a PNG file and the like are in memory as long as it is open


class FewFiles:
    """Opens files, and closes those that were not used for long; a context that closes them all.

    Args:
      most: files that are open at a time.
    """

    def __init__(self, most: int = _MOST_DECODED):
        self._most = most
        # In the order of their last use.
        self._opened: dict[Path, tuple[ImageFile, contextlib.ExitStack]] = {}
        self._watches: dict[Path, Watch] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close(self.paths)

    def opened(self, path: Path) -> ImageFile:
        """An open file, for immediate use.

        Raises:
          UserError: as `open_image`.
        """
        if path in self._opened:
            image, stack = self._opened.pop(path)
        else:
            self.close(self.paths[: max(0, len(self._opened) + 1 - self._most)])
            stack = contextlib.ExitStack()
            image = stack.enter_context(open_image(path))
            image.watch = self._watches.setdefault(path, image.watch)
        self._opened[path] = image, stack
        return image

    def close(self, paths: Sequence[Path]) -> None:
        """Closes some."""
        for path in paths:
            self._opened.pop(path)[1].close()

    @property
    def paths(self) -> list[Path]:
        """Of the files that are open."""
        return list(self._opened)


class ReopenedFile(ImageFile):
    """A file that is opened when it is read, if it is not open.

    Args:
      files: those that are open.
      path: of the file.
    """

    def __init__(self, files: FewFiles, path: Path):
        super().__init__(path)
        self._files = files
        self.frames = files.opened(path).frames

    def read(self, index: int, start: int = 0, stop: int | None = None) -> np.ndarray:
        """As that of the file."""
        return self._files.opened(self.path).read(index, start, stop)

    def metadata(self, index: int = 0) -> Metadata:
        """As that of the file."""
        return self._files.opened(self.path).metadata(index)


class OpenFiles:
    """Reads images of several files; a context that closes them all."""

    def __init__(self) -> None:
        self._files = FewFiles(_MOST_OPEN)
        self._last: tuple[Path, int] | None = None
        self._last_HWC = np.empty(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close(self._files.paths)

    def read(self, places: Sequence[tuple[Path, int]]) -> list[np.ndarray]:
        """The channels of images, (H, W, C), each given by its file and its number in there.

        Files of several images stay open until another call does without them, unless there are
        too many.

        Raises:
          UserError: as `ImageFile.read`.
        """
        wanted = {path for path, _ in places}
        self._files.close([path for path in self._files.paths if path not in wanted])
        return [self._read(path, index) for path, index in places]

    def _read(self, path: Path, index: int) -> np.ndarray:
        # The channels of an image may be the captures, and each is asked for by itself.
        if self._last != (path, index):
            self._last, self._last_HWC = None, np.empty(0)
            self._last_HWC = self._read_again(path, index)
            self._last = path, index
        return self._last_HWC

    def _read_again(self, path: Path, index: int) -> np.ndarray:
        image = self._files.opened(path)
        image_HWC = image.read_channels(index)
        if len(image.frames) == 1:
            self._files.close([path])
        return image_HWC
