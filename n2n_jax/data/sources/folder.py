"""Images in a folder and its subfolders.

H height, W width, C channels.
"""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from n2n_jax.data.sources.source import ImageSource
from n2n_jax.images import image_io
from n2n_jax.runtime.errors import UserError

_log = logging.getLogger(__name__)

MARGIN = 0.5  # how far values may lie outside of [0, 1], for noise


class FolderSource(ImageSource):
    """Images of a folder in natural order, named by their path inside it.

    Args:
      folder: searched recursively.
      skip_bad: skip files that cannot be decoded, with a warning; this decodes every file once.
        Otherwise such a file raises an error when it is read.

    Raises:
      UserError: there is no such folder, it holds no image, or a header cannot be read.
    """

    def __init__(self, folder: str | Path, *, skip_bad: bool = False):
        folder = Path(folder)
        paths = image_io.find_images(folder)
        if skip_bad:
            paths = _readable(paths)
            if not paths:
                raise UserError(f'None of the images in {folder} can be read.')
        self.names = [path.relative_to(folder).as_posix() for path in paths]
        self._paths = paths
        with _errors_with_advice():
            self._sizes = [image_io.image_size(path)[:2] for path in paths]

    def size(self, i: int) -> tuple[int, int]:
        """Returns (H, W) of image i, from its header."""
        return self._sizes[i]

    def read(self, i: int) -> np.ndarray:
        """Reads image i without its alpha channel; 8-bit files stay uint8."""
        with _errors_with_advice():
            return _read(self._paths[i])


def _read(path: Path) -> np.ndarray:
    image = image_io.read_image(path)
    color_HWC, _ = image_io.color_and_alpha(image)
    if image.pixels.dtype == np.uint8:
        return np.rint(color_HWC * 255).astype(np.uint8)
    image_io.check_range(image, margin=MARGIN)
    return color_HWC


@contextlib.contextmanager
def _errors_with_advice() -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise UserError(
            f'{error} Repair the file, or skip it with data.on_bad_file=skip.'
        ) from None


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
