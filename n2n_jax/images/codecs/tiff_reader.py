"""Reads multi-page TIFF files: images, rows and metadata.

W width, C samples; h a block of rows.

tifffile parses directories and the descriptions of OME, ImageJ and others. Of its series only the
axes are used here: a series assumes that all pages are stored like the first one, and may span
several files, while here each file must be read on its own.
"""

import dataclasses
import logging
import math
import struct
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np
import tifffile

from n2n_jax.images.codecs import tiff_directories, tiff_tags
from n2n_jax.images.codecs.damage import decoding
from n2n_jax.images.codecs.tiff_page import TiffPage
from n2n_jax.images.codecs.tiff_tags import Tag
from n2n_jax.images.codecs.tiff_writer import Page
from n2n_jax.runtime.errors import UserError

# Kinds of tifffile series whose axes say more than the order of the pages.
_WITH_AXES = ('imagej', 'ome', 'shaped', 'stk', 'mmstack', 'ndtiff', 'scanimage', 'fluoview')
_IMAGEJ_TAGS = (50838, 50839)  # labels of all images of a stack
# Lines of ImageJ's description that give the layout of its images.
_IMAGEJ_LAYOUT = (b'images=', b'channels=', b'slices=', b'frames=', b'hyperstack=')


class TiffReader:
    """The images of a TIFF file, without thumbnails and reduced-resolution versions.

    Args:
      file: must stay open while rows are read.

    Attributes:
      pages: in file order. A directory that describes several images appears once for each.
      images: page indices of each image: usually one, else one per channel. In the order of the
        axes named in the file, else in page order.
      order: byte order, '<' or '>'.

    Raises:
      UserError: unsupported samples or colors, or damage.
      EOFError: pixels or pages are missing.
    """

    def __init__(self, file: BinaryIO):
        # tifffile logs how it repairs damage ("missing data are zeroed"); such files are refused.
        logging.getLogger('tifffile').setLevel(logging.CRITICAL)
        self._file = file
        chain = tiff_directories.read_chain(file)
        self.order, self._big = chain.order, chain.big
        with decoding():
            file.seek(0)
            self._tif = tifffile.TiffFile(file, _multifile=False)
            parsed = [self._parse_page(i, offset) for i, offset in enumerate(chain.offsets)]
        full_size = [source for source in parsed if not source.is_reduced] or parsed
        self.pages = [TiffPage(file, source) for source in full_size]
        self._image_bytes = 0  # bytes per image, where one directory describes all
        series = self._series_with_axes()
        self._unfold_single_directory(series)
        self.images = self._group_pages(series)
        self._last: TiffPage | None = None

    def _parse_page(self, index: int, offset: int) -> tifffile.TiffPage:
        self._tif.filehandle.seek(offset)
        return tifffile.TiffPage(self._tif, index)

    def read(self, index: int, start: int, stop: int) -> np.ndarray:
        """Returns rows `start` to `stop` of a page, (h, W, C), in its own type."""
        page = self.pages[index]
        if self._last is not None and page is not self._last:
            self._last.drop_cache()
        self._last = page
        return page.read(start, stop, skipped_bytes=index * self._image_bytes)

    def pages_to_write(self) -> list[Page]:
        """Returns the pages of a file with the same layout, with the tags that remain valid."""
        if not self._image_bytes:
            return [self._page_to_write(page) for page in self.pages]
        whole = self._page_to_write(self.pages[0])
        tags = [tag for tag in whole.tags if tag.code != tiff_tags.DESCRIPTION]
        tags += [_not_truncated(tag) for tag in whole.tags if tag.code == tiff_tags.DESCRIPTION]
        first = dataclasses.replace(whole, tags=tuple(tags))
        return [first] + [dataclasses.replace(whole, tags=())] * (len(self.pages) - 1)

    def metadata(self, index: int) -> dict[str, Any]:
        """Returns the keyword arguments of `n2n_jax.images.Metadata` for one page of the stack."""
        page = self.pages[index]
        tags = self._preserved_tags(page)
        if len(self.pages) > 1:
            tags = _without_stack(tags)
        directory = tiff_tags.packed_directory(tags, 8)
        return {
            'format': 'TIFF',
            'icc_profile': _icc_profile(page.source),
            'exif': b'II*\0' + struct.pack('<I', 8) + directory if tags else None,
            'dpi': _dpi(page.source),
            'native': {
                'compressed': page.source.compression != tifffile.COMPRESSION.NONE,
                'alpha_kind': page.extra[-1] if page.extra else 2,
                'white_is_zero': page.white_is_zero,
            },
        }

    def _preserved_tags(self, page: TiffPage) -> list[Tag]:
        offset = page.source.offset
        found = tiff_tags.read_directory(self._file, offset, self.order, self._big)
        return tiff_tags.preserved(found)

    def _page_to_write(self, page: TiffPage) -> Page:
        tags = self._preserved_tags(page)
        if icc_profile := _icc_profile(page.source):
            tags.append(tiff_tags.icc_profile_tag(icc_profile))
        if page.source.planarconfig == tifffile.PLANARCONFIG.SEPARATE:  # written interleaved
            tags = [tag for tag in tags if not _is_shape(_description(tag))]
        return Page(
            page.height,
            page.width,
            page.samples,
            page.dtype,
            rgb=page.rgb,
            extra=page.extra,
            white_is_zero=page.white_is_zero,
            compressed=page.source.compression != tifffile.COMPRESSION.NONE,
            tags=tuple(tags),
        )

    def _series_with_axes(self) -> list[tifffile.TiffPageSeries]:
        """Returns the series that name axes; [] if there are none or they cannot be parsed."""
        if not any(getattr(self._tif, f'is_{kind}') for kind in _WITH_AXES):
            return []
        try:
            found = self._tif.series
        except Exception:  # a damaged description may raise anything; the pages are still there
            return []
        if any(series.kind not in _WITH_AXES for series in found):
            return []
        return [series for series in found if not series.keyframe.is_reduced]

    def _unfold_single_directory(self, series: Sequence[tifffile.TiffPageSeries]) -> None:
        """Repeats a directory that describes a whole stack, as ImageJ writes beyond 4 GB."""
        if len(self.pages) != 1:
            return
        page = self.pages[0]
        if series and series[0].dataoffset is not None:
            _, shape = _axes_and_shape(series[0])
            num_bytes = math.prod(shape) * page.stored_dtype.itemsize
            count = num_bytes // page.stored_bytes
        else:
            count = (self._tif.imagej_metadata or {}).get('images', 1)
        if not isinstance(count, int) or count < 2 or not page.reads_in_place:
            return
        if page.source.dataoffsets[0] + count * page.stored_bytes > self._file.seek(0, 2):
            raise EOFError(f'it claims to hold {count} images, but ends before the last')
        self._image_bytes = page.stored_bytes
        self.pages *= count

    def _group_pages(self, series: Sequence[tifffile.TiffPageSeries]) -> list[tuple[int, ...]]:
        """Returns page indices by image: by axes if they cover every page once, else one each."""
        by_page: list[tuple[int, ...]] = [(index,) for index in range(len(self.pages))]
        indices = {page.source.index: index for index, page in enumerate(self.pages)}
        images = []
        for one in series:
            pages = self._pages_by_axes(one, indices)
            if pages is None:
                return by_page
            images += [tuple(int(index) for index in row) for row in pages]
        if sorted(index for image in images for index in image) != list(range(len(self.pages))):
            return by_page
        for image in images:
            pages_of_image = [self.pages[index] for index in image]
            if len({(page.height, page.width, page.dtype) for page in pages_of_image}) > 1:
                raise UserError('has channels of different sizes or types.')
        return images

    def _pages_by_axes(
        self, series: tifffile.TiffPageSeries, indices: dict[int, int]
    ) -> np.ndarray | None:
        """Returns page indices, (images, channels); None if the axes do not determine them.

        `indices` maps page numbers in the file to indices of `pages`.
        """
        axes, shape = _axes_and_shape(series)
        if not axes.replace('S', '').endswith('YX'):
            return None
        leading = [pair for pair in zip(axes, shape, strict=True) if pair[0] not in 'YXS']
        names, sizes = [name for name, _ in leading], [size for _, size in leading]
        count = math.prod(sizes)
        if self._image_bytes:
            numbers = np.arange(count)
        else:
            found = _page_numbers(series, self._tif)
            if len(found) != count or any(number not in indices for number in found):
                return None
            numbers = np.array([indices[number] for number in found])
        if names.count('C') != 1:
            return numbers.reshape(-1, 1) if 'C' not in names else None
        axis = names.index('C')
        return np.moveaxis(numbers.reshape(sizes), axis, -1).reshape(-1, sizes[axis])


def _axes_and_shape(series: tifffile.TiffPageSeries) -> tuple[str, tuple[int, ...]]:
    """Returns all axes, including those of length 1, which early versions of tifffile drop."""
    if hasattr(series, 'get_axes') and hasattr(series, 'get_shape'):
        return series.get_axes(False), series.get_shape(False)
    return series.axes, series.shape


def _page_numbers(series: tifffile.TiffPageSeries, tif: tifffile.TiffFile) -> list[int]:
    """Returns the page numbers of a series; -1 for pages that are missing or in another file."""
    try:
        pages = [series[i] for i in range(len(series))]
    except Exception:  # a damaged description may raise anything
        return []
    return [-1 if page is None or page.parent is not tif else page.index for page in pages]


def _icc_profile(source: tifffile.TiffPage) -> bytes | None:
    tag = source.tags.get(tiff_tags.ICC_PROFILE)
    return bytes(tag.value) if tag and isinstance(tag.value, bytes) else None


def _dpi(source: tifffile.TiffPage) -> tuple[float, float] | None:
    inch, centimeter = 2, 3
    if 282 not in source.tags or source.resolutionunit not in (inch, centimeter):
        return None
    with decoding():
        dpi = source.get_resolution(inch)
    return dpi if min(dpi) > 0 else None


def standalone(pages: Sequence[Page], first: Page) -> list[Page]:
    """Returns the pages of one image as a file of their own, without descriptions of the stack.

    Args:
      pages: the channels of the image.
      first: first page of the stack, which carries ImageJ's description of all.
    """
    layout = [f'images={len(pages)}', f'channels={len(pages)}'] if len(pages) > 1 else []
    imagej = [tag for tag in first.tags if _description(tag).startswith(b'ImageJ=')]
    about = []
    for tag in imagej:
        all_lines = _description(tag).split(b'\n')
        lines = [line for line in all_lines if not line.startswith(_IMAGEJ_LAYOUT)]
        lines[1:1] = [line.encode() for line in layout]
        about.append(tiff_tags.text_tag(tag.code, b'\n'.join(lines)))
    kept = []
    for page in pages:
        kept.append(dataclasses.replace(page, tags=tuple(_without_stack(page.tags))))
    kept[0] = dataclasses.replace(kept[0], tags=(*kept[0].tags, *about))
    return kept


def _without_stack(tags: Sequence[Tag]) -> list[Tag]:
    """Returns the tags that remain valid when a page is taken out of its stack."""
    tags = [tag for tag in tags if tag.code not in _IMAGEJ_TAGS]
    return [tag for tag in tags if not _is_about_stack(_description(tag))]


def _description(tag: Tag) -> bytes:
    """Returns the text of a description tag; b'' for all others."""
    if tag.code != tiff_tags.DESCRIPTION or not isinstance(tag.value, bytes):
        return b''
    return tag.value.rstrip(b'\0')


def _is_about_stack(text: bytes) -> bool:
    return text.startswith(b'ImageJ=') or b'<OME' in text or _is_shape(text)


def _is_shape(text: bytes) -> bool:
    """Returns whether this is tifffile's description of an array shape."""
    return text.startswith(b'{"shape"')


def _not_truncated(description: Tag) -> Tag:
    """Removes tifffile's mark that a stack has a single directory."""
    text = _description(description).replace(b', "truncated": true', b'')
    return tiff_tags.text_tag(description.code, text)
