"""TIFF: integers and floats of any depth in and out, with the tags that describe them.

tifffile decodes; LZW and JPEG compression, which it leaves to an optional package, go through
Pillow. Written here rather than by tifffile, because that cannot write EXIF.

H height, W width, C channels.
"""

import contextlib
import io
import struct
import sys
import zlib
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import tifffile
from PIL import Image

from n2n_jax.codecs import png
from n2n_jax.errors import UserError

_SHAPES = {'gray': (), 'gray+alpha': (2,), 'rgb': (3,), 'rgba': (4,)}
_DTYPES = ('uint8', 'uint16', 'float16', 'float32', 'float64')
_STRIP_BYTES = 1 << 18

# By tag type, bytes of one value and of the numbers inside it: a rational is two (TIFF 6.0, p. 15).
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_NUMBER_BYTES = _TYPE_BYTES | {5: 4, 10: 4}
_SHORT, _LONG, _RATIONAL, _UNDEFINED = 3, 4, 5, 7

_DIRECTORIES = frozenset((34665, 34853, 40965))  # EXIF, GPS, interoperability
_ICC_PROFILE = 34675
# Tags about the layout of the samples, about other pictures in the file, or about its old pixels
# (37724: Photoshop's layers). All others are kept.
_OF_THE_PIXELS = frozenset(
    [code for first, last in (
        (254, 259), (262, 266), (277, 281), (288, 293), (320, 325), (338, 341), (512, 521),
        (529, 532),
    ) for code in range(first, last + 1)]
    + [273, 284, 301, 317, 330, 332, 334, 336, 347, 400, _ICC_PROFILE, 37724]
)  # fmt: skip


class _Tag(NamedTuple):
    code: int
    kind: int
    count: int
    value: 'bytes | list[_Tag]'  # little-endian, or a directory of its own


def read_size(file: BinaryIO) -> tuple[int, int, int]:
    """(H, W, C) of the only image, from its header; errors as in `read`."""
    with tifffile.TiffFile(file) as tif:
        page = _only_page(tif)
        return page.imagelength, page.imagewidth, *(_SHAPES[_mode(page)] or (1,))


def read(file: BinaryIO) -> tuple[np.ndarray, str, dict[str, Any]]:
    """Reads the only image of a file.

    Returns:
      pixels, mode, and the metadata that `n2n_jax.io.Metadata` lists.

    Raises:
      UserError: several images, or samples or colours of a kind that we do not handle.
    """
    with tifffile.TiffFile(file) as tif:
        page = _only_page(tif)
        mode = _mode(page)
        pixels = _pixels(file, page, mode)
        icc_tag = page.tags.get(_ICC_PROFILE)
        found: dict[str, Any] = {
            'format': 'TIFF',
            'icc_profile': bytes(icc_tag.value) if icc_tag else None,
            'dpi': _dpi(page),
            'native': {
                'compressed': page.compression != tifffile.COMPRESSION.NONE,
                'alpha_kind': int(page.extrasamples[0]) if page.extrasamples else 2,
            },
        }
        offset, order, big = page.offset, tif.byteorder, tif.is_bigtiff
    tags = _directory(file, offset, order, big)
    tags = [tag for tag in tags if tag.code not in _OF_THE_PIXELS]
    found['exif'] = b'II*\0' + struct.pack('<I', 8) + _packed(tags, 8) if tags else None
    return pixels, mode, found


def _only_page(tif: tifffile.TiffFile) -> tifffile.TiffPage:
    # Pyramids and thumbnails hold the same image again, smaller.
    pages = [page for page in tif.pages if not page.is_reduced]
    in_imagej_stack = (tif.imagej_metadata or {}).get('images', 1)
    count = max(len(pages), in_imagej_stack, tif.pages.first.imagedepth)
    if count > 1:
        raise UserError(
            f'holds {count} images, and only one per file is read. Save them as one file each '
            '(in ImageJ: File > Save As > Image Sequence).'
        )
    return tif.pages.first


def _dpi(page: tifffile.TiffPage) -> tuple[float, float] | None:
    inch, centimetre = 2, 3
    if 282 not in page.tags or page.resolutionunit not in (inch, centimetre):
        return None
    dpi = page.get_resolution(inch)
    return dpi if min(dpi) > 0 else None


def _mode(page: tifffile.TiffPage) -> str:
    photometric = tifffile.PHOTOMETRIC
    colors = {
        photometric.MINISWHITE: 1,
        photometric.MINISBLACK: 1,
        photometric.RGB: 3,
        photometric.YCBCR: 3,
        photometric.PALETTE: 3,
    }.get(page.photometric)
    if colors is None:
        kind = getattr(page.photometric, 'name', page.photometric)
        raise UserError(f'holds {kind} colours. Convert it to RGB or gray first.')
    samples = 3 if page.photometric == photometric.PALETTE else page.samplesperpixel
    if samples - colors not in (0, 1):
        raise UserError(
            f'holds {samples} channels; gray and RGB are read, with or without alpha. Save the '
            'channels as one gray file each.'
        )
    return ('gray' if colors == 1 else 'rgb') + {1: '+alpha', 3: 'a'}[colors] * (samples - colors)


def _pixels(file: BinaryIO, page: tifffile.TiffPage, mode: str) -> np.ndarray:
    dtype = np.dtype(page.dtype or 'V')
    # tifffile neither applies palettes, nor converts from YCbCr, nor scales 1 to 4 bits to 8.
    photometric = tifffile.PHOTOMETRIC
    converted = page.photometric in (photometric.PALETTE, photometric.YCBCR)
    converted = converted or page.bitspersample < 8
    if converted:
        dtype = np.dtype(np.uint8)
    if dtype.name not in _DTYPES:
        raise UserError(
            f'holds {dtype.name} samples; 8- and 16-bit unsigned integers and floats are read. '
            'Convert it to one of these first.'
        )
    # A sparse or cut segment would come back as zeros.
    end = file.seek(0, 2)
    for start, length in zip(page.dataoffsets, page.databytecounts, strict=True):
        if not (start and length and start + length <= end):
            raise EOFError('it ends before its last pixel')
    if converted:
        return _pixels_by_pillow(file, mode, dtype)
    try:
        pixels = page.asarray()
    except ValueError as error:
        if 'imagecodecs' not in str(error):
            raise
        return _pixels_by_pillow(file, mode, dtype)
    if pixels.ndim == 3 and page.planarconfig == tifffile.PLANARCONFIG.SEPARATE:
        pixels = np.moveaxis(pixels, 0, -1)
    if page.photometric == photometric.MINISWHITE and dtype.kind == 'u':
        pixels = np.invert(pixels)
    return np.ascontiguousarray(pixels, dtype.newbyteorder('='))


def _pixels_by_pillow(file: BinaryIO, mode: str, dtype: np.dtype) -> np.ndarray:
    """Decodes what needs libtiff, which Pillow brings along."""
    file.seek(0)
    with contextlib.suppress(Image.UnidentifiedImageError):
        image = Image.open(file, formats=('TIFF',))
        if image.mode in ('RGB', 'RGBA') and dtype == np.uint16:
            pixels = png.decode_16bit(file, image.mode, sys.byteorder)
        elif image.mode == 'RGBA':  # else premultiplied colours would be divided by alpha
            pixels = png.decode_as(file, 'RGBA')
        else:
            convert = {'1': 'L', 'P': 'RGB', 'YCbCr': 'RGB'}.get(image.mode)
            pixels = np.asarray(image.convert(convert) if convert else image)
        if pixels.dtype == dtype and pixels.shape[2:] == _SHAPES[mode]:
            return pixels
    raise UserError(
        'is damaged, or compressed in a way that is not read. Save it uncompressed or with '
        'Deflate (ZIP), or install imagecodecs.'
    )


def _directory(file: BinaryIO, offset: int, order: str, big: bool = False) -> list[_Tag]:
    """The tags of the directory at `offset`, turned little-endian; damaged ones are left out."""
    count_format, entry_format = ('Q', 'HHQ8s') if big else ('H', 'HHI4s')
    file.seek(offset)
    (length,) = struct.unpack(order + count_format, file.read(struct.calcsize(count_format)))
    entry_bytes = struct.calcsize('=' + entry_format)
    table = file.read(length * entry_bytes)
    table = table[: len(table) - len(table) % entry_bytes]
    tags = []
    for code, kind, count, field in struct.iter_unpack(order + entry_format, table):
        position = struct.unpack(order + ('Q' if big else 'I'), field)[0]
        if code in _DIRECTORIES:
            with contextlib.suppress(struct.error):
                tags.append(_Tag(code, _LONG, 1, _directory(file, position, order, big)))
            continue
        size = count * _TYPE_BYTES.get(kind, 0)
        if size > len(field):
            file.seek(position)
            value = file.read(size)
        else:
            value = field[:size]
        if size and len(value) == size:
            number = f'u{_NUMBER_BYTES[kind]}'
            value = np.frombuffer(value, order + number).astype('<' + number).tobytes()
            tags.append(_Tag(code, kind, count, value))
    return tags


def encode(
    pixels: np.ndarray,
    mode: str,
    *,
    icc_profile: bytes | None = None,
    exif: bytes | None = None,
    dpi: tuple[float, float] | None = None,
    compressed: bool = True,
    alpha_kind: int = 2,
) -> bytes:
    """A little-endian TIFF file with one image in strips.

    Args:
      pixels: (H, W) or (H, W, C), unsigned integers or floats.
      mode: 'gray', 'gray+alpha', 'rgb' or 'rgba'.
      icc_profile: colour profile.
      exif: EXIF, from its byte-order mark on; its first directory becomes that of the file.
      dpi: pixels per inch across and down, unless `exif` says.
      compressed: with Deflate, after differences along each row if the samples are integers.
      alpha_kind: 0 unknown, 1 colours are multiplied by alpha, 2 they are not (ExtraSamples).

    Raises:
      ValueError: if the file would have more than 4 GiB.
    """
    samples_HWC = np.atleast_3d(pixels)
    height, width, channels = samples_HWC.shape
    dtype = samples_HWC.dtype.newbyteorder('<')
    difference = compressed and dtype.kind == 'u'
    rows = max(1, _STRIP_BYTES // (width * channels * dtype.itemsize))

    file = bytearray(8)  # the header comes last: it points to the directory behind the strips
    starts, lengths = [], []
    for top in range(0, height, rows):
        strip = samples_HWC[top : top + rows]
        if difference:  # unsigned, hence modulo 2^bits, as it should be
            strip = np.concatenate((strip[:, :1], np.diff(strip, axis=1)), axis=1)
        data = strip.astype(dtype).tobytes()
        if compressed:
            data = zlib.compress(data)
        starts.append(len(file))
        lengths.append(len(data))
        file += data + bytes(len(data) % 2)
    if len(file) >= 1 << 32:
        raise ValueError('it would have more than 4 GiB')

    tags = [
        _numbers(256, _LONG, width),
        _numbers(257, _LONG, height),
        _numbers(258, _SHORT, *[8 * dtype.itemsize] * channels),
        _numbers(259, _SHORT, 8 if compressed else 1),
        _numbers(262, _SHORT, 2 if mode.startswith('rgb') else 1),
        _numbers(273, _LONG, *starts),
        _numbers(277, _SHORT, channels),
        _numbers(278, _LONG, rows),
        _numbers(279, _LONG, *lengths),
        _numbers(284, _SHORT, 1),
        _numbers(339, _SHORT, *[3 if dtype.kind == 'f' else 1] * channels),
    ]
    if difference:
        tags.append(_numbers(317, _SHORT, 2))
    if channels in (2, 4):
        tags.append(_numbers(338, _SHORT, alpha_kind))
    if icc_profile:
        tags.append(_Tag(_ICC_PROFILE, _UNDEFINED, len(icc_profile), icc_profile))
    described = _exif_tags(exif) if exif else []
    tags += described
    if dpi and not any(tag.code in (282, 283) for tag in described):
        tags = [tag for tag in tags if tag.code != 296]
        for code, value in zip((282, 283), dpi, strict=True):
            denominator = 1000 if value < 1e6 else 1  # both parts have 32 bits
            tags.append(_numbers(code, _RATIONAL, round(value * denominator), denominator))
        tags.append(_numbers(296, _SHORT, 2))
    struct.pack_into('<2sHI', file, 0, b'II', 42, len(file))
    return bytes(file + _packed(tags, len(file)))


def _exif_tags(exif: bytes) -> list[_Tag]:
    order = '>' if exif.startswith(b'MM') else '<'
    try:
        (offset,) = struct.unpack(order + 'I', exif[4:8])
        tags = _directory(io.BytesIO(exif), offset, order)
    except (struct.error, RecursionError):  # damaged EXIF is common and no reason to fail
        return []
    return [tag for tag in tags if tag.code not in _OF_THE_PIXELS]


def _numbers(code: int, kind: int, *values: int) -> _Tag:
    number = {_SHORT: 'H', _LONG: 'I', _RATIONAL: 'I'}[kind]
    count = len(values) // 2 if kind == _RATIONAL else len(values)
    return _Tag(code, kind, count, struct.pack(f'<{len(values)}{number}', *values))


def _packed(tags: list[_Tag], offset: int) -> bytes:
    """A directory laid out to lie at byte `offset`, even, of a file."""
    entries = []
    values = b''
    for tag in sorted(tags, key=lambda tag: tag.code):
        position = offset + 2 + 12 * len(tags) + 4 + len(values)
        value = tag.value if isinstance(tag.value, bytes) else _packed(tag.value, position)
        if isinstance(tag.value, bytes) and len(value) <= 4:
            field = value.ljust(4, b'\0')
        else:
            field = struct.pack('<I', position)
            values += value + bytes(len(value) % 2)
        entries.append(struct.pack('<HHI', tag.code, tag.kind, tag.count) + field)
    return struct.pack('<H', len(tags)) + b''.join(entries) + bytes(4) + values
