"""OpenEXR, the float images of renderers; their reader is an optional package.

H height, W width, C channels.
"""

import contextlib
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from n2n_jax.errors import UserError

SUFFIX = '.exr'


def read(path: Path) -> np.ndarray:
    """The colours of an image, (H, W, 3), or (H, W, 1) if it has no others than Y.

    float16, float32 or uint32 as in the file; values above 1 stay. Alpha and render layers
    (albedo.R, ...) are left out; of several parts the first is read.

    Raises:
      UserError: the reader is not installed, the file is damaged, or it holds no colours.
    """
    with _opened(path) as file:
        channels = file.channels()
        colors = [channels[name].pixels for name in _color_names(path, channels)]
    if any(color.shape != colors[0].shape for color in colors):
        raise UserError(f'{path} holds colours at a lower resolution than others: resample them.')
    return np.stack(colors, axis=-1)


def read_size(path: Path) -> tuple[int, int, int]:
    """(H, W, C) of what `read` gives, from the header.

    Raises:
      UserError: as `read`, as far as the header shows.
    """
    with _opened(path, header_only=True) as file:
        header = file.header()
        names = [channel.name for channel in header['channels']]
        (left, top), (right, bottom) = header['dataWindow']
    return int(bottom - top + 1), int(right - left + 1), len(_color_names(path, names))


def with_colors(path: Path, colors_HWC: np.ndarray) -> bytes:
    """A file like that at `path`, with alpha, layers and attributes, but with other colours.

    Raises:
      UserError: as `read`.
    """
    with _opened(path) as file, tempfile.TemporaryDirectory() as folder:
        channels = file.channels()
        for k, name in enumerate(_color_names(path, channels)):
            channels[name].pixels = np.ascontiguousarray(colors_HWC[..., k])
        copy = Path(folder, f'copy{SUFFIX}')  # the package writes to names only
        file.write(str(copy))
        return copy.read_bytes()


@contextlib.contextmanager
def _opened(path: Path, *, header_only: bool = False) -> Iterator[Any]:
    try:
        import OpenEXR
    except ImportError:
        raise UserError(
            f"{path}: EXR files need one more package: pip install 'n2n_jax[exr]'."
        ) from None
    if not path.exists():
        raise UserError(f'{path}: no such file.')
    try:
        file = OpenEXR.File(str(path), separate_channels=True, header_only=header_only)
    except Exception as error:  # RuntimeError, in most cases
        raise UserError(f'{path} is damaged or no EXR file ({error}).') from error
    with file:
        yield file


def _color_names(path: Path, channels: Collection[str]) -> str:
    for names in ('RGB', 'Y'):
        if all(name in channels for name in names):
            return names
    raise UserError(
        f'{path} holds the channels {", ".join(channels)}: R, G and B are needed, or Y.'
    )
