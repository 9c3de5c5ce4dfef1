"""TIFF: integers and floats of any depth in and out, with the tags that describe them.

tifffile decodes; LZW and JPEG compression, which it leaves to an optional package, go through
Pillow.

H height, W width, C channels.
"""

import contextlib
import io
import struct
import sys
from collections.abc import Collection
from typing import Any, BinaryIO

import numpy as np
import tifffile
from PIL import Image

from n2n_jax.codecs import png, tiff_tags
from n2n_jax.codecs.tiff_writer import Page, TiffWriter
from n2n_jax.errors import UserError

_SHAPES = {'gray': (), 'gray+alpha': (2,), 'rgb': (3,), 'rgba': (4,)}
_DTYPES = ('uint8', 'uint16', 'float16', 'float32', 'float64')


def read_size(file: BinaryIO) -> tuple[int, int, int]:
    """(H, W, C) of the only image, from its header; errors as in `read`."""
    with tifffile.TiffFile(file) as tif:
        page = _only_page(tif)
        return page.imagelength, page.imagewidth, *(_SHAPES[mode_of(page)] or (1,))


def read(file: BinaryIO) -> tuple[np.ndarray, str, dict[str, Any]]:
    """Reads the only image of a file.

    Returns:
      pixels, mode, and the metadata that `n2n_jax.io.Metadata` lists.

    Raises:
      UserError: several images, or samples or colours of a kind that we do not handle.
    """
    with tifffile.TiffFile(file) as tif:
        page = _only_page(tif)
        mode = mode_of(page)
        check_whole(file, page)
        pixels = decode_page(file, page, mode, _DTYPES)
        icc_tag = page.tags.get(tiff_tags.ICC_PROFILE)
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
    tags = tiff_tags.lasting(tiff_tags.read_directory(file, offset, order, big))
    directory = tiff_tags.packed_directory(tags, 8)
    found['exif'] = b'II*\0' + struct.pack('<I', 8) + directory if tags else None
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


def mode_of(page: tifffile.TiffPage) -> str:
    """'gray', 'gray+alpha', 'rgb' or 'rgba'; UserError for all else."""
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


def check_whole(file: BinaryIO, page: tifffile.TiffPage) -> None:
    """Raises EOFError where pixels are missing; they would come back as zeros."""
    end = file.seek(0, 2)
    for start, length in zip(page.dataoffsets, page.databytecounts, strict=True):
        if not (start and length and start + length <= end):
            raise EOFError('it ends before its last pixel')


def is_converted(page: tifffile.TiffPage) -> bool:
    """Whether samples are not what comes back: palettes, YCbCr, less than 8 bits.

    tifffile neither applies palettes, nor converts from YCbCr, nor scales 1 to 4 bits to 8.
    """
    photometric = tifffile.PHOTOMETRIC
    converted = page.photometric in (photometric.PALETTE, photometric.YCBCR)
    return converted or page.bitspersample < 8


def decode_page(
    file: BinaryIO,
    page: tifffile.TiffPage,
    mode: str,
    dtypes: Collection[str],
    *,
    index: int = 0,
) -> np.ndarray:
    """The pixels of a page, (H, W) or (H, W, C).

    Args:
      file: the page's.
      page: whole, see `check_whole`.
      mode: as `io.ImageFile` has it.
      dtypes: names of the types of samples that are welcome.
      index: of the page in the file.

    Raises:
      UserError: another type, or a compression that neither tifffile nor Pillow decodes.
    """
    converted = is_converted(page)
    dtype = np.dtype(np.uint8 if converted else page.dtype or 'V')
    if dtype.name not in dtypes:
        raise UserError(
            f'holds {dtype.name} samples; 8- and 16-bit unsigned integers and floats are read. '
            'Convert it to one of these first.'
        )
    if converted:
        return _pixels_by_pillow(file, mode, dtype, index)
    try:
        pixels = page.asarray()
    except ValueError as error:
        if 'imagecodecs' not in str(error):
            raise
        return _pixels_by_pillow(file, mode, dtype, index)
    if pixels.ndim == 3 and page.planarconfig == tifffile.PLANARCONFIG.SEPARATE:
        pixels = np.moveaxis(pixels, 0, -1)
    if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE and dtype.kind == 'u':
        pixels = np.invert(pixels)
    return np.ascontiguousarray(pixels, dtype.newbyteorder('='))


def _pixels_by_pillow(file: BinaryIO, mode: str, dtype: np.dtype, index: int) -> np.ndarray:
    """Decodes what needs libtiff, which Pillow brings along."""
    file.seek(0)
    with contextlib.suppress(Image.UnidentifiedImageError):
        image = Image.open(file, formats=('TIFF',))
        image.seek(index)
        if image.mode in ('RGB', 'RGBA') and dtype == np.uint16:
            pixels = png.decode_16bit(file, image.mode, sys.byteorder, index)
        elif image.mode == 'RGBA':  # else premultiplied colours would be divided by alpha
            pixels = png.decode_as(file, 'RGBA', index)
        else:
            convert = {'1': 'L', 'P': 'RGB', 'YCbCr': 'RGB'}.get(image.mode)
            pixels = np.asarray(image.convert(convert) if convert else image)
        if pixels.dtype == np.int32 and dtype == np.int16:  # Pillow has no smaller signed type
            pixels = pixels.astype(np.int16)
        if pixels.dtype == dtype and pixels.shape[2:] == _SHAPES[mode]:
            return pixels
    raise UserError(
        'is damaged, or compressed in a way that is not read. Save it uncompressed or with '
        'Deflate (ZIP), or install imagecodecs.'
    )


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
    """A little-endian TIFF file with one image in strips; BigTIFF from 4 GB on.

    Args:
      pixels: (H, W) or (H, W, C), unsigned integers or floats.
      mode: 'gray', 'gray+alpha', 'rgb' or 'rgba'.
      icc_profile: colour profile.
      exif: EXIF, from its byte-order mark on; its first directory becomes that of the file.
      dpi: pixels per inch across and down, unless `exif` says.
      compressed: with Deflate, after differences along each row if the samples are integers.
      alpha_kind: 0 unknown, 1 colours are multiplied by alpha, 2 they are not (ExtraSamples).
    """
    samples_HWC = np.atleast_3d(pixels)
    height, width, channels = samples_HWC.shape
    tags = tiff_tags.exif_tags(exif) if exif else []
    if icc_profile:
        tags.append(tiff_tags.profile(icc_profile))
    if dpi and not any(tag.code in (282, 283) for tag in tags):
        tags = [tag for tag in tags if tag.code != 296]
        for code, value in zip((282, 283), dpi, strict=True):
            denominator = 1000 if value < 1e6 else 1  # both parts have 32 bits
            numerator = round(value * denominator)
            tags.append(tiff_tags.numbers(code, tiff_tags.RATIONAL, numerator, denominator))
        tags.append(tiff_tags.numbers(296, tiff_tags.SHORT, 2))
    page = Page(
        height,
        width,
        channels,
        samples_HWC.dtype,
        rgb=mode.startswith('rgb'),
        extra=(alpha_kind,) if channels in (2, 4) else (),
        compressed=compressed,
        tags=tuple(tags),
    )
    file = io.BytesIO()
    writer = TiffWriter(file, [page])
    writer.write(0, samples_HWC)
    writer.finish()
    return file.getvalue()
