"""Reads and writes single images of any bit depth without loss.

Pixels are read in the type of the file, and written in the type, mode and metadata of the image
that they were made from.

H height, W width, C channels.
"""

import dataclasses
import struct
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np

from n2n_jax import images
from n2n_jax.images import Metadata
from n2n_jax.images.codecs import pillow, png, tiff
from n2n_jax.images.folders import readable_files
from n2n_jax.images.suffixes import either
from n2n_jax.runtime.atomic_files import replacing
from n2n_jax.runtime.errors import UserError

_CHANNELS = {'gray': 1, 'gray+alpha': 2, 'rgb': 3, 'rgba': 4}
_MODES = {channels: mode for mode, channels in _CHANNELS.items()}
_FULL_SCALE = {'uint8': 255, 'uint16': 65535}


@dataclasses.dataclass(frozen=True)
class Picture:
    """An image as it is stored on disk.

    Attributes:
      pixels: (H, W) if gray, else (H, W, C); one of the types in `images.KINDS`.
      mode: 'gray', 'gray+alpha', 'rgb' or 'rgba'.
      path: the source file, named in errors.
      metadata: written along with the pixels.
    """

    pixels: np.ndarray
    mode: str
    path: Path
    metadata: Metadata = dataclasses.field(default_factory=Metadata)


def find_images(folder: str | Path, *, also: Collection[str] = ()) -> list[Path]:
    """Returns the image files in a folder and its subfolders in natural order, without hidden ones.

    Args:
      folder: searched as `folders.readable_files` does.
      also: suffixes to include besides those of images.

    Raises:
      UserError: no such folder, or it contains no image.
    """
    root = Path(folder)
    if not root.exists():
        raise UserError(f'{folder}: no such folder.')
    if not root.is_dir():
        raise UserError(f'{folder} is a file: give the folder that contains the images.')
    found = readable_files(root, (*IMAGE_SUFFIXES, *also))
    if not found:
        raise UserError(
            f'{folder} contains no image: looked for {either((*_SUFFIXES, *also))} files.'
        )
    return found


def image_size(path: str | Path) -> tuple[int, int, int]:
    """Returns the (H, W, C) of an image, with alpha counted in C, from the header alone.

    Raises:
      UserError: as `read_image`, if the header shows it.
    """
    with images.open_image(Path(path)) as file:
        frame, mode = _only_frame(file)
        return frame.height, frame.width, _CHANNELS[mode]


def read_image(path: str | Path) -> Picture:
    """Reads a single-image file at full bit depth.

    Pixels are those of `images.ImageFile.read`; a single extra sample is kept as alpha, several are
    dropped. Palettes are expanded to colors, and white-is-zero TIFFs of unsigned integers are
    inverted; both are written that way.

    Raises:
      UserError: the file is missing, damaged, truncated, of an unsupported kind, holds several
        images, or one that is neither gray nor RGB.
    """
    with images.open_image(Path(path)) as file:
        _, mode = _only_frame(file)
        pixels = file.read(0)[..., : _CHANNELS[mode]]
        if mode == 'gray':
            pixels = pixels[..., 0]
        return Picture(pixels, mode, Path(path), file.metadata())


def _only_frame(file: images.ImageFile) -> tuple[images.Frame, str]:
    """Returns the frame of a single-image file and its mode."""
    frame = file.frames[0]
    count = len(file.frames) * frame.planes
    if count > 1:
        raise UserError(
            f'{file.path} holds {count} images, but only one per file is supported here. Save '
            'each as its own file (in ImageJ: File > Save As > Image Sequence).'
        )
    mode = mode_of(frame)
    if not mode:
        raise UserError(
            f'{file.path} holds {frame.samples} channels, but only gray and RGB are supported '
            'here, with or without alpha. Save each channel as its own gray file.'
        )
    return frame, mode


def mode_of(frame: images.Frame) -> str:
    """Returns 'gray', 'gray+alpha', 'rgb' or 'rgba'; '' for any other, such as gray planes."""
    if frame.channels not in (1, 3) or frame.planes > 1:
        return ''
    return _MODES[frame.channels + (frame.extra == 1)]


def write_image(path: str | Path, image: Picture) -> None:
    """Writes an image in the format given by the suffix, with all metadata the format can hold.

    A JPEG made from a JPEG gets the same quantization tables and chroma subsampling, any other
    quality 95. TIFFs are compressed with Deflate unless the source is an uncompressed TIFF.
    The write is atomic: an existing file is replaced by the complete new one or left unchanged.

    Raises:
      UserError: the format cannot hold pixels of this type, or the file cannot be written.
    """
    check_writable(path, image.pixels.dtype, image.mode)
    name = _SUFFIXES[Path(path).suffix.lower()]
    metadata = image.metadata
    native = metadata.native if metadata.format == name else {}
    try:
        data = _FORMATS[name].encode(
            image.pixels,
            image.mode,
            icc_profile=metadata.icc_profile,
            exif=metadata.exif,
            dpi=metadata.dpi,
            **native,
        )
    except (OSError, ValueError, struct.error) as error:
        raise UserError(f'{path} cannot be written as {name}: {error}.') from error
    _replace_file(path, data)


def check_writable(path: str | Path, dtype: np.dtype, mode: str) -> None:
    """Checks that `write_image` can write pixels of a type and mode to `path`; writes nothing.

    Raises:
      UserError: the suffix is unknown, or its format cannot hold them.
    """
    name = _SUFFIXES.get(Path(path).suffix.lower())
    if name is None:
        raise UserError(f'{path}: the name must end in {either(_SUFFIXES)}.')

    def holds(name: str) -> bool:
        return dtype.name in _FORMATS[name].dtypes and mode in _FORMATS[name].modes

    if not holds(name):
        able = [suffix for suffix, other in _SUFFIXES.items() if holds(other)]
        raise UserError(
            f'{path}: {name} cannot hold {dtype.name} {mode} pixels; '
            + (f'write {either(able)} instead.' if able else 'no supported format can.')
        )


def write_pixels(path: str | Path, pixels: np.ndarray) -> None:
    """Writes an array, (H, W) or (H, W, C) with C from 1 to 4, as `write_image` does."""
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    mode = 'gray' if pixels.ndim == 2 else _MODES[pixels.shape[2]]
    write_image(path, Picture(pixels, mode, Path(path)))


def color_and_alpha(image: Picture) -> tuple[np.ndarray, np.ndarray | None]:
    """Splits an image into color channels and alpha.

    Returns:
      color_HWC: float32, C = 1 or 3; uint8 and uint16 divided by their largest value, so in [0, 1];
        other types unscaled.
      alpha_HW: in the type of the file, or None.
    """
    colors = _color_channels(image)
    pixels_HWC = np.atleast_3d(image.pixels)
    color_HWC = pixels_HWC[:, :, :colors].astype(np.float32)
    full_scale = _FULL_SCALE.get(image.pixels.dtype.name)
    if full_scale:
        color_HWC /= np.float32(full_scale)
    return color_HWC, pixels_HWC[:, :, colors] if pixels_HWC.shape[2] > colors else None


def check_range(image: Picture, *, margin: float) -> None:
    """Checks that an image has the type and value range that networks expect.

    Raises:
      UserError: the type is not uint8, uint16 or floating point, or floating-point values are NaN,
        infinite or more than `margin` outside [0, 1].
    """
    pixels = image.pixels
    if pixels.dtype.name in _FULL_SCALE:
        return
    if pixels.dtype.kind != 'f':
        raise UserError(
            f'{image.path} holds {pixels.dtype} values: convert it to uint8, uint16 or floating '
            'point in [0, 1].'
        )
    num_bad = int(pixels.size - np.isfinite(pixels).sum())
    if num_bad:
        raise UserError(
            f'{image.path} holds NaN or infinite values ({num_bad}): replace them first.'
        )
    low, high = float(pixels.min()), float(pixels.max())
    if low < -margin or high > 1 + margin:
        raise UserError(
            f'{image.path} holds floating-point values from {low:g} to {high:g}, but networks '
            'expect [0, 1] (a little noise outside is fine): scale it first.'
        )


def _color_channels(image: Picture) -> int:
    return 3 if image.mode.startswith('rgb') else 1


class _Format(NamedTuple):
    dtypes: tuple[str, ...]
    modes: tuple[str, ...]
    encode: Callable[..., bytes]


_ALL_MODES = tuple(_CHANNELS)
_FORMATS = {
    'PNG': _Format(('uint8', 'uint16'), _ALL_MODES, png.encode),
    'TIFF': _Format(images.KINDS, _ALL_MODES, tiff.encode),
    'JPEG': _Format(('uint8',), ('gray', 'rgb'), pillow.encode_jpeg),
    'BMP': _Format(('uint8',), ('gray', 'rgb'), pillow.encode_bmp),
    'WEBP': _Format(('uint8',), ('rgb', 'rgba'), pillow.encode_webp),
}
_SUFFIXES = {
    suffix: {'tif': 'TIFF', 'jpg': 'JPEG'}.get(suffix[1:], suffix[1:].upper())
    for suffix in images.PICTURE_SUFFIXES
}
IMAGE_SUFFIXES = frozenset(_SUFFIXES)


def _replace_file(path: str | Path, data: bytes) -> None:
    """Writes `data` to `path` atomically."""
    with replacing(path) as file:
        file.write(data)
