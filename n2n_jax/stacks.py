"""Files that hold one image or a stack of them, read as raw numbers.

N images of the file, H height, W width, C channels.

What counts as an image of a stack: every position along the axes of a TIFF file that are neither
space nor colour; the first axis of a NumPy array.
"""

import contextlib
from pathlib import Path

import numpy as np
import tifffile

from n2n_jax import io
from n2n_jax.errors import UserError

SUFFIXES = frozenset({*io.IMAGE_SUFFIXES, '.npy', '.npz'})

_TIFF_SUFFIXES = ('.tif', '.tiff')
_MOST_CHANNELS = 4
_LARGE_BYTES = 1 << 27
KINDS = ('uint8', 'uint16', 'uint32', 'int8', 'int16', 'int32', 'float16', 'float32', 'float64')


def read_stack(path: Path) -> np.ndarray:
    """All images of a file, (N, H, W, C), in the type they have there; alpha is left out.

    Raises:
      UserError: no such file, damaged, or numbers or axes that are not understood.
    """
    suffix = path.suffix.lower()
    if suffix in ('.npy', '.npz'):
        stack_NHWC = as_stack(path, read_numpy(path)[1])
    elif suffix in _TIFF_SUFFIXES and path.is_file() and _is_stack(path):
        stack_NHWC = _read_tiff(path)
    else:
        image = io.read_image(path)
        pixels_HWC = image.pixels.reshape(*image.pixels.shape[:2], -1)
        stack_NHWC = pixels_HWC[None, ..., : 1 if 'gray' in image.mode else 3]
    if stack_NHWC.dtype == bool:
        stack_NHWC = stack_NHWC.astype(np.uint8)
    if stack_NHWC.dtype.name not in KINDS:
        raise UserError(
            f'{path} holds {stack_NHWC.dtype} numbers: save it with integers of up to 32 bits or '
            'with floats.'
        )
    if not stack_NHWC.size:
        raise UserError(f'{path} holds no pixels (its shape is {stack_NHWC.shape}).')
    return stack_NHWC


def num_images(path: Path) -> int:
    """How many images a file holds; only of a large one its pixels are not read for it.

    Raises:
      UserError: as `read_stack`.
    """
    suffix = path.suffix.lower()
    if path.is_file() and path.stat().st_size > _LARGE_BYTES:
        if suffix == '.npy':
            with contextlib.suppress(OSError, ValueError):  # read_stack says what is wrong with it
                return len(as_stack(path, np.load(path, mmap_mode='r', allow_pickle=False)))
        if suffix in _TIFF_SUFFIXES and _is_stack(path):
            with tifffile.TiffFile(path) as tif:
                series = tif.series[0]
                sizes = zip(series.axes, series.shape, strict=True)
                return int(np.prod([size for axis, size in sizes if axis not in 'YXCS']))
    return len(read_stack(path))


def read_numpy(path: Path) -> tuple[str, np.ndarray]:
    """The one array of a file, and its name in there, '' in a .npy file.

    Raises:
      UserError: no such file, damaged, or several arrays.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return '', loaded
        with loaded:
            if len(loaded.files) != 1:
                names = ', '.join(loaded.files) or 'none'
                raise UserError(f'{path} must hold one array, not {len(loaded.files)} ({names}).')
            return loaded.files[0], loaded[loaded.files[0]]
    except FileNotFoundError:
        raise UserError(f'{path}: no such file.') from None
    except UserError:
        raise
    except Exception as error:  # zip, zlib and NumPy each have errors of their own
        raise UserError(f'{path} is damaged or no NumPy file ({error}).') from error


def as_stack(path: Path, array: np.ndarray) -> np.ndarray:
    """(H, W), (H, W, up to 4), (N, H, W) or (N, H, W, C) -> (N, H, W, C), a view."""
    if array.ndim == 2:
        return array[None, ..., None]
    if array.ndim == 3:
        is_image = array.shape[-1] <= _MOST_CHANNELS < array.shape[0]
        return array[None] if is_image else array[..., None]
    if array.ndim == 4:
        return array
    raise UserError(
        f'{path} has shape {array.shape}: write (captures, rows, columns) or (captures, rows, '
        'columns, channels).'
    )


def _is_stack(path: Path) -> bool:
    try:
        with tifffile.TiffFile(path) as tif:
            series = tif.series[0]
            return int(np.prod(series.shape)) > int(np.prod(tif.pages.first.shape))
    except Exception:  # io.read_image says what is wrong with it
        return False


def _read_tiff(path: Path) -> np.ndarray:
    try:
        with tifffile.TiffFile(path) as tif:
            axes, array = tif.series[0].axes, tif.series[0].asarray()
    except Exception as error:  # decoders meet damaged bytes with errors of every kind
        raise UserError(f'{path} is damaged or cut short ({error}).') from error
    if axes.count('Y') != 1 or axes.count('X') != 1:
        raise UserError(f'{path} has the axes {axes}: rows (Y) and columns (X) are needed.')
    others = [i for i, axis in enumerate(axes) if axis not in 'YXCS']
    channels = [i for i, axis in enumerate(axes) if axis in 'CS']
    array = array.transpose(*others, axes.index('Y'), axes.index('X'), *channels)
    first = len(others)
    h, w = array.shape[first : first + 2]
    return array.reshape(-1, h, w, int(np.prod(array.shape[first + 2 :])))
