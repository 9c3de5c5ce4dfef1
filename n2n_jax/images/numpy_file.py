"""NumPy files as `OpenedFile`.

N images, H height, W width, C channels; h a block of rows.
"""

import functools
import math
import zipfile
from pathlib import Path
from typing import IO

import numpy as np

from n2n_jax.images.codecs.damage import decoding
from n2n_jax.images.frames import Frame
from n2n_jax.images.image_file import OpenedFile
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.host_memory import check_fits

_MOST_CHANNELS = 4  # of an array (H, W, C); with more it is a stack (N, H, W)
_FRAME_BYTES = 8  # per image, in the list of frames
_ARRAY_MAGIC, _ARCHIVE_MAGIC = b'\x93NUMPY', b'PK'
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class NumpyFile(OpenedFile):
    """A file with one array: (H, W), (H, W, up to 4), (N, H, W) or (N, H, W, C).

    Booleans become uint8 0 and 255, as 1-bit images do.

    Attributes:
      key: name of the array in a .npz archive, which is loaded as a whole; '' for a .npy file,
        which is read in blocks of rows.
      shape: the array's, as stored.
      dtype: the array's, as stored.
    """

    def __init__(self, path: Path):
        super().__init__(path)
        self.key, self.shape, self.dtype = _header(path)
        if self.dtype.hasobject:
            raise UserError('holds Python objects: save an array of numbers.')
        if 0 in self.shape:
            raise UserError(f'holds no images (its shape is {self.shape}).')
        count, height, width, channels = _stack_shape(self.shape)
        check_fits(count * _FRAME_BYTES)
        if self.key:
            check_fits(math.prod(self.shape) * self.dtype.itemsize)
        else:
            self._memory_map()  # raises if the file is damaged
        dtype = np.dtype(np.uint8) if self.dtype == bool else self.dtype.newbyteorder('=')
        self.frames = [Frame(height, width, channels, 0, dtype)] * count

    def _read(self, index: int, start: int, stop: int) -> np.ndarray:
        # Re-map for every read: pages touched through a map stay resident until it is closed.
        array = self._loaded if self.key else self._memory_map()
        rows_hWC = array.reshape(_stack_shape(self.shape))[index, start:stop]
        if rows_hWC.dtype == bool:
            return np.uint8(255) * rows_hWC
        return np.array(rows_hWC, self.dtype.newbyteorder('='), order='C')

    def _memory_map(self) -> np.ndarray:
        with decoding():
            return np.lib.format.open_memmap(self.path, mode='r')

    @functools.cached_property
    def _loaded(self) -> np.ndarray:
        with decoding(), np.load(self.path, allow_pickle=False) as loaded:
            array = loaded[self.key]
        if not isinstance(array, np.ndarray) or array.shape != self.shape:
            raise UserError('is damaged: its array does not match its header.')
        return array


def _header(path: Path) -> tuple[str, tuple[int, ...], np.dtype]:
    """Returns key in the archive, shape and type of the only array, without reading its values."""
    with path.open('rb') as file:
        magic = file.read(len(_ARRAY_MAGIC))
        file.seek(0)
        if magic == _ARRAY_MAGIC:
            return '', *_array_header(file)
    if not magic:
        raise UserError('is empty.')
    if not magic.startswith(_ARCHIVE_MAGIC):
        raise UserError('is not a NumPy file, despite its name.')
    with decoding(), zipfile.ZipFile(path) as archive:
        members = archive.namelist()
        if len(members) != 1:
            names = ', '.join(name.removesuffix('.npy') for name in members) or 'none'
            raise UserError(f'must hold one array, not {len(members)} ({names}).')
        with archive.open(members[0]) as member:
            if member.read(len(_ARRAY_MAGIC)) != _ARRAY_MAGIC:
                raise UserError(f'holds no array: {members[0]} is not one.')
            member.seek(0)
            shape, dtype = _array_header(member)
            if math.prod(shape) * dtype.itemsize > archive.getinfo(members[0]).file_size:
                raise UserError(f'is damaged: it is too small for an array of shape {shape}.')
            return members[0].removesuffix('.npy'), shape, dtype


def _array_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    with decoding():
        version = np.lib.format.read_magic(file)
        if version not in _HEADERS:  # version 3 is for records with non-Latin-1 field names
            raise UserError('holds a structured array: save a plain array of numbers.')
        shape, _, dtype = _HEADERS[version](file)
    if any(length < 0 for length in shape):
        raise UserError(f'is damaged: its shape is {shape}.')
    return shape, dtype


def _stack_shape(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Returns the (N, H, W, C) that an array of this shape is read as."""
    if len(shape) == 2:
        return (1, *shape, 1)
    if len(shape) == 3:
        is_image = shape[-1] <= _MOST_CHANNELS < shape[0]
        return (1, *shape) if is_image else (*shape, 1)
    if len(shape) == 4:
        return shape
    raise UserError(
        f'has shape {shape}: save it as (captures, rows, columns) or (captures, rows, columns, '
        'channels).'
    )
