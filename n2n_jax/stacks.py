"""Files that hold one image or a stack of them, read as raw numbers.

N images of the file, H height, W width, C channels.

What counts as an image of a stack: every position along the axes of a TIFF file that are neither
space nor colour; the first axis of a NumPy array. Opening a file reads its header, and reading some
images of a large TIFF or .npy file reads no others.
"""

import contextlib
import dataclasses
import functools
import math
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from n2n_jax import io
from n2n_jax.codecs import exr
from n2n_jax.errors import UserError

OTHER_SUFFIXES = ('.npy', '.npz', exr.SUFFIX)  # than those of `n2n_jax.io`
SUFFIXES = frozenset({*io.IMAGE_SUFFIXES, *OTHER_SUFFIXES})

_TIFF_SUFFIXES = ('.tif', '.tiff')
_MOST_CHANNELS = 4  # of an array (H, W, C), which could be a stack (N, H, W)
KINDS = ('uint8', 'uint16', 'uint32', 'int8', 'int16', 'int32', 'float16', 'float32', 'float64')


@dataclasses.dataclass(frozen=True)
class Stack:
    """A file of images.

    Attributes:
      num_images: how many, N.
      num_planes: channels of an image that lie on pages of their own (axis C of a TIFF file), 1 if
        all channels lie together.
      read: the images of these numbers, (N, H, W, C), in the type of the file; alpha is left out.
    """

    num_images: int
    num_planes: int
    read: Callable[[Sequence[int]], np.ndarray]


def open_stack(path: Path) -> Stack:
    """Reads the header of a file.

    Raises:
      UserError: no such file, damaged, or axes that are not understood; `read`: damaged, or
        numbers of a kind that is not read.
    """
    if not path.exists():
        raise UserError(f'{path}: no such file.')
    suffix = path.suffix.lower()
    if suffix in ('.npy', '.npz'):
        num_images, read = _open_numpy(path)
        num_planes = 1
    elif suffix == exr.SUFFIX:
        num_images, num_planes, read = 1, 1, lambda _: exr.read(path)[None]
    elif suffix in _TIFF_SUFFIXES and (layout := _tiff_layout(path)) is not None:
        num_images, num_planes = layout.num_images, layout.num_planes
        read = functools.partial(_read_tiff, path, layout)
    else:
        io.image_size(path)  # for its errors
        num_images, num_planes, read = 1, 1, lambda _: _read_image(path)
    return Stack(num_images, num_planes, lambda rows: _checked(path, read(rows)))


def read_stack(path: Path) -> np.ndarray:
    """All images of a file, (N, H, W, C); see `open_stack`."""
    stack = open_stack(path)
    return stack.read(range(stack.num_images))


def _checked(path: Path, stack_NHWC: np.ndarray) -> np.ndarray:
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


def _read_image(path: Path) -> np.ndarray:
    image = io.read_image(path)
    pixels_HWC = image.pixels.reshape(*image.pixels.shape[:2], -1)
    return pixels_HWC[None, ..., : 1 if 'gray' in image.mode else 3]


def _open_numpy(path: Path) -> tuple[int, Callable[[Sequence[int]], np.ndarray]]:
    with _damage_named(path, 'no NumPy file'):
        loaded = np.load(path, allow_pickle=False, mmap_mode='r')
        if isinstance(loaded, np.ndarray):
            stack_NHWC = as_stack(path, loaded)
            return len(stack_NHWC), lambda rows: np.array(stack_NHWC[list(rows)])
        with loaded:
            name = _only_name(path, loaded)
            with loaded.zip.open(f'{name}.npy') as file:
                version = np.lib.format.read_magic(file)
                header = {
                    (1, 0): np.lib.format.read_array_header_1_0,
                    (2, 0): np.lib.format.read_array_header_2_0,
                }[version]
                shape, _, dtype = header(file)
    num_images = len(as_stack(path, np.broadcast_to(np.zeros((), dtype), shape)))

    @functools.cache  # it is compressed as a whole
    def whole() -> np.ndarray:
        return as_stack(path, read_numpy(path)[1])

    return num_images, lambda rows: whole()[list(rows)]


def read_numpy(path: Path) -> tuple[str, np.ndarray]:
    """The one array of a file, and its name in there, '' in a .npy file.

    Raises:
      UserError: no such file, damaged, or several arrays.
    """
    with _damage_named(path, 'no NumPy file'):
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return '', loaded
        with loaded:
            return _only_name(path, loaded), loaded[_only_name(path, loaded)]


def _only_name(path: Path, loaded: np.lib.npyio.NpzFile) -> str:
    if len(loaded.files) != 1:
        names = ', '.join(loaded.files) or 'none'
        raise UserError(f'{path} must hold one array, not {len(loaded.files)} ({names}).')
    return loaded.files[0]


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


@contextlib.contextmanager
def _damage_named(path: Path, otherwise: str) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f'{path}: no such file.') from None
    except Exception as error:  # decoders meet damaged bytes with errors of every kind
        raise UserError(f'{path} is damaged or {otherwise} ({error}).') from error


@dataclasses.dataclass(frozen=True)
class _Layout:
    """Where the images of a TIFF file are.

    Attributes:
      num_series: of images of one kind, each with the same axes.
      axes: of a series, with their lengths in `shape`.
      shape: of a series.
      num_alpha: channels at the end that are no colours.
    """

    num_series: int
    axes: str
    shape: tuple[int, ...]
    num_alpha: int

    @property
    def frames_shape(self) -> tuple[int, ...]:
        """Of the axes that are neither space nor colour."""
        pairs = zip(self.axes, self.shape, strict=True)
        return tuple(length for axis, length in pairs if axis not in 'YXCS')

    @property
    def num_images(self) -> int:
        return self.num_series * math.prod(self.frames_shape)

    @property
    def num_planes(self) -> int:
        return dict(zip(self.axes, self.shape, strict=True)).get('C', 1)

    def image_of(self, array: np.ndarray, place: tuple[int, ...]) -> np.ndarray:
        """(H, W, C) at a place along the other axes of an array with these axes."""
        others = [i for i, axis in enumerate(self.axes) if axis not in 'YXCS']
        colors = [i for i, axis in enumerate(self.axes) if axis in 'CS']
        rest = [self.axes.index('Y'), self.axes.index('X'), *colors]
        image = array.transpose(*others, *rest)[place]
        return image.reshape(*image.shape[:2], -1)


def _image_series(tif: tifffile.TiffFile) -> list[tifffile.TiffPageSeries]:
    """Without thumbnails. Pages that were written one by one are series of one page each."""
    return [series for series in tif.series if not series.keyframe.is_reduced]


def _tiff_layout(path: Path) -> _Layout | None:
    """None for an image that `io.read_image` has to convert, such as a palette's, or refuse."""
    with path.open('rb') as file:
        if file.read(4) not in io.TIFF_MARKS:  # whatever its name
            return None
    with _damage_named(path, 'cut short'), tifffile.TiffFile(path) as tif:
        _check_whole(tif)
        found = _image_series(tif)
        first, page = found[0], found[0].keyframe
        axes, shape = first.axes, first.shape
        if any((s.axes, s.shape, s.dtype) != (axes, shape, first.dtype) for s in found):
            kinds = dict.fromkeys(
                f'{s.keyframe.imagewidth}x{s.keyframe.imagelength} of {s.dtype}' for s in found
            )
            raise UserError(
                f'{path} holds images of different sizes or types ({", ".join(kinds)}): save those '
                'of one kind as a file of their own.'
            )
        if axes.count('Y') != 1 or axes.count('X') != 1:
            raise UserError(f'{path} has the axes {axes}: rows (Y) and columns (X) are needed.')
        kinds = tifffile.PHOTOMETRIC
        converted = page.photometric in (kinds.PALETTE, kinds.YCBCR) or page.bitspersample < 8
        if page.photometric == kinds.RGB:
            num_alpha = max(0, page.samplesperpixel - 3)
        else:  # of other images, what is not marked as alpha is a channel like the others
            num_alpha = sum(kind in (1, 2) for kind in page.extrasamples)
        layout = _Layout(len(found), axes, shape, num_alpha)
    return None if converted and layout.num_images == layout.num_planes == 1 else layout


def _check_whole(tif: tifffile.TiffFile) -> None:
    """The directory of the last page must not point to another: tifffile leaves out what is cut."""
    file, form = tif.filehandle, tif.tiff
    directory = tif.pages[-1].offset
    file.seek(directory)
    (num_tags,) = struct.unpack(form.tagnoformat, file.read(form.tagnosize))
    file.seek(directory + form.tagnosize + num_tags * form.tagsize)
    (following,) = struct.unpack(form.offsetformat, file.read(form.offsetsize))
    if following:
        raise EOFError(f'pages are missing behind the first {len(tif.pages)}')


def _read_tiff(path: Path, layout: _Layout, rows: Sequence[int]) -> np.ndarray:
    places = [np.unravel_index(row, (layout.num_series, *layout.frames_shape)) for row in rows]
    with _damage_named(path, 'cut short'), tifffile.TiffFile(path) as tif:
        found = _image_series(tif)
        images = [_read_place(tif, found[place[0]], layout, place[1:]) for place in places]
        page = found[0].keyframe
    stack_NHWC = np.stack(images)
    if layout.num_alpha:
        stack_NHWC = stack_NHWC[..., : -layout.num_alpha]
    if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE and stack_NHWC.dtype.kind == 'u':
        stack_NHWC = np.invert(stack_NHWC)  # as in single images
    return stack_NHWC.astype(stack_NHWC.dtype.newbyteorder('='), copy=False)


def _read_place(
    tif: tifffile.TiffFile,
    series: tifffile.TiffPageSeries,
    layout: _Layout,
    place: tuple[int, ...],
) -> np.ndarray:
    """(H, W, C) at a place along the axes that are neither space nor colour."""
    if series.dataoffset is not None:  # uncompressed, in one piece
        dtype = np.dtype(tif.byteorder + series.dtype.char)
        pixels = tif.filehandle.memmap_array(dtype, series.shape, series.dataoffset, mode='r')
        return np.array(layout.image_of(pixels, place))
    page_axes = series.keyframe.axes
    leading = layout.shape[: len(layout.axes) - len(page_axes)]
    if not layout.axes.endswith(page_axes) or math.prod(leading) != len(series.pages):
        return np.array(layout.image_of(series.asarray(), place))
    # The pages of this place, one or one for each channel.
    numbers = np.arange(math.prod(leading)).reshape(leading)
    rest = iter(place)
    index = tuple(
        slice(None) if axis == 'C' else next(rest) for axis in layout.axes[: len(leading)]
    )
    planes = [_read_page(tif, series.pages[int(number)]) for number in np.ravel(numbers[index])]
    planes_HWC = [
        np.moveaxis(plane, 0, -1) if page_axes == 'SYX' else plane.reshape(*plane.shape[:2], -1)
        for plane in planes
    ]
    return np.concatenate(planes_HWC, axis=-1)


def _read_page(tif: tifffile.TiffFile, page: tifffile.TiffPage | tifffile.TiffFrame) -> np.ndarray:
    # A sparse or cut segment would come back as zeros.
    for start, length in zip(page.dataoffsets, page.databytecounts, strict=True):
        if not (start and length and start + length <= tif.filehandle.size):
            raise EOFError('it ends before its last pixel')
    try:
        return page.asarray()
    except ValueError as error:
        if 'imagecodecs' not in str(error):
            raise
    # libtiff, which Pillow brings along, knows LZW and more.
    with Image.open(tif.filehandle.path) as image:
        image.seek(page.index)
        pixels = np.asarray(image)
    if pixels.shape != page.shape or pixels.dtype != page.dtype:
        raise UserError(
            f'{tif.filehandle.path} is compressed in a way that is not read: save it uncompressed '
            'or with Deflate (ZIP), or install imagecodecs.'
        )
    return pixels
