"""OpenEXR, the float images of renderers; their reader is an optional package.

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

_CHANNEL_LIST = b'channels\0chlist\0'  # name and type of the attribute
_MOST_HEADER_BYTES = 1 << 20
_DTYPES = (np.uint32, np.float16, np.float32)  # by what the list calls them


class Header(NamedTuple):
    """What an image will be.

    Attributes:
      height: rows.
      width: columns.
      channels: 1 or 3.
      dtype: of a sample.
    """

    height: int
    width: int
    channels: int
    dtype: np.dtype


def read(path: Path) -> np.ndarray:
    """The colors of an image, (H, W, 3), or (H, W, 1) if it has no others than Y.

    float16, float32 or uint32 as in the file; values above 1 stay. Alpha and render layers
    (albedo.R, ...) are left out; of several parts the first is read.

    Raises:
      UserError: with a predicate: the reader is not installed, the file is damaged, or it holds no
        colors.
    """
    with _opened(path) as file:
        with decoding():
            channels = file.channels()
        names = _color_names(channels)
        with decoding():
            colors = [np.asarray(channels[name].pixels) for name in names]
    if any(color.shape != colors[0].shape for color in colors):
        raise UserError('holds colors at a lower resolution than others: resample them.')
    return np.stack(colors, axis=-1)


def read_header(path: Path) -> Header:
    """What `read` gives, from the header.

    Raises:
      UserError: as `read`, as far as the header shows.
    """
    with _opened(path, header_only=True) as file, decoding():
        header = file.header()
        channels = [channel.name for channel in header['channels']]
        (left, top), (right, bottom) = header['dataWindow']
        height, width = int(bottom - top + 1), int(right - left + 1)
    names = _color_names(channels)
    types = _types(path)
    if not all(name in types for name in names):
        raise UserError('is damaged: its header does not say what its numbers are.')
    return Header(height, width, len(names), np.result_type(*[types[name] for name in names]))


def _types(path: Path) -> dict[str, np.dtype]:
    """By channel; read by hand, as the package tells them with the pixels only."""
    with path.open('rb') as file:
        _, found, rest = file.read(_MOST_HEADER_BYTES).partition(_CHANNEL_LIST)
    types = {}
    place = 4  # behind the size
    while found and len(rest) > place and rest[place]:
        name, _, entry = rest[place:].partition(b'\0')
        if len(entry) < 16:
            break
        (kind,) = struct.unpack('<I', entry[:4])
        if kind < len(_DTYPES):
            types[name.decode('utf-8', 'replace')] = np.dtype(_DTYPES[kind])
        place += len(name) + 1 + 16
    return types


def with_colors(path: Path, colors_HWC: np.ndarray) -> bytes:
    """A file like that at `path`, with alpha, layers and attributes, but with other colors.

    Raises:
      UserError: as `read`.
    """
    with _opened(path) as file, tempfile.TemporaryDirectory() as folder:
        with decoding():
            channels = file.channels()
        for k, name in enumerate(_color_names(channels)):
            channels[name].pixels = np.ascontiguousarray(colors_HWC[..., k])
        copy = Path(folder, 'copy.exr')  # the package writes to names only
        file.write(str(copy))
        return copy.read_bytes()


@contextlib.contextmanager
def _opened(path: Path, *, header_only: bool = False) -> Iterator[Any]:
    try:
        import OpenEXR
    except ImportError:
        raise UserError(
            "is an EXR file, which needs one more package: pip install 'n2n_jax[exr]'."
        ) from None
    try:
        file = OpenEXR.File(str(path), separate_channels=True, header_only=header_only)
    except Exception as error:  # RuntimeError, in most cases
        raise UserError(f'is damaged or no EXR file ({error}).') from error
    with file:
        yield file


def _color_names(channels: Collection[str]) -> str:
    for names in ('RGB', 'Y'):
        if all(name in channels for name in names):
            return names
    way_out = 'R, G and B are needed, or Y'
    if any('.' in name for name in channels):  # as Blender names those of its layers
        way_out += (
            ", not those of layers only: save it as 'OpenEXR' rather than 'OpenEXR MultiLayer'"
        )
    raise UserError(f'holds the channels {", ".join(channels) or "none"}: {way_out}.')
