"""Image files read and written some rows at a time, so that they need not fit into the memory.

N images of a file, H height, W width, C samples. An h in place of H: some rows.

TIFF files of any number of pages and NumPy arrays are read and written in pieces; the other formats
hold one image, which is kept in memory.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

import numpy as np

from n2n_jax import io, stacks
from n2n_jax.codecs import exr, tiff_pages
from n2n_jax.codecs.tiff_writer import Page, TiffWriter
from n2n_jax.errors import UserError

TIFF_SUFFIXES = ('.tif', '.tiff')
NUMPY_SUFFIXES = ('.npy', '.npz')
_NOT_ALPHA = 0  # ExtraSamples: not said
_ALPHA = 2


class Frame(NamedTuple):
    """An image of a file.

    Attributes:
      height: rows.
      width: columns.
      channels: alpha not counted.
      has_alpha: whether a sample of alpha follows them.
      dtype: of a sample.
    """

    height: int
    width: int
    channels: int
    has_alpha: bool
    dtype: np.dtype


class Source(Protocol):
    """A file to read.

    Attributes:
      path: of the file.
      frames: its images.
    """

    path: Path
    frames: Sequence[Frame]

    def read(self, index: int, start: int, stop: int) -> np.ndarray:
        """Rows `start` to `stop` of an image, (h, W, C), alpha last; UserError if damaged."""
        ...


class Target(Protocol):
    """A file to write, with images of the sizes of a source."""

    def write(self, index: int, rows_hWC: np.ndarray) -> None:
        """Appends rows to an image, whose place is that in the source."""
        ...


@contextlib.contextmanager
def open_source(path: Path) -> Iterator[Source]:
    """Opens a file for reading.

    Raises:
      UserError: it is missing, damaged, or of a kind that is not read.
    """
    if path.suffix.lower() in NUMPY_SUFFIXES:
        yield _NumpySource(path)
    elif path.suffix.lower() == exr.SUFFIX:
        yield _ExrSource(path)
    elif path.suffix.lower() in TIFF_SUFFIXES and io.is_tiff(path):
        with contextlib.ExitStack() as stack:
            with io.named_in_errors(path):
                file = stack.enter_context(path.open('rb'))
                source = _TiffSource(path, file)
            yield source
    else:
        if path.suffix.lower() not in stacks.SUFFIXES:
            raise UserError(f'{path} is not read: its name must end in {_endings()}.')
        yield _ImageSource(path)


@contextlib.contextmanager
def open_target(
    path: Path, source: Source, *, only: int | None = None, is_map: bool = False
) -> Iterator[Target]:
    """Opens a file for writing; it appears whole if the body ends well, and else not at all.

    Args:
      path: where to; its suffix is the format.
      source: what sizes, types and metadata are taken from.
      only: the one image of the source that the file will hold; otherwise all.
      is_map: it will hold numbers about the image, not the image: float32, no alpha.

    Raises:
      UserError: the format cannot hold what the source has, or the file cannot be written.
    """
    suffix = path.suffix.lower()
    indices = range(len(source.frames)) if only is None else [only]
    if suffix in TIFF_SUFFIXES:
        with io.replacing(path) as file:
            tiff = _TiffTarget(file, source, indices, is_map=is_map)
            yield tiff
            tiff.writer.finish()
    elif suffix in NUMPY_SUFFIXES and isinstance(source, _NumpySource):
        with io.replacing(path) as file:
            if suffix == '.npy':
                yield _NpyTarget(file, source, only)
            else:
                arrays = _ArrayTarget(source, indices)
                yield arrays
                np.savez_compressed(file, **{source.key: arrays.array(source, only)})
    elif suffix == exr.SUFFIX and isinstance(source, _ExrSource):
        arrays = _ArrayTarget(source, indices)
        yield arrays
        with io.replacing(path) as file:
            file.write(exr.with_colors(source.path, arrays.images[0]))
    elif len(indices) == 1 and suffix in io.IMAGE_SUFFIXES:
        arrays = _ArrayTarget(source, indices)
        yield arrays
        pixels_HWC = arrays.images[indices[0]]
        io.write_image(path, _like(source, indices[0], pixels_HWC))
    elif suffix not in stacks.SUFFIXES:
        raise UserError(f'{path} cannot be written: let its name end in {_endings()}.')
    else:
        raise UserError(
            f'{path}: this kind of file cannot hold the {len(indices)} images of {source.path}; '
            f'let its name end in {source.path.suffix.lower()} or .tif.'
        )


def _endings() -> str:
    *others, last = sorted(stacks.SUFFIXES)
    return f'{", ".join(others)} or {last}'


def name_of(source: Source, index: int) -> str:
    """An image of a file, for messages."""
    if len(source.frames) == 1:
        return str(source.path)
    return f'{source.path} (image {index + 1} of {len(source.frames)})'


class _TiffSource:
    def __init__(self, path: Path, file: BinaryIO):
        self.path = path
        self.tiff = tiff_pages.TiffPages(file)
        self.frames = []
        for group in self.tiff.groups:
            pages = [self.tiff.pages[index] for index in group]
            first = pages[0]
            alpha = len(group) == 1 and self.tiff.has_alpha(group[0])
            channels = sum(page.samples for page in pages) - alpha
            if len({(page.height, page.width, page.dtype) for page in pages}) > 1:
                raise UserError('has channels of different sizes or types.')
            self.frames.append(Frame(first.height, first.width, channels, alpha, first.dtype))

    def read(self, index: int, start: int, stop: int) -> np.ndarray:
        with io.named_in_errors(self.path):
            parts = [self.tiff.read(page, start, stop) for page in self.tiff.groups[index]]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)


class _NumpySource:
    def __init__(self, path: Path):
        self.path = path
        self.key = ''
        self._loaded: np.ndarray | None = None
        if path.suffix.lower() == '.npz':
            self.key, self._loaded = stacks.read_numpy(path)
        array = self._array()
        self.shape, self.dtype = array.shape, array.dtype
        if self.dtype.name not in stacks.KINDS:
            raise UserError(
                f'{path} holds {self.dtype.name} values: save it with integers of up to 32 bits or '
                'with floats.'
            )
        if not array.size:
            raise UserError(f'{path} holds no pixels (its shape is {self.shape}).')
        count, height, width, channels = stacks.as_stack(path, array).shape
        dtype = self.dtype.newbyteorder('=')
        self.frames = [Frame(height, width, channels, False, dtype)] * count

    def read(self, index: int, start: int, stop: int) -> np.ndarray:
        rows_hWC = stacks.as_stack(self.path, self._array())[index, start:stop]
        return np.array(rows_hWC, self.dtype.newbyteorder('='), order='C')

    def _array(self) -> np.ndarray:
        if self._loaded is not None:
            return self._loaded
        # Mapped for each piece anew: what was read stays in memory as long as the map.
        with io.named_in_errors(self.path):
            return np.load(self.path, mmap_mode='r', allow_pickle=False)


class _ImageSource:
    def __init__(self, path: Path):
        self.path = path
        self.image = io.read_image(path)
        pixels = np.atleast_3d(self.image.pixels)
        has_alpha = self.image.mode in ('gray+alpha', 'rgba')
        h, w, samples = pixels.shape
        self.frames = [Frame(h, w, samples - has_alpha, has_alpha, pixels.dtype)]

    def read(self, index: int, start: int, stop: int) -> np.ndarray:
        return np.atleast_3d(self.image.pixels)[start:stop]


class _ExrSource:
    def __init__(self, path: Path):
        self.path = path
        self._pixels_HWC = exr.read(path)
        h, w, channels = self._pixels_HWC.shape
        self.frames = [Frame(h, w, channels, False, self._pixels_HWC.dtype)]

    def read(self, index: int, start: int, stop: int) -> np.ndarray:
        return self._pixels_HWC[start:stop]


class _TiffTarget:
    def __init__(self, file: BinaryIO, source: Source, indices: Sequence[int], *, is_map: bool):
        self._is_map = is_map
        if isinstance(source, _TiffSource):
            tiff, order = source.tiff, source.tiff.order
            groups = {index: tiff.groups[index] for index in indices}
            pages = {page: tiff.pages[page] for group in groups.values() for page in group}
            if len(pages) < len(tiff.pages):
                kept = tiff_pages.alone([pages[page] for page in sorted(pages)], tiff.pages[0])
                pages = dict(zip(sorted(pages), kept, strict=True))
        else:
            order = '<'
            groups = {index: (place,) for place, index in enumerate(indices)}
            pages = {groups[index][0]: _plain_page(source.frames[index]) for index in indices}
        if is_map:
            pages = {
                place: _map_page(page, source.frames[index])
                for index, group in groups.items()
                for place, page in ((place, pages[place]) for place in group)
            }
        # Pages lie in the file in their order, rows come in that of the images.
        places = {page: place for place, page in enumerate(sorted(pages))}
        self._places = {
            index: tuple(places[page] for page in group) for index, group in groups.items()
        }
        self._pages = [pages[page] for page in sorted(pages)]
        self.writer = TiffWriter(file, self._pages, order=order)

    def write(self, index: int, rows_hWC: np.ndarray) -> None:
        first = 0
        for place in self._places[index]:
            samples = self._pages[place].samples
            self.writer.write(place, rows_hWC[..., first : first + samples])
            first += samples


class _NpyTarget:
    def __init__(self, file: BinaryIO, source: _NumpySource, only: int | None):
        self._file, self._dtype = file, source.dtype
        height, width, channels, *_ = source.frames[0]
        shape = source.shape if only is None else (height, width, channels)
        if only is not None and source.shape[-1] != channels:
            shape = shape[:2]
        header = {'descr': np.lib.format.dtype_to_descr(self._dtype), 'fortran_order': False}
        np.lib.format.write_array_header_1_0(file, {**header, 'shape': shape})
        first = 0 if only is None else only
        image_bytes = height * width * channels * self._dtype.itemsize
        self._positions = {
            index: file.tell() + (index - first) * image_bytes
            for index in (range(len(source.frames)) if only is None else [only])
        }

    def write(self, index: int, rows_hWC: np.ndarray) -> None:
        self._file.seek(self._positions[index])
        self._file.write(rows_hWC.astype(self._dtype).tobytes())
        self._positions[index] = self._file.tell()


class _ArrayTarget:
    def __init__(self, source: Source, indices: Sequence[int]):
        self._rows: dict[int, list[np.ndarray]] = {index: [] for index in indices}

    def write(self, index: int, rows_hWC: np.ndarray) -> None:
        self._rows[index].append(rows_hWC)

    @property
    def images(self) -> dict[int, np.ndarray]:
        return {index: np.concatenate(rows) for index, rows in self._rows.items()}

    def array(self, source: _NumpySource, only: int | None) -> np.ndarray:
        images = self.images
        if only is None:
            return np.stack(list(images.values())).reshape(source.shape).astype(source.dtype)
        one_HWC = images[only].astype(source.dtype)
        return one_HWC if source.shape[-1] == one_HWC.shape[-1] else one_HWC[..., 0]


def _like(source: Source, index: int, pixels_HWC: np.ndarray) -> io.ImageFile:
    """An image with the metadata of a source, whatever its format."""
    if isinstance(source, _ImageSource):
        pixels = pixels_HWC.reshape(source.image.pixels.shape)
        return dataclasses.replace(source.image, pixels=pixels)
    frame = source.frames[index]
    if frame.channels not in (1, 3):
        raise UserError(
            f'{name_of(source, index)} has {frame.channels} channels: only TIFF can hold them.'
        )
    mode = ('gray+alpha' if frame.has_alpha else 'gray') if frame.channels == 1 else 'rgb'
    mode = 'rgba' if frame.channels == 3 and frame.has_alpha else mode
    pixels = pixels_HWC[..., 0] if mode == 'gray' else pixels_HWC
    if isinstance(source, _TiffSource) and len(source.frames) == 1:
        return dataclasses.replace(io.read_image(source.path), pixels=pixels, mode=mode)
    return io.ImageFile(pixels, mode, source.path)


def _plain_page(frame: Frame) -> Page:
    rgb = frame.channels == 3
    num_extra = 0 if rgb else frame.channels - 1
    extra = (_NOT_ALPHA,) * num_extra + (_ALPHA,) * frame.has_alpha
    samples = frame.channels + frame.has_alpha
    return Page(frame.height, frame.width, samples, frame.dtype, rgb=rgb, extra=extra)


def _map_page(page: Page, frame: Frame) -> Page:
    return dataclasses.replace(
        page,
        samples=page.samples - frame.has_alpha,
        dtype=np.dtype(np.float32),
        extra=page.extra[: len(page.extra) - frame.has_alpha],
    )
