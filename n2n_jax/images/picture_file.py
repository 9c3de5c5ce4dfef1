"""PNG, JPEG, BMP and WebP files as `OpenedFile`: one image, decoded on first read.

H height, W width, C samples.
"""

from pathlib import Path

import numpy as np

from n2n_jax.images.codecs import pillow
from n2n_jax.images.frames import Frame, Metadata
from n2n_jax.images.image_file import OpenedFile
from n2n_jax.runtime.host_memory import check_fits

_CHANNELS = {'gray': 1, 'gray+alpha': 1, 'rgb': 3, 'rgba': 3}


class PictureFile(OpenedFile):
    """An image file that Pillow decodes; keeps its image in memory once decoded."""

    def __init__(self, path: Path):
        super().__init__(path)
        with path.open('rb') as file:
            header = pillow.read_header(file)
        channels = _CHANNELS[header.mode]
        extra = header.mode in ('gray+alpha', 'rgba')
        self.frames = [Frame(header.height, header.width, channels, int(extra), header.dtype)]
        self._decoded: tuple[np.ndarray, Metadata] | None = None

    def _read(self, index: int, start: int, stop: int) -> np.ndarray:
        return self._image[0][start:stop]

    def _metadata(self, index: int) -> Metadata:
        return self._image[1]

    @property
    def _image(self) -> tuple[np.ndarray, Metadata]:
        """All pixels, (H, W, C), and metadata."""
        if self._decoded is None:
            frame = self.frames[0]
            check_fits(frame.height * frame.width * frame.samples * frame.dtype.itemsize)
            with self.path.open('rb') as file:
                pixels, _, found = pillow.read(file)
            self._decoded = np.atleast_3d(pixels), Metadata(**found)
        return self._decoded
