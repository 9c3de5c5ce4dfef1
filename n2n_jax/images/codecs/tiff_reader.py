"""TIFF files of any number of pages: which images they hold, their rows, and what else they say.

H height, W width, C samples. An h in place of H: some rows.

tifffile parses directories, and the descriptions of OME, ImageJ and others. Of the latter only the
axes are used here: its series of pages share the first page's way of storage, and span the files
of a set, where every file has to be read as what it holds itself.
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

# Series of tifffile whose axes say more than the order of the pages does.
_WITH_AXES = ('imagej', 'ome', 'shaped', 'stk', 'mmstack', 'ndtiff', 'scanimage', 'fluoview')
_IMAGEJ_TAGS = (50838, 50839)  # labels of all images of a stack
# Lines of ImageJ's description that say how its images lie in the file.
_IMAGEJ_LAYOUT = (b'images=', b'channels=', b'slices=', b'frames=', b'hyperstack=')


class TiffReader:
    """The images of a file, thumbnails and smaller versions left out.

    Args:
      file: stays open as long as rows are read.

    Attributes:
      pages: in the order of the file. Where one directory is for several images, it stands here
        once for each.
      images: pages of each image, most often one; several are its channels. The images are in the
        order of the axes that the file names, else in that of its pages.
      order: of bytes, '<' or '>'.

    Raises:
      UserError: samples or colors of a kind that is not read, or damage.
      EOFError: pixels or pages are missing.
    """

    def __init__(self, file: BinaryIO):
        # It logs what it makes of damage, such as "missing data are zeroed". We refuse such files.
        logging.getLogger('tifffile').setLevel(logging.CRITICAL)
        self._file = file
        chain = tiff_directories.chain(file)
        self.order, self._big = chain.order, chain.big
        with decoding():
            file.seek(0)
            self._tif = tifffile.TiffFile(file, _multifile=False)
            parsed = [self._parsed(i, offset) for i, offset in enumerate(chain.offsets)]
        full_size = [source for source in parsed if not source.is_reduced] or parsed
        self.pages = [TiffPage(file, source) for source in full_size]
        self._image_bytes = 0  # from one image to the next where one directory is for all
        series = self._series()
        self._unfold_single_directory(series)
        self.images = self._by_axes(series)
        self._last: TiffPage | None = None

    def _parsed(self, index: int, offset: int) -> tifffile.TiffPage:
        self._tif.filehandle.seek(offset)
        return tifffile.TiffPage(self._tif, index)

    def read(self, place: int, start: int, stop: int) -> np.ndarray:
        """Rows `start` to `stop` of a page, (h, W, C), in its own type."""
        page = self.pages[place]
        if self._last is not None and page is not self._last:
            self._last.forget()
        self._last = page
        return page.read(start, stop, skipped_bytes=place * self._image_bytes)

    def pages_to_write(self) -> list[Page]:
        """What pages like these hold, with the tags that last."""
        if not self._image_bytes:
            return [self._to_write(page) for page in self.pages]
        whole = self._to_write(self.pages[0])
        tags = [tag for tag in whole.tags if tag.code != tiff_tags.DESCRIPTION]
        tags += [_not_truncated(tag) for tag in whole.tags if tag.code == tiff_tags.DESCRIPTION]
        first = dataclasses.replace(whole, tags=tuple(tags))
        return [first] + [dataclasses.replace(whole, tags=())] * (len(self.pages) - 1)

    def metadata(self, place: int) -> dict[str, Any]:
        """What `n2n_jax.images.Metadata` lists, of a page; without words about a stack."""
        page = self.pages[place]
        tags = self._lasting_tags(page)
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

    def _lasting_tags(self, page: TiffPage) -> list[Tag]:
        offset = page.source.offset
        found = tiff_tags.read_directory(self._file, offset, self.order, self._big)
        return tiff_tags.lasting(found)

    def _to_write(self, page: TiffPage) -> Page:
        tags = self._lasting_tags(page)
        if icc_profile := _icc_profile(page.source):
            tags.append(tiff_tags.profile(icc_profile))
        if page.source.planarconfig == tifffile.PLANARCONFIG.SEPARATE:  # samples go together now
            tags = [tag for tag in tags if not _is_shape(_words(tag))]
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

    def _series(self) -> list[tifffile.TiffPageSeries]:
        """Those that name axes; [] if there are none, or what they say is not understood."""
        if not any(getattr(self._tif, f'is_{kind}') for kind in _WITH_AXES):
            return []
        try:
            found = self._tif.series
        except Exception:  # whatever a damaged description leads to: its pages are all there
            return []
        if any(series.kind not in _WITH_AXES for series in found):
            return []
        return [series for series in found if not series.keyframe.is_reduced]

    def _unfold_single_directory(self, series: Sequence[tifffile.TiffPageSeries]) -> None:
        """ImageJ writes one directory for a stack of more than 4 GB, tifffile on request."""
        if len(self.pages) != 1:
            return
        page = self.pages[0]
        if series and series[0].dataoffset is not None:
            _, shape = _axes_and_shape(series[0])
            num_bytes = math.prod(shape) * page.source.dtype.itemsize
            count = num_bytes // page.stored_bytes
        else:
            count = (self._tif.imagej_metadata or {}).get('images', 1)
        if not isinstance(count, int) or count < 2 or not page.reads_in_place:
            return
        if page.source.dataoffsets[0] + count * page.stored_bytes > self._file.seek(0, 2):
            raise EOFError(f'it says that it holds {count} images, and ends before the last')
        self._image_bytes = page.stored_bytes
        self.pages *= count

    def _by_axes(self, series: Sequence[tifffile.TiffPageSeries]) -> list[tuple[int, ...]]:
        """Pages by image, by the axes if they account for every page once, else by page."""
        by_page = [(place,) for place in range(len(self.pages))]
        places = {page.source.index: place for place, page in enumerate(self.pages)}
        images = []
        for one in series:
            pages = self._pages_by_axes(one, places)
            if pages is None:
                return by_page
            images += [tuple(int(place) for place in row) for row in pages]
        if sorted(place for image in images for place in image) != list(range(len(self.pages))):
            return by_page
        for image in images:
            if len({(page.height, page.width, page.dtype) for page in self._of(image)}) > 1:
                raise UserError('has channels of different sizes or types.')
        return images

    def _of(self, image: Sequence[int]) -> list[TiffPage]:
        return [self.pages[place] for place in image]

    def _pages_by_axes(
        self, series: tifffile.TiffPageSeries, places: dict[int, int]
    ) -> np.ndarray | None:
        """Places of pages, (images, channels); None if the axes do not say where they are."""
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
            if len(found) != count or any(number not in places for number in found):
                return None
            numbers = np.array([places[number] for number in found])
        if names.count('C') != 1:
            return numbers.reshape(-1, 1) if 'C' not in names else None
        place = names.index('C')
        return np.moveaxis(numbers.reshape(sizes), place, -1).reshape(-1, sizes[place])


def _axes_and_shape(series: tifffile.TiffPageSeries) -> tuple[str, tuple[int, ...]]:
    """Of all axes, those of length 1 too, which early versions of tifffile leave out unasked."""
    if hasattr(series, 'get_axes'):
        return series.get_axes(False), series.get_shape(False)
    return series.axes, series.shape


def _page_numbers(series: tifffile.TiffPageSeries, tif: tifffile.TiffFile) -> list[int]:
    """Which pages of the file a series is made of; -1 for what is not there, or elsewhere."""
    try:
        pages = [series[i] for i in range(len(series))]
    except Exception:  # whatever a damaged description leads to
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
        kept.append(dataclasses.replace(page, tags=tuple(_without_stack(page.tags))))
    kept[0] = dataclasses.replace(kept[0], tags=(*kept[0].tags, *about))
    return kept


def _without_stack(tags: Sequence[Tag]) -> list[Tag]:
    """What is left when a page is taken out of a stack."""
    tags = [tag for tag in tags if tag.code not in _IMAGEJ_TAGS]
    return [tag for tag in tags if not _is_about_stack(_words(tag))]


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
