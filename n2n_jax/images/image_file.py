"""Opens image files: what they hold, and their pixels some rows at a time.

N images of a file, H height, W width, C channels. An h in place of H: some rows.
"""

import contextlib
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from n2n_jax.images.alpha import Watch
from n2n_jax.images.codecs.damage import named_in_errors
from n2n_jax.images.frames import KINDS, Frame, Metadata
from n2n_jax.images.suffixes import EXR_SUFFIX, NUMPY_SUFFIXES, SUFFIXES, either, suffix_of
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.host_memory import check_fits

_TIFF_MARKS = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')


class ImageFile:
    """An open file of images.

    Attributes:
      path: of the file.
      watch: warns of captures that the file marks as alpha.
      frames: its images, at least one, in the order of the file's axes: every position along the
        axes of a TIFF file but rows, columns and channels (so of time and depth), the first axis
        of a NumPy array.
    """

    path: Path
    frames: Sequence[Frame]

    def __init__(self, path: Path):
        self.path = path
        self.watch = Watch(path)

    def read(self, index: int, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Rows `start` to `stop`, by default all, of an image, (h, W, C), extra samples last.

        Raises:
          UserError: the file is damaged, or the rows do not fit into the memory.
        """
        frame = self.frames[index]
        with named_in_errors(self.path):
            stop = frame.height if stop is None else stop
            check_fits((stop - start) * frame.width * frame.samples * frame.dtype.itemsize)
            rows_hWC = self._read(index, start, stop)
            if rows_hWC.dtype != frame.dtype or rows_hWC.shape[1:] != (frame.width, frame.samples):
                found = f'{rows_hWC.dtype}, {rows_hWC.shape[1]}x{rows_hWC.shape[2]}'
                raise UserError(f'is damaged: its header promises other pixels than {found}.')
        if frame.extra:
            self.watch.look(rows_hWC, frame.channels)
        return rows_hWC

    def read_channels(self, index: int, start: int = 0, stop: int | None = None) -> np.ndarray:
        """What `read` gives, without the extra samples."""
        return self.read(index, start, stop)[..., : self.frames[index].channels]

    def metadata(self, index: int = 0) -> Metadata:
        """What an image made from this one inherits.

        Raises:
          UserError: the file is damaged.
        """
        with named_in_errors(self.path):
            return self._metadata(index)

    def close(self) -> None:
        """Lets go of the file."""

    def _metadata(self, index: int) -> Metadata:
        """As `metadata`; errors have a predicate for their message."""
        del index
        return Metadata()

    def _read(self, index: int, start: int, stop: int) -> np.ndarray:
        """As `read`; errors have a predicate for their message."""
        raise NotImplementedError


@contextlib.contextmanager
def open_image(path: Path) -> Iterator[ImageFile]:
    """Opens a file; what it holds is known from then on, and that it is whole.

    Raises:
      UserError: it is missing, damaged, cut short, or of a kind that is not read.
    """
    with named_in_errors(path):
        opened = _opened(path)
    with contextlib.closing(opened) as image:
        yield image


def _opened(path: Path) -> ImageFile:
    # Formats are known by their first bytes. Names count too, as a raw photograph, for one, is a
    # TIFF whose first image is a thumbnail.
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise UserError('is a folder, not an image.')
    if suffix_of(path) not in SUFFIXES:
        raise UserError(f'is not read: the name must end in {either(SUFFIXES)}.')
    if not stat.S_ISREG(mode):
        raise UserError('is a pipe or a device, not a file.')
    # Each needs its library only here.
    if suffix_of(path) in NUMPY_SUFFIXES:
        from n2n_jax.images.numpy_file import NumpyFile as Kind
    elif suffix_of(path) == EXR_SUFFIX:
        from n2n_jax.images.exr_file import ExrFile as Kind
    elif _mark(path) in _TIFF_MARKS:
        from n2n_jax.images.tiff_file import TiffFile as Kind
    else:
        from n2n_jax.images.picture_file import PictureFile as Kind
    image = Kind(path)
    try:
        _check(image.frames)
    except UserError:
        image.close()
        raise
    return image


def _mark(path: Path) -> bytes:
    with path.open('rb') as file:
        mark = file.read(4)
    if not mark:
        raise UserError('is empty.')
    return mark


def _check(frames: Sequence[Frame]) -> None:
    if not frames:
        raise UserError('holds no images.')
    for frame in {(frame.dtype, frame.height, frame.width, frame.channels) for frame in frames}:
        dtype, *shape = frame
        if dtype.name not in KINDS:
            raise UserError(
                f'holds {dtype.name} numbers: save it with integers of up to 32 bits or with '
                'floats.'
            )
        if 0 in shape:
            raise UserError(f'holds no pixels (an image has the shape {tuple(shape)}).')
