"""Reads blocks of rows of a TIFF page.

tifffile and imagecodecs decode strips and tiles. Which of them a block of rows touches is computed
here: tifffile's `TiffPage.segments` iterates over the whole page, and its Zarr store needs another
package. Uncompressed rows are read in place, as a large image is often a single strip. Stored
samples are converted for display: palettes are expanded, and samples of fewer than 8 bits are
scaled to 8.

H height, W width, C samples; h a block of rows.
"""

import io
import math
import warnings
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np
import tifffile
from PIL import Image

from n2n_jax.images.codecs.damage import decoding
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.host_memory import check_fits

_PHOTOMETRIC = tifffile.PHOTOMETRIC
_GRAY = (_PHOTOMETRIC.MINISBLACK, _PHOTOMETRIC.MINISWHITE)
_RGB = (_PHOTOMETRIC.RGB, _PHOTOMETRIC.YCBCR, _PHOTOMETRIC.PALETTE)
_JPEG = (6, 7, 33007, 34892)  # JPEG compression codes that tifffile decodes to RGB
# Compression codes whose strips and tiles have their own image header: JPEG, JPEG 2000, PNG, WebP.
_WITH_HEADER = (*_JPEG, 33003, 33004, 33005, 34712, 34927, 34933, 50001)
_FORMATS = ('JPEG', 'JPEG2000', 'PNG', 'WEBP')
_SEPARATE = tifffile.PLANARCONFIG.SEPARATE


class TiffPage:
    """Reads rows of a page.

    Args:
      file: must stay open while rows are read.
      source: the page, as parsed by tifffile.

    Attributes:
      height: rows.
      width: columns.
      samples: samples per pixel as read, after palettes are expanded.
      dtype: type of a sample as read, in native byte order.
      stored_dtype: type of a sample as decoded, before palettes and few bits are expanded.
      rgb: whether the first three samples are a color.
      extra: ExtraSamples codes of the others, 0 where the file has none.
      white_is_zero: whether larger samples are darker. False for unsigned samples, which are
        inverted on reading.

    Raises:
      UserError: unsupported samples or colors.
      EOFError: pixels are missing.
    """

    def __init__(self, file: BinaryIO, source: tifffile.TiffPage):
        self._file, self.source = file, source
        _check_tags(source)
        self.rgb = source.photometric in _RGB
        if not self.rgb and source.photometric not in _GRAY:
            kind = getattr(source.photometric, 'name', source.photometric)
            raise UserError(f'holds {kind} colors. Convert it to RGB or gray first.')
        if source.imagedepth != 1 or source.tiledepth != 1:
            raise UserError('holds volumes in single pages. Save it with a page per image.')
        self.height, self.width = source.imagelength, source.imagewidth
        self._is_palette = source.photometric == _PHOTOMETRIC.PALETTE
        if self._is_palette and source.samplesperpixel != 1:
            raise UserError('holds a palette and more. Convert it to RGB first.')
        self.samples = 3 if self._is_palette else source.samplesperpixel
        num_extra = max(0, self.samples - (3 if self.rgb else 1))
        extra = tuple(int(kind) for kind in source.extrasamples)[:num_extra]
        self.extra = extra + (0,) * (num_extra - len(extra))
        self.stored_dtype = _stored_dtype(source)
        expanded = self._is_palette or source.bitspersample < 8
        self.dtype = np.dtype(np.uint8) if expanded else self.stored_dtype
        _check_compression(source)
        is_dark = source.photometric == _PHOTOMETRIC.MINISWHITE
        self._is_inverted = is_dark and self.dtype.kind == 'u'
        self.white_is_zero = is_dark and not self._is_inverted
        self._check_whole()
        self._unfinished: dict[int, _Block] = {}  # decoded segments with rows still to be read
        self._whole: np.ndarray | None = None  # the page, if it can only be decoded as a whole

    @property
    def stored_bytes(self) -> int:
        """Bytes of the pixels in the file, if `reads_in_place`."""
        samples = 1 if self._is_palette else self.samples
        return self.height * self.width * samples * self.stored_dtype.itemsize

    def drop_cache(self) -> None:
        """Drops decoded pixels that were kept for later rows."""
        self._unfinished, self._whole = {}, None

    def read(self, start: int, stop: int, *, skipped_bytes: int = 0) -> np.ndarray:
        """Returns rows `start` to `stop`, (h, W, C).

        Args:
          start: first row.
          stop: one past the last row.
          skipped_bytes: distance from the first image, where one directory describes several.
        """
        shape = (stop - start, self.width, 1 if self._is_palette else self.samples)
        stored_hWC = np.empty(shape, self.stored_dtype)
        if self.reads_in_place:
            self._read_in_place(stored_hWC, start, skipped_bytes)
        else:
            for block in self._blocks(start, stop):
                h, w, c = block.pixels_hWC.shape
                first, last = max(block.top, start), min(block.top + h, stop)
                stored_hWC[
                    first - start : last - start,
                    block.left : block.left + w,
                    block.sample : block.sample + c,
                ] = block.pixels_hWC[first - block.top : last - block.top]
        return self._to_display(stored_hWC)

    @property
    def reads_in_place(self) -> bool:
        """Whether rows are stored uncompressed, in the same layout as in memory."""
        source = self.source
        return (
            source.compression == tifffile.COMPRESSION.NONE
            and not source.is_tiled
            and source.photometric != _PHOTOMETRIC.YCBCR
            and source.bitspersample == 8 * self.stored_dtype.itemsize
            and source.fillorder == 1
            and source.predictor == 1
        )

    def _check_whole(self) -> None:
        """Raises EOFError if pixels are missing; tifffile would return zeros."""
        source, end = self.source, self._file.seek(0, 2)
        starts, lengths = source.dataoffsets, source.databytecounts
        num_segments = math.prod(self._segments)
        if not num_segments <= min(len(starts), len(lengths)):
            raise EOFError('it ends before its last pixel')
        for start, length in zip(starts[:num_segments], lengths, strict=False):
            if not (start and length and start + length <= end):
                raise EOFError('it ends before its last pixel')

    @property
    def _segments(self) -> tuple[int, int, int]:
        """Number of strips or tiles: planes, down, across."""
        source = self.source
        planes = source.samplesperpixel if source.planarconfig == _SEPARATE else 1
        if source.is_tiled:
            across = -(-self.width // source.tilewidth)
            return planes, -(-self.height // source.tilelength), across
        return planes, -(-self.height // source.rowsperstrip), 1

    @property
    def _segment_samples(self) -> int:
        """Samples in a strip or tile."""
        source = self.source
        samples = 1 if source.planarconfig == _SEPARATE else source.samplesperpixel
        if source.is_tiled:
            return source.tilewidth * source.tilelength * samples
        return self.width * min(self.height, source.rowsperstrip) * samples

    def _read_in_place(self, rows_hWC: np.ndarray, start: int, skipped_bytes: int) -> None:
        planes, num_strips, _ = self._segments
        dtype = self.stored_dtype.newbyteorder(self.source.parent.byteorder)
        row_bytes = self.width * rows_hWC.shape[2] // planes * dtype.itemsize
        strip_rows = self.source.rowsperstrip
        stop = start + len(rows_hWC)
        for plane in range(planes):
            row = start
            while row < stop:
                strip, above = divmod(row, strip_rows)
                count = min(strip_rows - above, stop - row)
                offset = self.source.dataoffsets[plane * num_strips + strip] + above * row_bytes
                self._file.seek(offset + skipped_bytes)
                data = self._file.read(count * row_bytes)
                if len(data) < count * row_bytes:
                    raise EOFError('it ends before its last pixel')
                block = np.frombuffer(data, dtype).reshape(count, self.width, -1)
                target = rows_hWC[row - start : row - start + count]
                target[..., plane : plane + block.shape[2]] = block
                row += count

    def _blocks(self, start: int, stop: int) -> Iterator['_Block']:
        """Yields the decoded strips or tiles that overlap the rows, or the whole page."""
        source = self.source
        if source.photometric == _PHOTOMETRIC.YCBCR and source.compression not in _JPEG:
            yield _Block(self._decode_with_pillow(), 0, 0, 0)
            return
        high = source.tilelength if source.is_tiled else source.rowsperstrip
        planes, down, across = self._segments
        unfinished = {}
        for plane in range(planes):
            for row in range(start // high, -(-stop // high)):
                for column in range(across):
                    segment = (plane * down + row) * across + column
                    block = self._unfinished.get(segment) or self._decode(segment)
                    if block.top + len(block.pixels_hWC) > stop:
                        unfinished[segment] = block
                    yield block
        self._unfinished = unfinished

    def _decode(self, segment: int) -> '_Block':
        source = self.source
        self._file.seek(source.dataoffsets[segment])
        data = self._file.read(source.databytecounts[segment])
        samples = max(self._segment_samples, _claimed_samples(source, data))
        check_fits(samples * self.stored_dtype.itemsize)
        with decoding():
            pixels, (plane, _, top, left, _), _ = source.decode(
                data, segment, jpegtables=source.jpegtables, jpegheader=source.jpegheader
            )
        if pixels is None:  # tifffile's word for an empty segment
            raise EOFError('it ends before its last pixel')
        # Fax is decoded to uint8.
        of_one_bit = self.stored_dtype == np.bool_ and pixels.dtype == np.uint8
        if pixels.dtype.newbyteorder('=') != self.stored_dtype and not of_one_bit:
            raise UserError(
                f'is damaged: its tags say {source.dtype}, but its pixels are {pixels.dtype}.'
            )
        pixels_hWC = pixels[0, : self.height - top, : self.width - left]
        return _Block(pixels_hWC, top, left, plane)

    def _decode_with_pillow(self) -> np.ndarray:
        """Decodes YCbCr that is not JPEG, which only libtiff, through Pillow, converts to RGB."""
        if self._whole is not None:
            return self._whole
        check_fits(2 * self.height * self.width * self.samples)  # before and after conversion
        with decoding():
            self._file.seek(0)
            image = Image.open(self._file, formats=('TIFF',))
            image.seek(self.source.index)
            whole = np.asarray(image.convert('RGB'))
        if whole.shape != (self.height, self.width, self.samples):
            raise UserError('holds YCbCr colors with extra samples. Convert it to RGB first.')
        self._whole = whole
        return whole

    def _to_display(self, stored_hWC: np.ndarray) -> np.ndarray:
        """Expands palettes, scales samples to 8 bits, inverts unsigned white-is-zero samples."""
        if self._is_palette:
            return self._palette()[stored_hWC[..., 0]]
        bits = self.source.bitspersample
        if bits < 8:
            scale = 255 / (2**bits - 1)
            stored_hWC = np.rint(stored_hWC * np.float32(scale)).astype(np.uint8)
        if self._is_inverted:
            white = 255 if bits < 8 else 2**bits - 1
            stored_hWC = (white - stored_hWC).astype(self.dtype)
        return stored_hWC

    def _palette(self) -> np.ndarray:
        """Returns the colors by index, uint8 (entries, 3)."""
        colors = np.asarray(self.source.colormap)
        num_entries = 2**self.source.bitspersample
        if colors.shape != (3, num_entries) or colors.dtype.kind not in 'iu':
            raise UserError('is damaged: the size of its palette does not match its pixels.')
        # 16 bits per color by the standard, although some programs write 8.
        return (colors // 256 if colors.max() > 255 else colors).T.astype(np.uint8)


def _claimed_samples(source: tifffile.TiffPage, data: bytes) -> int:
    """Returns the sample count in the header of a strip or tile; 0 if it has none."""
    if source.compression not in _WITH_HEADER:
        return 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                return image.width * image.height * source.samplesperpixel
    except Image.DecompressionBombError as error:
        raise UserError('is damaged: a strip or tile claims to be a huge image.') from error
    except Exception:  # a variant unknown to Pillow; the decoder decides
        return 0


class _Block(NamedTuple):
    pixels_hWC: np.ndarray
    top: int
    left: int
    sample: int  # index of its first sample in the page


def _check_tags(source: tifffile.TiffPage) -> None:
    """Checks that tags hold positive integers; damaged ones may hold anything."""
    numbers = [source.imagewidth, source.imagelength, source.samplesperpixel, source.imagedepth]
    numbers += [source.compression, source.planarconfig, source.predictor, source.fillorder]
    if source.is_tiled:
        numbers += [source.tilewidth, source.tilelength, source.tiledepth]
    else:
        numbers.append(source.rowsperstrip)
    lists = (source.dataoffsets, source.databytecounts, source.extrasamples)
    are_numbers = all(isinstance(number, int) and number > 0 for number in numbers)
    are_lists = all(
        isinstance(items, tuple) and all(isinstance(item, int) and item >= 0 for item in items)
        for items in lists
    )
    if not (are_numbers and are_lists and isinstance(source.photometric, int)):
        raise UserError('is damaged: its tags do not describe a valid image.')


def _stored_dtype(source: tifffile.TiffPage) -> np.dtype:
    """Returns the type of a decoded sample, in native byte order."""
    if source.dtype is None or not isinstance(source.bitspersample, int):
        bits = source.bitspersample
        raise UserError(
            f'holds samples of {bits} bits and format {int(source.sampleformat)}, which are '
            'not supported. Convert it to 8- or 16-bit integers or to floats first.'
        )
    return source.dtype.newbyteorder('=')


def _check_compression(source: tifffile.TiffPage) -> None:
    code = source.compression
    if code == tifffile.COMPRESSION.NONE:
        return
    try:
        tifffile.TIFF.DECOMPRESSORS[code]
    except KeyError as error:
        name = getattr(code, 'name', f'scheme {code}')
        raise UserError(
            f'uses an unsupported compression ({name}): save it uncompressed or with Deflate (ZIP).'
        ) from error
