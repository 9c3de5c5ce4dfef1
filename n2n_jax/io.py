"""Reads and writes images of any depth without changing them.

What a file holds comes back in its own type, and what is written goes out in the type, mode and
metadata of the image it was made from.

H height, W width, C channels.
"""

import contextlib
import dataclasses
import os
import shutil
import struct
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from n2n_jax.codecs import pillow, png, tiff
from n2n_jax.errors import UserError
from n2n_jax.natural_sort import natural_key

_CHANNELS = {'gray': 1, 'gray+alpha': 2, 'rgb': 3, 'rgba': 4}
_MODES = {channels: mode for mode, channels in _CHANNELS.items()}
_FULL_SCALE = {'bool': 1, 'uint8': 255, 'uint16': 65535}
TIFF_MARKS = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')


@dataclasses.dataclass(frozen=True)
class Metadata:
    """What an image hands down to those made from it.

    Attributes:
      format: 'PNG', 'JPEG', 'TIFF', 'BMP' or 'WEBP'; '' if the image did not come from a file.
      icc_profile: colour profile.
      exif: EXIF, from its byte-order mark on; of a TIFF file, all tags that describe the image.
      dpi: pixels per inch across and down.
      native: what only this format knows, as keyword arguments of its encoder: JPEG's
        quantization tables, PNG's chunks, whether a TIFF was compressed.
    """

    format: str = ''
    icc_profile: bytes | None = None
    exif: bytes | None = None
    dpi: tuple[float, float] | None = None
    native: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class ImageFile:
    """An image as it lies on disk.

    Attributes:
      pixels: (H, W) if gray, else (H, W, C); uint8, uint16, float16, float32 or float64.
      mode: 'gray', 'gray+alpha', 'rgb' or 'rgba'.
      path: where it came from, for messages.
      metadata: what must survive.
    """

    pixels: np.ndarray
    mode: str
    path: Path
    metadata: Metadata = Metadata()


def find_images(folder: str | Path, *, also: Collection[str] = ()) -> list[Path]:
    """Image files in a folder and the folders below, 'img2' before 'img10', no hidden ones.

    Symbolic links to folders are not followed. `also` has suffixes to look for beside those of
    images.

    Raises:
      UserError: no such folder, or no image inside.
    """
    root = Path(folder)
    if not root.exists():
        raise UserError(f'{folder}: no such folder.')
    if not root.is_dir():
        raise UserError(f'{folder}: this is a file; give the folder that holds the images.')
    found = []
    for parent, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith('.')]
        found += [
            Path(parent, name)
            for name in names
            if not name.startswith('.') and Path(name).suffix.lower() in (*IMAGE_SUFFIXES, *also)
        ]
    if not found:
        raise UserError(f'{folder}: no image inside; looked for {_either((*_SUFFIXES, *also))}.')
    return sorted(found, key=lambda path: _natural_order(path.relative_to(root)))


def image_size(path: str | Path) -> tuple[int, int, int]:
    """(H, W, C) of an image, alpha counted in C, without decoding its pixels.

    Raises:
      UserError: as `read_image`, as far as the header shows.
    """
    with _opened(path) as (file, codec):
        return codec.read_size(file)


def read_image(path: str | Path) -> ImageFile:
    """Reads an image at its full depth.

    Palettes become RGB or RGBA, samples of 1 to 4 bits become uint8 with full scale 255, a
    transparent colour becomes an alpha channel, and 'white is zero' TIFFs are inverted; all of
    them stay so when written. Pixels lie as in the file: EXIF orientation is not applied.

    Raises:
      UserError: the file is missing, unreadable, damaged, cut short, of an unknown kind, CMYK,
        of 32-bit or signed integers, or holds several images.
    """
    with _opened(path) as (file, codec):
        pixels, mode, found = codec.read(file)
    return ImageFile(pixels, mode, Path(path), Metadata(**found))


def write_image(path: str | Path, image: ImageFile) -> None:
    """Writes an image in the format that the suffix names, with all metadata it can hold.

    A JPEG made from a JPEG gets the same quantization tables and chroma subsampling, any other
    quality 95. TIFFs are compressed with Deflate unless the source is an uncompressed TIFF.
    The file appears whole or not at all; what was there before stays until then.

    Raises:
      UserError: the format cannot hold this type of pixels, or the file cannot be written.
    """
    name = _SUFFIXES.get(Path(path).suffix.lower())
    if name is None:
        raise UserError(f'{path}: the name must end in {_either(_SUFFIXES)}.')
    target = _FORMATS[name]
    dtype = image.pixels.dtype.name
    if dtype not in target.dtypes or image.mode not in target.modes:
        able = [
            suffix
            for suffix, other in _SUFFIXES.items()
            if dtype in _FORMATS[other].dtypes and image.mode in _FORMATS[other].modes
        ]
        raise UserError(
            f'{path}: {name} cannot hold {dtype} {image.mode} pixels; '
            + (f'write {_either(able)} instead.' if able else 'no format written here can.')
        )
    metadata = image.metadata
    native = metadata.native if metadata.format == name else {}
    try:
        data = target.encode(
            image.pixels,
            image.mode,
            icc_profile=metadata.icc_profile,
            exif=metadata.exif,
            dpi=metadata.dpi,
            **native,
        )
    except (OSError, ValueError, struct.error) as error:
        raise UserError(f'{path}: this image cannot be written as {name}: {error}.') from error
    _replace_file(path, data)


def write_pixels(path: str | Path, pixels: np.ndarray) -> None:
    """Writes an array, (H, W) or (H, W, C) with C = 1 to 4, as `write_image` does."""
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    mode = 'gray' if pixels.ndim == 2 else _MODES[pixels.shape[2]]
    write_image(path, ImageFile(pixels, mode, Path(path)))


def color_and_alpha(image: ImageFile) -> tuple[np.ndarray, np.ndarray | None]:
    """Splits an image into what is denoised and what is not.

    Returns:
      color_HWC: float32, C = 1 or 3; integers divided by their largest value, so in [0, 1],
        floats in their own units.
      alpha_HW: in the type of the file, or None.
    """
    colors = _color_channels(image)
    pixels_HWC = np.atleast_3d(image.pixels)
    color_HWC = pixels_HWC[:, :, :colors].astype(np.float32)
    full_scale = _FULL_SCALE.get(image.pixels.dtype.name)
    if full_scale:
        color_HWC /= np.float32(full_scale)
    return color_HWC, pixels_HWC[:, :, colors] if pixels_HWC.shape[2] > colors else None


def check_range(image: ImageFile, *, margin: float) -> None:
    """Looks whether an image's values are what networks work on.

    Raises:
      UserError: the type is not 8 or 16 bits or floating point, or floating-point values are not
        numbers or leave [0, 1] by more than `margin`.
    """
    pixels = image.pixels
    if pixels.dtype.name in _FULL_SCALE:
        return
    if pixels.dtype.kind != 'f':
        raise UserError(
            f'{image.path} holds {pixels.dtype} values: uint8, uint16 or floating point in [0, 1] '
            'is needed.'
        )
    num_bad = int(pixels.size - np.isfinite(pixels).sum())
    if num_bad:
        raise UserError(f'{image.path} holds {num_bad} values that are not numbers: mend them.')
    low, high = float(pixels.min()), float(pixels.max())
    if low < -margin or high > 1 + margin:
        raise UserError(
            f'{image.path} holds floating-point values from {low:g} to {high:g}, and networks work '
            'on [0, 1] (a little noise beyond is fine): scale it first.'
        )


def with_color(image: ImageFile, color_HWC: np.ndarray) -> ImageFile:
    """The image with other colours, in its own type: the inverse of `color_and_alpha`.

    Integers are rounded to the nearest (halves to even), and all types saturate at the end of
    their range. Alpha stays as it was.

    Args:
      image: where type, alpha and metadata come from.
      color_HWC: float32, as `color_and_alpha` gives it.

    Raises:
      UserError: another size or number of channels, or values that are not finite.
    """
    colors = _color_channels(image)
    dtype = image.pixels.dtype
    if color_HWC.shape != (*image.pixels.shape[:2], colors):
        raise UserError(
            f'{image.path} needs colours of shape {(*image.pixels.shape[:2], colors)}, not '
            f'{color_HWC.shape}.'
        )
    bad = color_HWC.size - np.count_nonzero(np.isfinite(color_HWC))
    if bad:
        raise UserError(
            f'{image.path}: {bad} of {color_HWC.size} new values are infinite or not a number.'
        )
    full_scale = _FULL_SCALE.get(dtype.name)
    if full_scale:
        color_HWC = np.rint(np.clip(color_HWC, 0, 1) * np.float32(full_scale))
    elif dtype == np.float16:
        color_HWC = np.clip(color_HWC, np.finfo(dtype).min, np.finfo(dtype).max)
    pixels_HWC = np.atleast_3d(image.pixels).copy()
    pixels_HWC[:, :, :colors] = color_HWC.astype(dtype)
    return dataclasses.replace(image, pixels=pixels_HWC.reshape(image.pixels.shape))


def full_scale(dtype: np.dtype) -> float:
    """The value that is 1 in the range [0, 1] of `color_and_alpha`."""
    return float(_FULL_SCALE.get(dtype.name, 1))


def _color_channels(image: ImageFile) -> int:
    return 3 if image.mode.startswith('rgb') else 1


def _natural_order(path: Path) -> tuple[list[list[str | int]], str]:
    return [natural_key(part) for part in path.parts], str(path)


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[tuple[BinaryIO, ModuleType]]:
    """Opens an image file, picks its codec, and names the file in all errors of the body."""
    with named_in_errors(path), Path(path).open('rb') as file:
        # A raw photograph, for one, is a TIFF whose first image is a thumbnail.
        if Path(path).suffix.lower() not in IMAGE_SUFFIXES:
            raise UserError(f'is not read: the name must end in {_either(_SUFFIXES)}.')
        mark = file.read(4)
        file.seek(0)
        if not mark:
            raise UserError('is empty.')
        yield file, tiff if mark in TIFF_MARKS else pillow


def is_tiff(path: str | Path) -> bool:
    """Whether a file begins as TIFF does, whatever its name says."""
    with named_in_errors(path), Path(path).open('rb') as file:
        return file.read(4) in TIFF_MARKS


@contextlib.contextmanager
def named_in_errors(path: str | Path) -> Iterator[None]:
    """Turns all that can go wrong while a file is read into a UserError that names it.

    One that is raised inside has a predicate for its message.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f'{path}: no such file.') from error
    except IsADirectoryError as error:
        raise UserError(f'{path} is a folder, not an image.') from error
    except PermissionError as error:
        raise UserError(f'{path}: no permission to read it.') from error
    except UserError as error:
        raise UserError(f'{path} {error}') from error
    except MemoryError as error:  # also where a damaged header promises a huge image
        raise UserError(f'{path} is damaged, or too large for the memory: {error}.') from error
    except Exception as error:  # decoders meet damaged bytes with errors of every kind
        raise UserError(f'{path} is damaged or cut short ({error}).') from error


class _Format(NamedTuple):
    dtypes: tuple[str, ...]
    modes: tuple[str, ...]
    encode: Callable[..., bytes]


_ALL_MODES = tuple(_CHANNELS)
_FORMATS = {
    'PNG': _Format(('uint8', 'uint16'), _ALL_MODES, png.encode),
    'TIFF': _Format(('uint8', 'uint16', 'float16', 'float32', 'float64'), _ALL_MODES, tiff.encode),
    'JPEG': _Format(('uint8',), ('gray', 'rgb'), pillow.encode_jpeg),
    'BMP': _Format(('uint8',), ('gray', 'rgb'), pillow.encode_bmp),
    'WEBP': _Format(('uint8',), ('rgb', 'rgba'), pillow.encode_webp),
}
_SUFFIXES = {
    '.png': 'PNG',
    '.tif': 'TIFF',
    '.tiff': 'TIFF',
    '.jpg': 'JPEG',
    '.jpeg': 'JPEG',
    '.bmp': 'BMP',
    '.webp': 'WEBP',
}
IMAGE_SUFFIXES = frozenset(_SUFFIXES)


def _either(words: Iterable[str]) -> str:
    *others, last = words
    return f'{", ".join(others)} or {last}' if others else last


def _replace_file(path: str | Path, data: bytes) -> None:
    """Puts `data` at `path`: whole, or with an error and nothing changed."""
    with replacing(path) as file:
        file.write(data)


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[BinaryIO]:
    """A new file, which becomes the one at `path` if the body ends well, and else is gone.

    Raises:
      UserError: it cannot be written; nothing was changed then.
    """
    target = Path(path).resolve()  # a link stays a link
    temporary = target.with_name(f'.n2n-{uuid.uuid4().hex}.tmp')
    try:
        with temporary.open('xb') as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f'{path} cannot be written: {reason}. Nothing was changed.') from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
