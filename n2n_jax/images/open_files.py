"""Files that stay open from one scene to the next.

H height, W width, C channels.

Many scenes may lie in one file, and opening it takes a look at every page.
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np

from n2n_jax.images.image_file import ImageFile, open_image


class OpenFiles:
    """Reads images of several files; a context that closes them all."""

    def __init__(self) -> None:
        self._opened: dict[Path, tuple[ImageFile, contextlib.ExitStack]] = {}
        self._last: tuple[Path, int] | None = None
        self._last_HWC = np.empty(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close(list(self._opened))

    def read(self, places: Sequence[tuple[Path, int]]) -> list[np.ndarray]:
        """The channels of images, (H, W, C), each given by its file and its number in there.

        Files of several images stay open until another call does without them.

        Raises:
          UserError: as `ImageFile.read`.
        """
        wanted = {path for path, _ in places}
        self._close([path for path in self._opened if path not in wanted])
        return [self._read(path, index) for path, index in places]

    def _read(self, path: Path, index: int) -> np.ndarray:
        # The channels of an image may be the captures, and each is asked for by itself.
        if self._last != (path, index):
            self._last, self._last_HWC = None, np.empty(0)
            self._last_HWC = self._read_again(path, index)
            self._last = path, index
        return self._last_HWC

    def _read_again(self, path: Path, index: int) -> np.ndarray:
        if path not in self._opened:
            with contextlib.ExitStack() as stack:
                image = stack.enter_context(open_image(path))
                if len(image.frames) == 1:
                    return image.read_channels(index)
                self._opened[path] = image, stack.pop_all()
        return self._opened[path][0].read_channels(index)

    def _close(self, paths: Sequence[Path]) -> None:
        for path in paths:
            self._opened.pop(path)[1].close()
