"""PNG beyond Pillow: 16-bit color, and metadata preserved byte for byte.

Pillow reads only the high bytes of a 16-bit RGB file, and cannot write one.

H height, W width, C channels.
"""

import struct
import zlib
from typing import BinaryIO

import numpy as np
from PIL import Image

from n2n_jax.runtime.errors import UserError

Chunk = tuple[bytes, bytes]  # type, data

_SIGNATURE = b'\x89PNG\r\n\x1a\n'
_COLOR_TYPE = {'gray': 0, 'rgb': 2, 'gray+alpha': 4, 'rgba': 6}
# Chunks that remain valid when pixel values change, although PNG calls them unsafe to copy: they
# describe the color space and the scale.
_DESCRIPTIVE = frozenset(
    (b'cHRM', b'cICP', b'cLLI', b'gAMA', b'iCCP', b'mDCV', b'pCAL', b'sCAL', b'sRGB')
)
_BLOCK_BYTES = 1 << 20  # rows are filtered in blocks of this size, to bound memory use


def decode_as(file: BinaryIO, rawmode: str) -> np.ndarray:
    """Decodes with Pillow, but interprets the samples as `rawmode`."""
    file.seek(0)
    with Image.open(file, formats=('PNG',)) as image:
        image.tile = [
            tile._replace(
                args=(rawmode, *tile.args[1:]) if isinstance(tile.args, tuple) else rawmode
            )
            for tile in image.tile
        ]
        return np.asarray(image)


def decode_16bit(file: BinaryIO, mode: str) -> np.ndarray:
    """Decodes a PNG file with 16-bit colors: high and low bytes in two passes of Pillow.

    Args:
      file: a PNG file.
      mode: 'RGB' or 'RGBA', Pillow's mode of the file.

    Returns:
      pixels_HWC, uint16.
    """
    high_HWC = decode_as(file, f'{mode};16B').astype(np.uint16)
    return (high_HWC << 8) | decode_as(file, f'{mode};16L')


def decode_16bit_gray_alpha(file: BinaryIO) -> np.ndarray:
    """Decodes 16-bit gray+alpha to uint16 pixels_HWC, read by Pillow as 8-bit RGBA."""
    return np.ascontiguousarray(decode_as(file, 'RGBA')).view('>u2').astype(np.uint16)


def preserved_chunks(file: BinaryIO) -> tuple[Chunk, ...]:
    """Reads the chunks that remain valid when pixels change: color space, resolution, text, EXIF.

    Raises:
      EOFError: the file ends before its last chunk.
      UserError: a checksum is wrong; Pillow does not check that of the pixels.
    """
    file.seek(len(_SIGNATURE))
    chunks = []
    kind = b''
    while kind != b'IEND':
        head = file.read(8)
        if len(head) < 8:
            raise EOFError('it ends before its last chunk')
        length, kind = struct.unpack('>I4s', head)
        content = file.read(length)
        if file.read(4) != struct.pack('>I', _crc(kind, content)):
            raise UserError(f'is damaged: wrong checksum in chunk {kind!r}.')
        safe_to_copy = kind[:1].islower() and kind[3:].islower()
        if safe_to_copy or kind in _DESCRIPTIVE:
            chunks.append((kind, content))
    return tuple(chunks)


def encode(
    pixels: np.ndarray,
    mode: str,
    *,
    icc_profile: bytes | None = None,
    exif: bytes | None = None,
    dpi: tuple[float, float] | None = None,
    chunks: tuple[Chunk, ...] | None = None,
) -> bytes:
    """Encodes a PNG file without interlacing.

    Args:
      pixels: (H, W) or (H, W, C), uint8 or uint16.
      mode: 'gray', 'gray+alpha', 'rgb' or 'rgba'.
      icc_profile: color profile.
      exif: EXIF block, starting at its byte-order mark.
      dpi: pixels per inch, horizontal and vertical.
      chunks: from `preserved_chunks`; used instead of the three above.
    """
    if chunks is None:
        chunks = ()
        if icc_profile:
            chunks += ((b'iCCP', b'ICC profile\0\0' + zlib.compress(icc_profile)),)
        if dpi:
            per_meter = (round(value / 0.0254) for value in dpi)
            chunks += ((b'pHYs', struct.pack('>IIB', *per_meter, 1)),)
        if exif:
            chunks += ((b'eXIf', exif),)
    height, width = pixels.shape[:2]
    header = struct.pack('>IIBBBBB', width, height, 8 * pixels.itemsize, _COLOR_TYPE[mode], 0, 0, 0)
    data = _compressed_rows(pixels)
    every_chunk = ((b'IHDR', header), *chunks, (b'IDAT', data), (b'IEND', b''))
    return _SIGNATURE + b''.join(
        struct.pack('>I4s', len(content), kind) + content + struct.pack('>I', _crc(kind, content))
        for kind, content in every_chunk
    )


def _crc(kind: bytes, content: bytes) -> int:
    return zlib.crc32(content, zlib.crc32(kind))


def _compressed_rows(pixels: np.ndarray) -> bytes:
    """Filters and deflates rows, each with the filter of smallest sum of |residual| (PNG 12.7)."""
    height, width = pixels.shape[:2]
    big_endian = pixels.astype(pixels.dtype.newbyteorder('>')).reshape(height, -1)
    bytes_per_pixel = big_endian.shape[1] // width * pixels.itemsize
    # PNG filters take pixels left of and above the image as 0.
    padded = np.pad(big_endian.view(np.uint8), ((1, 0), (bytes_per_pixel, 0)))
    block = max(1, _BLOCK_BYTES // padded.shape[1])
    deflate = zlib.compressobj(level=3)  # photographs: 1 % more bytes than level 6, half the time
    parts = []
    for top in range(0, height, block):
        parts.append(deflate.compress(_filter_rows(padded[top : top + block + 1], bytes_per_pixel)))
    return b''.join((*parts, deflate.flush()))


def _filter_rows(padded: np.ndarray, bytes_per_pixel: int) -> bytes:
    here = padded[1:, bytes_per_pixel:]
    left = padded[1:, :-bytes_per_pixel]
    above = padded[:-1, bytes_per_pixel:]
    corner = padded[:-1, :-bytes_per_pixel].astype(np.int16)
    # |p - left|, |p - above| and |p - corner| with p = left + above - corner
    to_left = np.abs(above - corner)
    to_above = np.abs(left - corner)
    to_corner = np.abs(left + (above - 2 * corner))
    paeth = np.where(
        (to_left <= to_above) & (to_left <= to_corner),
        left,
        np.where(to_above <= to_corner, above, corner.astype(np.uint8)),
    )
    candidates = {0: here, 1: here - left, 2: here - above, 4: here - paeth}
    kinds = np.array(list(candidates), np.uint8)
    rows = np.stack(list(candidates.values()))
    cost = np.abs(rows.view(np.int8).astype(np.int16)).sum(axis=2)
    best = np.argmin(cost, axis=0)
    chosen = rows[best, np.arange(len(best))]
    return np.concatenate((kinds[best][:, None], chosen), axis=1).tobytes()
