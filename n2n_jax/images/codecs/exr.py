"""OpenEXR codec, the float format of renderers; needs the optional OpenEXR package.

H height, W width, C channels.
"""

import contextlib
import struct
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from n2n_jax.images.codecs.damage import decoding
from n2n_jax.runtime.errors import UserError

_CHANNEL_LIST = b'channels\0chlist\0'  # name and type of the header attribute
_MOST_HEADER_BYTES = 1 << 20
_DTYPES = (np.uint32, np.float16, np.float32)  # indexed by OpenEXR's pixel type code


class Header(NamedTuple):
    """Shape and type of an image.

    Attributes:
      height: rows.
      width: columns.
      channels: 1 (Y) or 3 (RGB).
      dtype: type of a sample.
    """

    height: int
    width: int
    channels: int
    dtype: np.dtype


def read(path: Path) -> np.ndarray:
    """Reads the colors of an image, (H, W, 3), or its luminance, (H, W, 1), if it has only Y.

    float16, float32 or uint32 as in the file; values above 1 are kept. Alpha and render layers
    (albedo.R, ...) are skipped; of a multi-part file the first part is read.

    Raises:
      UserError: the OpenEXR package is missing, the file is damaged, or it has no colors.
    """
    with _open_exr(path) as file:
        with decoding():
            channels = file.channels()
        names = _color_names(channels)
        with decoding():
            colors = [np.asarray(channels[name].pixels) for name in names]
    if any(color.shape != colors[0].shape for color in colors):
        raise UserError('holds color channels of different resolutions: resample them.')
    return np.stack(colors, axis=-1)


def read_header(path: Path) -> Header:
    """Returns shape and type of what `read` returns, without decoding pixels.

    Raises:
      UserError: as `read`, if the header shows it.
    """
    with _open_exr(path, header_only=True) as file, decoding():
        header = file.header()
        channels = [channel.name for channel in header['channels']]
        (left, top), (right, bottom) = header['dataWindow']
        height, width = int(bottom - top + 1), int(right - left + 1)
    names = _color_names(channels)
    types = _channel_types(path)
    if not all(name in types for name in names):
        raise UserError('is damaged: its header lacks the pixel types.')
    return Header(height, width, len(names), np.result_type(*[types[name] for name in names]))


def _channel_types(path: Path) -> dict[str, np.dtype]:
    """Returns pixel types by channel.

    Parsed by hand: the OpenEXR package reports them only once the pixels are read.
    """
    with path.open('rb') as file:
        _, found, rest = file.read(_MOST_HEADER_BYTES).partition(_CHANNEL_LIST)
    types = {}
    position = 4  # after the size
    while found and len(rest) > position and rest[position]:
        name, _, entry = rest[position:].partition(b'\0')
        if len(entry) < 16:
            break
        (kind,) = struct.unpack('<I', entry[:4])
        if kind < len(_DTYPES):
            types[name.decode('utf-8', 'replace')] = np.dtype(_DTYPES[kind])
        position += len(name) + 1 + 16
    return types


def with_colors(path: Path, colors_HWC: np.ndarray) -> bytes:
    """Encodes a copy of the file at `path` with new colors; alpha, layers and attributes are kept.

    Raises:
      UserError: as `read`.
    """
    with _open_exr(path) as file, tempfile.TemporaryDirectory() as folder:
        with decoding():
            channels = file.channels()
        for k, name in enumerate(_color_names(channels)):
            channels[name].pixels = np.ascontiguousarray(colors_HWC[..., k])
        copy = Path(folder, 'copy.exr')  # the package writes to paths only
        file.write(str(copy))
        return copy.read_bytes()


@contextlib.contextmanager
def _open_exr(path: Path, *, header_only: bool = False) -> Iterator[Any]:
    try:
        import OpenEXR
    except ImportError:
        raise UserError(
            "is an EXR file, which needs an optional package: pip install 'n2n_jax[exr]'."
        ) from None
    try:
        file = OpenEXR.File(str(path), separate_channels=True, header_only=header_only)
    except Exception as error:  # mostly RuntimeError
        raise UserError(f'is damaged or not an EXR file ({error}).') from error
    with file:
        yield file


def _color_names(channels: Collection[str]) -> str:
    for names in ('RGB', 'Y'):
        if all(name in channels for name in names):
            return names
    way_out = 'it must have R, G and B, or Y'
    if any('.' in name for name in channels):  # Blender's names of layer channels
        way_out += (
            ", not only those of layers: save it as 'OpenEXR' rather than 'OpenEXR MultiLayer'"
        )
    raise UserError(f'holds the channels {", ".join(channels) or "none"}: {way_out}.')
