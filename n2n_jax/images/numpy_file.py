"""NumPy files as image files.

N images, H height, W width, C channels. An h in place of H: some rows.
"""

import functools
import math
import zipfile
from pathlib import Path
from typing import IO

import numpy as np

from n2n_jax.images.codecs.damage import decoding
from n2n_jax.images.frames import Frame
from n2n_jax.images.image_file import ImageFile
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.host_memory import check_fits

_MOST_CHANNELS = 4  # of an array (H, W, C), which could be a stack (N, H, W)
_FRAME_BYTES = 8  # of the list of images
_ARRAY, _ARCHIVE = b'\x93NUMPY', b'PK'
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class NumpyFile(ImageFile):
    """An array in a file: (H, W), (H, W, up to 4), (N, H, W) or (N, H, W, C).

    Booleans become uint8, 0 and 255, as images of one bit do.

    Attributes:
      key: name of the array in an archive (.npz), which is read as a whole; '' of a .npy file,
        which is read some rows at a time.
      shape: of the array.
      dtype: of the array.
    """

    def __init__(self, path: Path):
        super().__init__(path)
        self.key, self.shape, self.dtype = _header(path)
        if self.dtype.hasobject:
            raise UserError('holds Python objects: save it with numbers.')
        if 0 in self.shape:
            raise UserError(f'holds no images (its shape is {self.shape}).')
        count, height, width, channels = _stack_shape(self.shape)
        check_fits(count * _FRAME_BYTES)
        if self.key:
            check_fits(math.prod(self.shape) * self.dtype.itemsize)
        else:
            self._mapped()  # for its errors
        dtype = np.dtype(np.uint8) if self.dtype == bool else self.dtype.newbyteorder('=')
        self.frames = [Frame(height, width, channels, 0, dtype)] * count

    def _read(self, index: int, start: int, stop: int) -> np.ndarray:
        # Mapped for each piece again: what was read stays in memory as long as the map.
        array = self._loaded if self.key else self._mapped()
        rows_hWC = array.reshape(_stack_shape(self.shape))[index, start:stop]
        if rows_hWC.dtype == bool:
            return np.uint8(255) * rows_hWC
        return np.array(rows_hWC, self.dtype.newbyteorder('='), order='C')

    def _mapped(self) -> np.ndarray:
        with decoding():
            return np.lib.format.open_memmap(self.path, mode='r')

    @functools.cached_property
    def _loaded(self) -> np.ndarray:
        with decoding(), np.load(self.path, allow_pickle=False) as loaded:
            array = loaded[self.key]
        if not isinstance(array, np.ndarray) or array.shape != self.shape:
            raise UserError('is damaged: it is not the array that its header describes.')
        return array


def _header(path: Path) -> tuple[str, tuple[int, ...], np.dtype]:
    """Name in an archive, shape and type of the one array, without reading its numbers."""
    with path.open('rb') as file:
        mark = file.read(len(_ARRAY))
        file.seek(0)
        if mark == _ARRAY:
            return '', *_array_header(file)
    if not mark:
        raise UserError('is empty.')
    if not mark.startswith(_ARCHIVE):
        raise UserError('is not a NumPy file, whatever its name says.')
    with decoding(), zipfile.ZipFile(path) as archive:
        members = archive.namelist()
        if len(members) != 1:
            names = ', '.join(name.removesuffix('.npy') for name in members) or 'none'
            raise UserError(f'must hold one array, not {len(members)} ({names}).')
        with archive.open(members[0]) as file:
            if file.peek(len(_ARRAY))[: len(_ARRAY)] != _ARRAY:
                raise UserError(f'holds no array: {members[0]} is none.')
            shape, dtype = _array_header(file)
            if math.prod(shape) * dtype.itemsize > archive.getinfo(members[0]).file_size:
                raise UserError(f'is damaged: it is too small for an array of the shape {shape}.')
            return members[0].removesuffix('.npy'), shape, dtype


def _array_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    with decoding():
        version = np.lib.format.read_magic(file)
        if version not in _HEADERS:  # later ones are for records with names in other letters
            raise UserError('holds a structured array: save a plain array of numbers.')
        shape, _, dtype = _HEADERS[version](file)
    if any(length < 0 for length in shape):
        raise UserError(f'is damaged: its shape is {shape}.')
    return shape, dtype


def _stack_shape(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """(N, H, W, C) of the images of an array."""
    if len(shape) == 2:
        return (1, *shape, 1)
    if len(shape) == 3:
        is_image = shape[-1] <= _MOST_CHANNELS < shape[0]
        return (1, *shape) if is_image else (*shape, 1)
    if len(shape) == 4:
        return shape
    raise UserError(
        f'has shape {shape}: write (captures, rows, columns) or (captures, rows, columns, '
        'channels).'
    )
