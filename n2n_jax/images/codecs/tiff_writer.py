"""Writes TIFF and BigTIFF files of any number of pages in blocks of rows.

H height, W width, C samples.

Not by tifffile, which can write neither EXIF nor several pages in alternation.
"""

import dataclasses
import struct
import zlib
from collections.abc import Sequence
from typing import BinaryIO

import numpy as np

from n2n_jax.images.codecs import tiff_tags
from n2n_jax.images.codecs.tiff_tags import LONG, LONG8, SHORT, ByteOrder, Tag, number_tag

_STRIP_BYTES = 1 << 18
_CLASSIC_BYTES = 4_000_000_000  # of pixels; offsets have 32 bits, and tags need some space


@dataclasses.dataclass(frozen=True)
class Page:
    """Layout and tags of a page to write.

    Attributes:
      height: rows.
      width: columns.
      samples: samples per pixel.
      dtype: type of a sample, integer or float.
      rgb: whether the first three samples are a color; else the first one is gray.
      extra: ExtraSamples codes of the other samples: 0 unspecified, 1 premultiplied alpha,
        2 straight alpha.
      white_is_zero: whether larger samples are darker.
      compressed: use Deflate, with the horizontal predictor for integers.
      tags: further tags; none about the layout of the pixels.
    """

    height: int
    width: int
    samples: int
    dtype: np.dtype
    rgb: bool = False
    extra: tuple[int, ...] = ()
    white_is_zero: bool = False
    compressed: bool = True
    tags: tuple[Tag, ...] = ()

    @property
    def num_bytes(self) -> int:
        """Bytes of the pixels in memory."""
        return self.height * self.width * self.samples * self.dtype.itemsize


class TiffWriter:
    """Writes strips as rows arrive, and the directories at the end.

    Args:
      file: empty and seekable.
      pages: in file order.
      order: byte order, '<' or '>'.
    """

    def __init__(self, file: BinaryIO, pages: Sequence[Page], *, order: ByteOrder = '<'):
        self._file, self._pages, self._order = file, pages, order
        self._big = sum(page.num_bytes for page in pages) > _CLASSIC_BYTES
        self._starts: list[list[int]] = [[] for _ in pages]
        self._lengths: list[list[int]] = [[] for _ in pages]
        self._num_rows = [0] * len(pages)
        self._pending: dict[int, np.ndarray] = {}  # rows of incomplete strips
        self._end = file.write(bytes(16 if self._big else 8))  # the header is written last

    def write(self, index: int, rows_HWC: np.ndarray) -> None:
        """Appends any number of rows to a page."""
        page = self._pages[index]
        self._num_rows[index] += len(rows_HWC)
        if index in self._pending:
            rows_HWC = np.concatenate((self._pending.pop(index), rows_HWC))
        strip = self._strip_rows(page)
        full = len(rows_HWC)
        if self._num_rows[index] < page.height:
            full -= full % strip
        for top in range(0, full, strip):
            self._write_strip(index, rows_HWC[top : min(top + strip, full)])
        if full < len(rows_HWC):
            self._pending[index] = rows_HWC[full:].copy()

    def finish(self) -> None:
        """Writes the directories and the header.

        Raises:
          ValueError: rows are missing, or tags push a classic TIFF beyond 4 GiB.
        """
        for page, num_rows in zip(self._pages, self._num_rows, strict=True):
            if num_rows != page.height:
                raise ValueError(f'{num_rows} of {page.height} rows were written')
        first = self._end
        for index in range(len(self._pages)):
            is_last = index == len(self._pages) - 1
            self._append(
                tiff_tags.packed_directory(
                    self._tags(index), self._end, order=self._order, big=self._big, is_last=is_last
                )
            )
        if not self._big and self._end >= 1 << 32:
            raise ValueError('the file would exceed 4 GiB')
        mark = b'II' if self._order == '<' else b'MM'
        if self._big:
            header = struct.pack(self._order + '2sHHHQ', mark, 43, 8, 0, first)
        else:
            header = struct.pack(self._order + '2sHI', mark, 42, first)
        self._file.seek(0)
        self._file.write(header)

    def _write_strip(self, index: int, rows_HWC: np.ndarray) -> None:
        page = self._pages[index]
        dtype = page.dtype.newbyteorder(self._order)
        if page.compressed and page.dtype.kind in 'iu':
            # The predictor is defined modulo 2^bits, hence unsigned.
            unsigned_HWC = rows_HWC.view(f'u{page.dtype.itemsize}')
            dtype = np.dtype(f'u{page.dtype.itemsize}').newbyteorder(self._order)
            rows_HWC = np.concatenate((unsigned_HWC[:, :1], np.diff(unsigned_HWC, axis=1)), axis=1)
        data = np.ascontiguousarray(rows_HWC, dtype).tobytes()
        if page.compressed:
            data = zlib.compress(data)
        self._starts[index].append(self._end)
        self._lengths[index].append(len(data))
        self._append(data)

    def _append(self, data: bytes) -> None:
        self._file.write(data)
        self._file.write(bytes(len(data) % 2))  # offsets must be even
        self._end += len(data) + len(data) % 2

    def _strip_rows(self, page: Page) -> int:
        return max(1, _STRIP_BYTES // (page.width * page.samples * page.dtype.itemsize))

    def _tags(self, index: int) -> list[Tag]:
        page = self._pages[index]
        sample_format = {'u': 1, 'i': 2, 'f': 3}[page.dtype.kind]
        tags = [
            number_tag(256, LONG, page.width),
            number_tag(257, LONG, page.height),
            number_tag(258, SHORT, *[8 * page.dtype.itemsize] * page.samples),
            number_tag(259, SHORT, 8 if page.compressed else 1),
            number_tag(262, SHORT, 2 if page.rgb else 0 if page.white_is_zero else 1),
            number_tag(273, LONG8 if self._big else LONG, *self._starts[index]),
            number_tag(277, SHORT, page.samples),
            number_tag(278, LONG, self._strip_rows(page)),
            number_tag(279, LONG8 if self._big else LONG, *self._lengths[index]),
            number_tag(284, SHORT, 1),
            number_tag(339, SHORT, *[sample_format] * page.samples),
        ]
        if page.compressed and page.dtype.kind in 'iu':
            tags.append(number_tag(317, SHORT, 2))
        if page.extra:
            tags.append(number_tag(338, SHORT, *page.extra))
        return [*tags, *page.tags]
