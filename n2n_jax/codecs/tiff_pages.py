"""TIFF files of any number of pages, read some rows at a time.

H height, W width, C samples.
"""

import dataclasses
import struct
from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple

import numpy as np
import tifffile

from n2n_jax.codecs import tiff, tiff_tags
from n2n_jax.codecs.tiff_tags import Tag
from n2n_jax.codecs.tiff_writer import Page
from n2n_jax.errors import UserError

_DTYPES = frozenset(
    ('uint8', 'uint16', 'uint32', 'int8', 'int16', 'int32', 'float16', 'float32', 'float64')
)
_UNKNOWN, _PREMULTIPLIED, _ALPHA = 0, 1, 2  # ExtraSamples
_IMAGEJ_TAGS = (50838, 50839)  # labels of all images of a stack
# Lines of ImageJ's description that say how its images lie in the file.
_IMAGEJ_LAYOUT = (b'images=', b'channels=', b'slices=', b'frames=', b'hyperstack=')


class TiffPages:
    """The images of a file, thumbnails and smaller versions left out.

    Args:
      file: stays open as long as rows are read.

    Attributes:
      pages: what each holds, with the tags that last.
      groups: which of them belong together as the channels of one image, in their order; most
        often every page is on its own.
      order: of bytes, '<' or '>'.

    Raises:
      UserError: samples or colours of a kind that we do not handle.
      EOFError: pixels or pages are missing.
    """

    def __init__(self, file: BinaryIO):
        self._file = file
        self._tif = tif = tifffile.TiffFile(file, _multifile=False)
        self.order = tif.byteorder
        if len(tif.pages) != _count_directories(file, tif):
            raise EOFError('its last pages are missing')
        self._sources = [
            (index, page) for index, page in enumerate(tif.pages) if not page.is_reduced
        ]
        for _, page in self._sources:
            tiff.check_whole(file, page)
        self.pages = [self._described(page) for _, page in self._sources]
        self._frame_bytes = 0  # from one image to the next where a single directory is for all
        self._unfold_single_directory()
        self.groups = self._channel_groups()
        self._decoded_of = -1  # page that the following are of
        self._whole: np.ndarray | None = None  # what can only be decoded at once
        self._begun: dict[int, _Block] = {}  # segments whose last rows have not been asked for

    def has_alpha(self, index: int) -> bool:
        """Whether the last sample of a page is alpha rather than a channel."""
        page = self.pages[index]
        if len(page.extra) != 1:
            return False
        # Many programs do not say that it is, but beside RGB it could hardly be anything else.
        return page.rgb or page.extra[0] in (_PREMULTIPLIED, _ALPHA)

    def read(self, index: int, start: int, stop: int) -> np.ndarray:
        """Rows `start` to `stop` of a page, (rows, W, C), in its own type."""
        page = self.pages[index]
        number, source = self._sources[0 if self._frame_bytes else index]
        rows_HWC = np.empty((stop - start, page.width, page.samples), page.dtype)
        if self._reads_in_place(source):
            self._read_in_place(rows_HWC, source, start, index)
        else:
            if number != self._decoded_of:
                self._decoded_of, self._whole, self._begun = number, None, {}
            for block in self._blocks(number, source, page, start, stop):
                h, w, c = block.pixels_HWC.shape
                first, last = max(block.top, start), min(block.top + h, stop)
                rows_HWC[
                    first - start : last - start,
                    block.left : block.left + w,
                    block.sample : block.sample + c,
                ] = block.pixels_HWC[first - block.top : last - block.top]
        return rows_HWC

    def _described(self, source: tifffile.TiffPage) -> Page:
        converted = tiff.is_converted(source)
        dtype = np.dtype(np.uint8 if converted else source.dtype or 'V')
        if dtype.name not in _DTYPES:
            raise UserError(
                f'holds {dtype.name} samples; integers of up to 32 bits and floats are read. '
                'Convert it to one of these first.'
            )
        photometric = tifffile.PHOTOMETRIC
        rgb = source.photometric in (photometric.RGB, photometric.YCBCR, photometric.PALETTE)
        if not rgb and source.photometric not in (photometric.MINISBLACK, photometric.MINISWHITE):
            kind = getattr(source.photometric, 'name', source.photometric)
            raise UserError(f'holds {kind} colours. Convert it to RGB or gray first.')
        if source.imagedepth > 1:
            raise UserError('holds volumes in single pages. Save it with a page per image.')
        samples = 3 if source.photometric == photometric.PALETTE else source.samplesperpixel
        num_extra = max(0, samples - (3 if rgb else 1))
        extra = tuple(int(kind) for kind in source.extrasamples)[:num_extra]
        tags = tiff_tags.lasting(
            tiff_tags.read_directory(
                self._file, source.offset, self._tif.byteorder, self._tif.is_bigtiff
            )
        )
        if icc_tag := source.tags.get(tiff_tags.ICC_PROFILE):
            tags.append(tiff_tags.profile(bytes(icc_tag.value)))
        if source.planarconfig == tifffile.PLANARCONFIG.SEPARATE:  # samples go together now
            tags = [tag for tag in tags if not _is_shape(_words(tag))]
        return Page(
            source.imagelength,
            source.imagewidth,
            samples,
            dtype.newbyteorder('='),
            rgb=rgb,
            extra=extra + (_UNKNOWN,) * (num_extra - len(extra)),
            compressed=source.compression != tifffile.COMPRESSION.NONE,
            tags=tuple(tags),
        )

    def _unfold_single_directory(self) -> None:
        """ImageJ writes one directory for a stack of more than 4 GB, tifffile on request."""
        if len(self.pages) != 1 or self._tif.series[0].dataoffset is None:
            return
        page, (_, source) = self.pages[0], self._sources[0]
        count = int(np.prod(self._tif.series[0].shape)) * page.dtype.itemsize // page.num_bytes
        if count < 2:
            return
        start = source.dataoffsets[0]
        if start + count * page.num_bytes > self._file.seek(0, 2):
            raise EOFError('it ends before its last image')
        self._frame_bytes = page.num_bytes
        tags = [tag for tag in page.tags if tag.code != tiff_tags.DESCRIPTION]
        described = [_not_truncated(tag) for tag in page.tags if tag.code == tiff_tags.DESCRIPTION]
        plain = dataclasses.replace(page, tags=())
        first = dataclasses.replace(page, tags=(*tags, *described))
        self.pages = [first] + [plain] * (count - 1)

    def _channel_groups(self) -> list[tuple[int, ...]]:
        """Pages by image, where the axes say that channels have pages of their own."""
        alone = [(index,) for index in range(len(self.pages))]
        if not (self._tif.is_imagej or self._tif.is_ome or self._tif.is_shaped):
            return alone
        if len(self.pages) < 2 or len(self._tif.series) != 1:
            return alone
        series = self._tif.series[0]
        axes = ''.join(axis for axis in series.axes if axis not in 'YXS')
        shape = [size for axis, size in zip(series.axes, series.shape, strict=True) if axis in axes]
        if axes.count('C') != 1 or int(np.prod(shape)) != len(self.pages):
            return alone
        numbers = np.arange(len(self.pages)).reshape(shape)
        if not self._frame_bytes:
            places = {number: place for place, (number, _) in enumerate(self._sources)}
            in_file = [None if page is None else places.get(page.index) for page in series.pages]
            if None in in_file or len(in_file) != len(self.pages):
                return alone
            numbers = np.array(in_file).reshape(shape)
        grouped = np.moveaxis(numbers, axes.index('C'), -1).reshape(-1, shape[axes.index('C')])
        return [tuple(int(index) for index in group) for group in grouped]

    def _reads_in_place(self, source: tifffile.TiffPage) -> bool:
        """Whether any rows of it lie in the file as they will in memory."""
        return (
            source.compression == tifffile.COMPRESSION.NONE
            and not source.is_tiled
            and not tiff.is_converted(source)
            and source.bitspersample == 8 * np.dtype(source.dtype).itemsize
            and source.fillorder == 1
        )

    def _read_in_place(
        self, rows_HWC: np.ndarray, source: tifffile.TiffPage, start: int, index: int
    ) -> None:
        height, width, samples = source.imagelength, source.imagewidth, rows_HWC.shape[2]
        planes = samples if source.planarconfig == tifffile.PLANARCONFIG.SEPARATE else 1
        dtype = rows_HWC.dtype.newbyteorder(self._tif.byteorder)
        row_bytes = width * samples // planes * dtype.itemsize
        strip_rows = min(source.rowsperstrip, height)
        num_strips = -(-height // strip_rows)
        stop = start + len(rows_HWC)
        for plane in range(planes):
            row = start
            while row < stop:
                strip, skipped = divmod(row, strip_rows)
                count = min(strip_rows - skipped, stop - row)
                offset = source.dataoffsets[plane * num_strips + strip] + skipped * row_bytes
                self._file.seek(offset + (index * self._frame_bytes if self._frame_bytes else 0))
                data = self._file.read(count * row_bytes)
                if len(data) < count * row_bytes:
                    raise EOFError('it ends before its last pixel')
                block = _positive(source, np.frombuffer(data, dtype).reshape(count, width, -1))
                target = rows_HWC[row - start : row - start + count]
                target[..., plane : plane + block.shape[2]] = block
                row += count

    def _blocks(
        self, number: int, source: tifffile.TiffPage, page: Page, start: int, stop: int
    ) -> Iterator['_Block']:
        """The decoded strips or tiles that touch some rows, or all of the page."""
        if self._whole is None and not tiff.is_converted(source):
            try:
                yield from self._segments(source, page, start, stop)
                return
            except ValueError as error:
                if 'imagecodecs' not in str(error):  # what tifffile lacks for this compression
                    raise
        if self._whole is None:
            pixels = tiff.decode_page(
                self._file, source, tiff.mode_of(source), _DTYPES, index=number
            )
            self._whole = pixels.reshape(page.height, page.width, page.samples)
        yield _Block(self._whole, 0, 0, 0)

    def _segments(
        self, source: tifffile.TiffPage, page: Page, start: int, stop: int
    ) -> Iterator['_Block']:
        if source.is_tiled:
            high, across = source.tilelength, -(-page.width // source.tilewidth)
        else:
            high, across = min(source.rowsperstrip, page.height), 1
        down = -(-page.height // high)
        planes = 1
        if source.planarconfig == tifffile.PLANARCONFIG.SEPARATE:
            planes = page.samples
        begun = {}
        for plane in range(planes):
            for row in range(start // high, -(-stop // high)):
                for column in range(across):
                    segment = (plane * down + row) * across + column
                    block = self._begun.get(segment) or self._decode(source, segment)
                    if block.top + len(block.pixels_HWC) > stop:
                        begun[segment] = block
                    yield block
        self._begun = begun

    def _decode(self, source: tifffile.TiffPage, segment: int) -> '_Block':
        self._file.seek(source.dataoffsets[segment])
        data = self._file.read(source.databytecounts[segment])
        pixels, (plane, _, top, left, _), _ = source.decode(
            data, segment, jpegtables=source.jpegtables
        )
        pixels_HWC = pixels[0, : source.imagelength - top, : source.imagewidth - left]
        return _Block(_positive(source, pixels_HWC), top, left, plane)


class _Block(NamedTuple):
    pixels_HWC: np.ndarray
    top: int
    left: int
    sample: int  # that its first one is


def _positive(source: tifffile.TiffPage, pixels: np.ndarray) -> np.ndarray:
    """Pixels of which 0 is black."""
    white_is_zero = source.photometric == tifffile.PHOTOMETRIC.MINISWHITE
    return np.invert(pixels) if white_is_zero and pixels.dtype.kind == 'u' else pixels


def alone(pages: Sequence[Page], first: Page) -> list[Page]:
    """The channels of one image as all that a file holds: no word of a stack is left.

    `first` is the first page of the stack, which has what ImageJ says about all of them.
    """
    layout = [f'images={len(pages)}', f'channels={len(pages)}'] if len(pages) > 1 else []
    imagej = [tag for tag in first.tags if _words(tag).startswith(b'ImageJ=')]
    about = []
    for tag in imagej:
        lines = [line for line in _words(tag).split(b'\n') if not line.startswith(_IMAGEJ_LAYOUT)]
        lines[1:1] = [line.encode() for line in layout]
        about.append(tiff_tags.text(tag.code, b'\n'.join(lines)))
    kept = []
    for page in pages:
        tags = [tag for tag in page.tags if tag.code not in _IMAGEJ_TAGS]
        tags = [tag for tag in tags if not _is_about_stack(_words(tag))]
        kept.append(dataclasses.replace(page, tags=tuple(tags)))
    kept[0] = dataclasses.replace(kept[0], tags=(*kept[0].tags, *about))
    return kept


def _words(tag: Tag) -> bytes:
    """A description; '' of all other tags."""
    is_text = tag.code == tiff_tags.DESCRIPTION and isinstance(tag.value, bytes)
    return tag.value.rstrip(b'\0') if is_text else b''


def _is_about_stack(words: bytes) -> bool:
    return words.startswith(b'ImageJ=') or b'<OME' in words or _is_shape(words)


def _is_shape(words: bytes) -> bool:
    """Whether it is what tifffile writes about the shape of an array."""
    return words.startswith(b'{"shape"')


def _not_truncated(description: Tag) -> Tag:
    """tifffile's words about a stack, less the one that says that directories are missing."""
    words = _words(description).replace(b', "truncated": true', b'')
    return tiff_tags.text(description.code, words)


def _count_directories(file: BinaryIO, tif: tifffile.TiffFile) -> int:
    """How many directories the file should have; tifffile leaves out those that it cannot read."""
    order, big = tif.byteorder, tif.is_bigtiff
    count_format, word, entry_bytes = ('Q', 'Q', 20) if big else ('H', 'I', 12)
    seen: set[int] = set()
    offset = tif.pages.first.offset
    try:
        while offset and offset not in seen:
            seen.add(offset)
            file.seek(offset)
            head = file.read(struct.calcsize('=' + count_format))
            (length,) = struct.unpack(order + count_format, head)
            file.seek(length * entry_bytes, 1)
            (offset,) = struct.unpack(order + word, file.read(struct.calcsize('=' + word)))
    except struct.error as error:
        raise EOFError('its last pages are missing') from error
    return len(seen)
