"""Opens image files of any format and reads them in blocks of rows.

H height, W width, C channels; h a block of rows.
"""

import abc
import contextlib
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from n2n_jax.images.alpha import AlphaWatch
from n2n_jax.images.codecs.damage import named_in_errors
from n2n_jax.images.frames import KINDS, Frame, Metadata
from n2n_jax.images.suffixes import EXR_SUFFIX, NUMPY_SUFFIXES, SUFFIXES, either, suffix_of
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.host_memory import check_fits

_TIFF_MAGIC = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')


class ImageFile(abc.ABC):
    """An image file, or a view of one.

    Attributes:
      path: the file, named in errors.
      frames: its images, at least one, in the order of the file's axes: for TIFF, every position
        along all axes but rows, columns and channels (so time and depth); for a NumPy array, its
        first axis.
    """

    path: Path
    frames: Sequence[Frame]

    def __init__(self, path: Path):
        self.path = path

    @abc.abstractmethod
    def read(self, index: int, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Returns rows `start` to `stop` (default: all) of an image, (h, W, C), extra samples last.

        Raises:
          UserError: the file is damaged, or the rows do not fit into memory.
        """

    def read_channels(self, index: int, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Returns the rows of `read` without the extra samples."""
        return self.read(index, start, stop)[..., : self.frames[index].channels]

    @abc.abstractmethod
    def metadata(self, index: int = 0) -> Metadata:
        """Returns the metadata that a denoised copy of an image inherits.

        Raises:
          UserError: the file is damaged.
        """


class OpenedFile(ImageFile):
    """An open file of one format; a format implements `_read` and, if it has any, `_metadata`.

    Attributes:
      alpha_watch: warns if samples that are marked as alpha look like a capture.
    """

    def __init__(self, path: Path):
        super().__init__(path)
        self.alpha_watch = AlphaWatch(path)

    def read(self, index: int, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Reads the rows, checks them against the header and adds the file's name to errors."""
        frame = self.frames[index]
        with named_in_errors(self.path):
            stop = frame.height if stop is None else stop
            check_fits((stop - start) * frame.width * frame.samples * frame.dtype.itemsize)
            rows_hWC = self._read(index, start, stop)
            expected = stop - start, frame.width, frame.samples
            if rows_hWC.dtype != frame.dtype or rows_hWC.shape != expected:
                found = f'{rows_hWC.dtype}, {"x".join(map(str, rows_hWC.shape))}'
                raise UserError(f'is damaged: its pixels ({found}) do not match its header.')
        if frame.extra:
            self.alpha_watch.check(rows_hWC, frame.channels)
        return rows_hWC

    def metadata(self, index: int = 0) -> Metadata:
        """Reads the metadata and adds the file's name to errors."""
        with named_in_errors(self.path):
            return self._metadata(index)

    def close(self) -> None:
        """Closes the file; formats that keep none open have nothing to close."""

    @abc.abstractmethod
    def _read(self, index: int, start: int, stop: int) -> np.ndarray:
        """Implements `read`; errors are raised without the file name ('is damaged ...')."""

    def _metadata(self, index: int) -> Metadata:
        """Implements `metadata`; errors are raised without the file name ('is damaged ...')."""
        del index
        return Metadata()


@contextlib.contextmanager
def open_image(path: Path) -> Iterator[OpenedFile]:
    """Opens a file, reads its header and checks that it is complete.

    Raises:
      UserError: it is missing, damaged, truncated, or of an unsupported kind.
    """
    with named_in_errors(path):
        opened = _open_by_format(path)
    with contextlib.closing(opened) as image:
        yield image


def _format_of(path: Path) -> Callable[[Path], OpenedFile]:
    # Imported on demand: each needs a library of its own.
    if suffix_of(path) in NUMPY_SUFFIXES:
        from n2n_jax.images.numpy_file import NumpyFile

        return NumpyFile
    if suffix_of(path) == EXR_SUFFIX:
        from n2n_jax.images.exr_file import ExrFile

        return ExrFile
    if _magic_bytes(path) in _TIFF_MAGIC:
        from n2n_jax.images.tiff_file import TiffFile

        return TiffFile
    from n2n_jax.images.picture_file import PictureFile

    return PictureFile


def _open_by_format(path: Path) -> OpenedFile:
    # NumPy and EXR files are recognized by their suffix, TIFF by its magic bytes. The suffix must
    # be known in any case: a camera raw file, for one, is a TIFF whose first image is a thumbnail.
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise UserError('is a folder, not an image.')
    if suffix_of(path) not in SUFFIXES:
        raise UserError(f'cannot be read: its name must end in {either(SUFFIXES)}.')
    if not stat.S_ISREG(mode):
        raise UserError('is a pipe or a device, not a file.')
    image = _format_of(path)(path)
    try:
        _check_frames(image.frames)
    except UserError:
        image.close()
        raise
    return image


def _magic_bytes(path: Path) -> bytes:
    with path.open('rb') as file:
        magic = file.read(4)
    if not magic:
        raise UserError('is empty.')
    return magic


def _check_frames(frames: Sequence[Frame]) -> None:
    if not frames:
        raise UserError('holds no images.')
    for dtype, *shape in {(f.dtype, f.height, f.width, f.channels) for f in frames}:
        if dtype.name not in KINDS:
            raise UserError(
                f'holds {dtype.name} values: save it as integers of up to 32 bits or as floats.'
            )
        if 0 in shape:
            raise UserError(f'holds no pixels (an image has the shape {tuple(shape)}).')
