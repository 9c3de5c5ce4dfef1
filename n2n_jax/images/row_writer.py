"""Writes image files in blocks of rows, so that they need not fit into memory.

H height, W width, C samples; h a block of rows.

Sources are read through `n2n_jax.images`. TIFF files with any number of pages and .npy files are
streamed; the other formats hold one image, which is kept in memory.
"""

import contextlib
import dataclasses
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from n2n_jax import images
from n2n_jax.images import Frame, ImageFile, image_io
from n2n_jax.images.codecs import exr, tiff, tiff_reader
from n2n_jax.images.codecs.damage import named_in_errors
from n2n_jax.images.codecs.tiff_writer import Page, TiffWriter
from n2n_jax.images.exr_file import ExrFile
from n2n_jax.images.numpy_file import NumpyFile
from n2n_jax.images.suffixes import EXR_SUFFIX, NUMPY_SUFFIXES, TIFF_SUFFIXES, either, suffix_of
from n2n_jax.images.tiff_file import TiffFile
from n2n_jax.runtime.atomic_files import replacing
from n2n_jax.runtime.errors import UserError

_NOT_ALPHA = 0  # ExtraSamples: unspecified
_ALPHA = 2


class OneChannel(ImageFile):
    """One channel of an image, as a single-image file.

    Attributes:
      source: the open file; its owner closes it.
      index: which image of the source.
      channel: which channel of that image.
    """

    def __init__(self, source: ImageFile, index: int, channel: int) -> None:
        super().__init__(source.path)
        self.source, self.index, self.channel = source, index, channel
        frame = source.frames[index]
        self.frames = [dataclasses.replace(frame, channels=1, extra=0, axes='YX', planes=1)]

    def read(self, index: int, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Returns rows of the channel, (h, W, 1)."""
        rows_hWC = self.source.read(self.index, start, stop)
        return rows_hWC[..., self.channel : self.channel + 1]

    def metadata(self, index: int = 0) -> images.Metadata:
        """Returns the metadata of the source image."""
        return self.source.metadata(self.index)


class Target(Protocol):
    """A file being written, with images of the same sizes as a source."""

    def write(self, index: int, rows_hWC: np.ndarray) -> None:
        """Appends rows to the image with this index in the source."""
        ...


@contextlib.contextmanager
def open_target(
    path: Path, source: ImageFile, *, only: int | None = None, is_map: bool = False
) -> Iterator[Target]:
    """Opens a file for writing; it appears complete if the body succeeds, otherwise not at all.

    Args:
      path: the file to write; its suffix sets the format.
      source: gives sizes, types and metadata.
      only: index of the only source image to write; None: all images.
      is_map: write a map about the image, such as its error: float32 without alpha.

    Raises:
      UserError: the format cannot hold images like the source's, or the file cannot be written.
    """
    suffix = suffix_of(path)
    indices = range(len(source.frames)) if only is None else [only]
    if suffix in TIFF_SUFFIXES:
        with replacing(path) as file:
            tiff = _TiffTarget(file, source, indices, is_map=is_map)
            yield tiff
            tiff.writer.finish()
    elif suffix in NUMPY_SUFFIXES and isinstance(source, NumpyFile):
        with replacing(path) as file:
            if suffix == '.npy':
                yield _NpyTarget(file, source, only)
            else:
                arrays = _ArrayTarget(source, indices)
                yield arrays
                _write_npz(file, source.key or 'arr_0', arrays.array(source, only))
    elif suffix == EXR_SUFFIX and isinstance(source, ExrFile):
        arrays = _ArrayTarget(source, indices)
        yield arrays
        with named_in_errors(source.path):
            data = exr.with_colors(source.path, arrays.images[0])
        with replacing(path) as file:
            file.write(data)
    elif len(indices) == 1 and suffix in images.PICTURE_SUFFIXES:
        frame, mode = source.frames[indices[0]], _mode(source, indices[0])
        image_io.check_writable(path, frame.dtype, mode)
        arrays = _ArrayTarget(source, indices)
        yield arrays
        pixels = arrays.images[indices[0]]
        pixels = pixels[..., 0] if mode == 'gray' else pixels
        image_io.write_image(
            path, image_io.Picture(pixels, mode, source.path, source.metadata(indices[0]))
        )
    elif suffix not in images.SUFFIXES:
        raise UserError(
            f'{path} cannot be written: its name must end in {either(images.SUFFIXES)}.'
        )
    else:
        raise UserError(
            f'{path}: this format cannot hold the {_counted(len(indices))} of {source.path}; '
            f'use a name that ends in {either(dict.fromkeys((suffix_of(source.path), ".tif")))}.'
        )


def _counted(num_images: int) -> str:
    return 'image' if num_images == 1 else f'{num_images} images'


def name_of(source: ImageFile, index: int) -> str:
    """Returns the name of an image in a file, for messages."""
    if len(source.frames) == 1:
        return str(source.path)
    return f'{source.path} (image {index + 1} of {len(source.frames)})'


class _TiffTarget:
    def __init__(self, file: BinaryIO, source: ImageFile, indices: Sequence[int], *, is_map: bool):
        self._is_map = is_map
        if isinstance(source, TiffFile):
            order = source.tiff.order
            groups = {index: source.tiff.images[index] for index in indices}
            pages = _pages_to_write(source, [page for group in groups.values() for page in group])
        elif isinstance(source, OneChannel) and isinstance(source.source, TiffFile):
            order = source.source.tiff.order
            groups, pages = {0: (0,)}, {0: _page_of_channel(source.source, source)}
        else:
            order = '<'
            groups = {index: (page,) for page, index in enumerate(indices)}
            pages = {groups[index][0]: _plain_page(source, index) for index in indices}
        if is_map:
            pages = {
                number: _map_page(pages[number], source.frames[index])
                for index, group in groups.items()
                for number in group
            }
        # Pages are written in the order of the source file, rows arrive in the order of the images.
        positions = {page: position for position, page in enumerate(sorted(pages))}
        self._positions = {
            index: tuple(positions[page] for page in group) for index, group in groups.items()
        }
        self._pages = [pages[page] for page in sorted(pages)]
        self.writer = TiffWriter(file, self._pages, order=order)

    def write(self, index: int, rows_hWC: np.ndarray) -> None:
        first = 0
        for position in self._positions[index]:
            samples = self._pages[position].samples
            self.writer.write(position, rows_hWC[..., first : first + samples])
            first += samples


class _NpyTarget:
    def __init__(self, file: BinaryIO, source: NumpyFile, only: int | None):
        self._file, self._dtype = file, _written_dtype(source)
        frame = source.frames[0]
        shape = source.shape if only is None else (frame.height, frame.width, frame.channels)
        if only is not None and source.shape[-1] != frame.channels:
            shape = shape[:2]
        header = {'descr': np.lib.format.dtype_to_descr(self._dtype), 'fortran_order': False}
        np.lib.format.write_array_header_1_0(file, {**header, 'shape': shape})
        first = 0 if only is None else only
        image_bytes = frame.height * frame.width * frame.channels * self._dtype.itemsize
        self._positions = {
            index: file.tell() + (index - first) * image_bytes
            for index in (range(len(source.frames)) if only is None else [only])
        }

    def write(self, index: int, rows_hWC: np.ndarray) -> None:
        self._file.seek(self._positions[index])
        self._file.write(rows_hWC.astype(self._dtype).tobytes())
        self._positions[index] = self._file.tell()


def _written_dtype(source: NumpyFile) -> np.dtype:
    """Returns the source's type in its byte order; uint8 for booleans."""
    return source.frames[0].dtype if source.dtype == bool else source.dtype


class _ArrayTarget:
    def __init__(self, source: ImageFile, indices: Sequence[int]):
        self._rows: dict[int, list[np.ndarray]] = {index: [] for index in indices}

    def write(self, index: int, rows_hWC: np.ndarray) -> None:
        self._rows[index].append(rows_hWC)

    @property
    def images(self) -> dict[int, np.ndarray]:
        return {index: np.concatenate(rows) for index, rows in self._rows.items()}

    def array(self, source: NumpyFile, only: int | None) -> np.ndarray:
        images, dtype = self.images, _written_dtype(source)
        if only is None:
            return np.stack(list(images.values())).reshape(source.shape).astype(dtype)
        one_HWC = images[only].astype(dtype)
        return one_HWC if source.shape[-1] == one_HWC.shape[-1] else one_HWC[..., 0]


def _write_npz(file: BinaryIO, key: str, array: np.ndarray) -> None:
    """Writes an archive of one array; np.savez_compressed does not allow names such as 'file'."""
    with (
        zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as archive,
        archive.open(f'{key}.npy', 'w', force_zip64=True) as member,
    ):
        np.lib.format.write_array(member, array, allow_pickle=False)


def _mode(source: ImageFile, index: int) -> str:
    """Returns the mode of an image; raises if it is neither gray nor RGB."""
    frame = source.frames[index]
    mode = image_io.mode_of(frame)
    if not mode or frame.extra > 1:
        raise UserError(
            f'{name_of(source, index)} has {frame.samples} channels: only TIFF can hold them.'
        )
    return mode


def _pages_to_write(source: TiffFile, indices: Sequence[int]) -> dict[int, Page]:
    """Returns pages of a file as they will be written, by their index in the file."""
    with named_in_errors(source.path):
        every_page = source.tiff.pages_to_write()
    kept = [every_page[index] for index in sorted(indices)]
    if len(kept) < len(every_page):
        kept = tiff_reader.standalone(kept, every_page[0])
    return dict(zip(sorted(indices), kept, strict=True))


def _page_of_channel(source: TiffFile, one: OneChannel) -> Page:
    """Returns the page of a channel, reduced to that channel."""
    pages = source.tiff.images[one.index]
    page_of_channel = [page for page in pages for _ in range(source.tiff.pages[page].samples)]
    index = page_of_channel[one.channel]
    page = _pages_to_write(source, [index])[index]
    return dataclasses.replace(page, samples=1, rgb=False, extra=())


def _plain_page(source: ImageFile, index: int) -> Page:
    frame, metadata = source.frames[index], source.metadata(index)
    rgb = frame.channels == 3
    num_extra = 0 if rgb else frame.channels - 1
    extra = (_NOT_ALPHA,) * num_extra + (_ALPHA,) * frame.extra
    tags = tiff.metadata_tags(metadata.icc_profile, metadata.exif, metadata.dpi)
    return Page(
        frame.height, frame.width, frame.samples, frame.dtype, rgb=rgb, extra=extra,
        tags=tuple(tags),
    )  # fmt: skip


def _map_page(page: Page, frame: Frame) -> Page:
    return dataclasses.replace(
        page,
        samples=page.samples - frame.extra,
        dtype=np.dtype(np.float32),
        extra=page.extra[: len(page.extra) - frame.extra],
        white_is_zero=False,
    )
