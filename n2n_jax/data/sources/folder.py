"""A folder of images, searched recursively, of any depth and size.

H height, W width, C channels.
"""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from n2n_jax.images import image_io
from n2n_jax.runtime.errors import UserError

_log = logging.getLogger(__name__)


class FolderSource:
    """Images of a folder in natural order, named by their path inside it.

    Args:
      folder: where to look.
      skip_bad: leave out files that cannot be decoded, with a warning; they are all decoded once
        to find out. Otherwise such a file is an error as soon as it is met.

    Raises:
      UserError: no folder, no image inside, or an unreadable header.
    """

    def __init__(self, folder: str | Path, *, skip_bad: bool = False):
        folder = Path(folder)
        paths = image_io.find_images(folder)
        if skip_bad:
            paths = _readable(paths)
            if not paths:
                raise UserError(f'No image in {folder} can be read.')
        self.names = [path.relative_to(folder).as_posix() for path in paths]
        self._paths = paths
        with _the_way_out():
            self._sizes = [image_io.image_size(path)[:2] for path in paths]

    def size(self, i: int) -> tuple[int, int]:
        """(H, W) of image i, from its header."""
        return self._sizes[i]

    def read(self, i: int) -> np.ndarray:
        """Image i without its alpha channel; 8-bit files stay uint8."""
        with _the_way_out():
            return _read(self._paths[i])


def _read(path: Path) -> np.ndarray:
    image = image_io.read_image(path)
    color_HWC, _ = image_io.color_and_alpha(image)
    if image.pixels.dtype == np.uint8:
        return np.rint(color_HWC * 255).astype(np.uint8)
    image_io.check_range(image, margin=0.5)
    return color_HWC


@contextlib.contextmanager
def _the_way_out() -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise UserError(f'{error} Repair it, or leave it out: data.on_bad_file=skip.') from None


def _readable(paths: list[Path]) -> list[Path]:
    readable = []
    for path in paths:
        try:
            _read(path)
        except UserError as error:
            _log.warning('Skipped: %s', error)
        else:
            readable.append(path)
    if len(readable) < len(paths):
        _log.warning('Skipped %d of %d files.', len(paths) - len(readable), len(paths))
    return readable
