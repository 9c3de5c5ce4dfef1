"""PNG, JPEG, BMP and WebP codecs on Pillow.

H height, W width, C channels.
"""

import contextlib
import io
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageFile, JpegImagePlugin, WebPImagePlugin  # noqa: F401 (to know WebP)

from n2n_jax.images.codecs import png
from n2n_jax.images.codecs.damage import decoding
from n2n_jax.runtime.errors import UserError

_MODES = {'1': 'gray', 'L': 'gray', 'I;16': 'gray', 'LA': 'gray+alpha', 'RGB': 'rgb'}
_MODES |= {'RGBA': 'rgba', 'P': 'rgb'}
_WITH_ALPHA = {'gray': 'gray+alpha', 'rgb': 'rgba'}
_DEEP = ('LA;16B', 'RGB;16B', 'RGBA;16B')  # raw modes of 16-bit samples; BGR;16 has 5 bits each
_EXIF_MARK = b'Exif\0\0'
_JPEG_SEGMENT_BYTES = 65533


class Header(NamedTuple):
    """Shape and type of an image.

    Attributes:
      height: rows.
      width: columns.
      mode: 'gray', 'gray+alpha', 'rgb' or 'rgba'.
      dtype: type of a sample.
    """

    height: int
    width: int
    mode: str
    dtype: np.dtype


def read_header(file: BinaryIO) -> Header:
    """Returns shape and type of what `read` returns, without decoding pixels; raises as `read`."""
    with _open_pillow(file) as image:
        is_deep = image.mode == 'I;16' or _rawmode(image) in _DEEP
        dtype = np.dtype(np.uint16 if is_deep else np.uint8)
        return Header(image.height, image.width, _mode(image), dtype)


def read(file: BinaryIO) -> tuple[np.ndarray, str, dict[str, Any]]:
    """Reads an image.

    Palettes become RGB or RGBA, samples of 1 to 4 bits become uint8 with full scale 255, a
    transparent color becomes an alpha channel. EXIF orientation is not applied.

    Returns:
      pixels, mode, and keyword arguments for `n2n_jax.images.Metadata`.

    Raises:
      UserError: not an image of these formats, CMYK, an animation, too large, or damaged.
    """
    with _open_pillow(file) as image:
        mode = _mode(image)
        with decoding():
            pixels = _pixels(file, image)
        return pixels, mode, _metadata(file, image)


def encode_jpeg(
    pixels: np.ndarray,
    mode: str,
    *,
    icc_profile: bytes | None = None,
    exif: bytes | None = None,
    dpi: tuple[float, float] | None = None,
    **native: Any,
) -> bytes:
    """Encodes a JPEG file; `native` holds the encoder settings of the source, if it was a JPEG."""
    settings = dict(native) or {'quality': 95, 'subsampling': 0}
    if exif and len(_EXIF_MARK + exif) <= _JPEG_SEGMENT_BYTES:  # tags of a TIFF may be longer
        settings['exif'] = _EXIF_MARK + exif
    if dpi and max(dpi) < 1 << 16:  # the field has 16 bits
        settings['dpi'] = dpi
    return _encode(pixels, 'JPEG', icc_profile=icc_profile, **settings)


def encode_bmp(
    pixels: np.ndarray,
    mode: str,
    *,
    icc_profile: bytes | None = None,
    exif: bytes | None = None,
    dpi: tuple[float, float] | None = None,
) -> bytes:
    """Encodes a BMP file, which can hold no metadata but the resolution."""
    return _encode(pixels, 'BMP', dpi=dpi)


def encode_webp(
    pixels: np.ndarray,
    mode: str,
    *,
    icc_profile: bytes | None = None,
    exif: bytes | None = None,
    dpi: tuple[float, float] | None = None,
    **native: Any,
) -> bytes:
    """Encodes a lossless WebP file, including colors under full transparency."""
    return _encode(
        pixels, 'WEBP', lossless=True, exact=True, icc_profile=icc_profile, exif=exif, **native
    )


def _encode(pixels: np.ndarray, name: str, **settings: Any) -> bytes:
    file = io.BytesIO()
    given = {key: value for key, value in settings.items() if value is not None}
    Image.fromarray(pixels).save(file, name, **given)
    return file.getvalue()


@contextlib.contextmanager
def _open_pillow(file: BinaryIO) -> Iterator[ImageFile.ImageFile]:
    with decoding():
        image = _identify(file)
    with image:
        yield image


def _identify(file: BinaryIO) -> ImageFile.ImageFile:
    try:
        image = Image.open(file, formats=('PNG', 'JPEG', 'BMP', 'WEBP'))
    except Image.UnidentifiedImageError as error:
        raise UserError(
            'is not a readable image, despite its name: it does not start like a PNG, JPEG, TIFF, '
            'BMP or WebP file.'
        ) from error
    except Image.DecompressionBombError as error:
        raise UserError('has too many pixels for this format. Save it as TIFF.') from error
    # MPO is a JPEG followed by more images, such as a gain map; the first one is the photograph.
    frames = getattr(image, 'n_frames', 1)
    if frames > 1 and image.format != 'MPO':
        raise UserError(f'is an animation of {frames} images. Save them as one file each.')
    if image.mode not in _MODES:
        raise UserError(f'holds {image.mode} colors. Convert it to RGB or gray first.')
    return image


def _rawmode(image: ImageFile.ImageFile) -> str:
    """Returns Pillow's name for the sample layout in the file, such as 'RGB;16B'."""
    args = image.tile[0].args if image.tile else None
    return str(args[0]) if isinstance(args, tuple) else args or image.mode


def _mode(image: ImageFile.ImageFile) -> str:
    mode = 'gray+alpha' if _rawmode(image) == 'LA;16B' else _MODES[image.mode]
    # Transparency may be a palette index, a value per palette entry, or a single color.
    return _WITH_ALPHA[mode] if 'transparency' in image.info else mode


def _pixels(file: BinaryIO, image: ImageFile.ImageFile) -> np.ndarray:
    rawmode = _rawmode(image)
    if image.mode == 'P':
        return np.asarray(image.convert('RGBA' if 'transparency' in image.info else 'RGB'))
    if rawmode == 'LA;16B':
        return png.decode_16bit_gray_alpha(file)
    if rawmode in ('RGB;16B', 'RGBA;16B'):
        pixels = png.decode_16bit(file, image.mode)
    else:
        pixels = np.asarray(image.convert('L') if image.mode == '1' else image)
    key = image.info.get('transparency')
    if key is None:
        return pixels
    # Pillow scales 2- and 4-bit samples to 8 bits, but not the transparent color.
    key = np.multiply(key, {'L;2': 85, 'L;4': 17}.get(rawmode, 1))
    pixels_HWC = np.atleast_3d(pixels)
    opaque_HW1 = (pixels_HWC != key).any(axis=2, keepdims=True)
    alpha_HW1 = opaque_HW1 * np.iinfo(pixels.dtype).max
    return np.concatenate((pixels_HWC, alpha_HW1.astype(pixels.dtype)), axis=2)


def _metadata(file: BinaryIO, image: ImageFile.ImageFile) -> dict[str, Any]:
    name = 'JPEG' if image.format == 'MPO' else image.format
    native: dict[str, Any] = {}
    if name == 'PNG':
        native = {'chunks': png.preserved_chunks(file)}
    elif isinstance(image, JpegImagePlugin.JpegImageFile):
        sampling = JpegImagePlugin.get_sampling(image)
        native = {
            'qtables': image.quantization,
            # A subsampling that Pillow cannot write becomes 4:4:4, which loses nothing.
            'subsampling': 0 if sampling < 0 else sampling,
            'progressive': bool(image.info.get('progressive')),
            'comment': image.info.get('comment'),
            'xmp': image.info.get('xmp'),
        }
    elif name == 'WEBP':
        native = {'xmp': image.info.get('xmp')}
    exif = image.info.get('exif')
    return {
        'format': name,
        'icc_profile': image.info.get('icc_profile'),
        'exif': exif.removeprefix(_EXIF_MARK) if exif else None,
        'dpi': image.info.get('dpi'),
        'native': native,
    }
