"""EXR files as `OpenedFile`: one image, decoded on first read.

H height, W width, C channels.
"""

from pathlib import Path

import numpy as np

from n2n_jax.images.codecs import exr
from n2n_jax.images.frames import Frame
from n2n_jax.images.image_file import OpenedFile
from n2n_jax.runtime.host_memory import check_fits


class ExrFile(OpenedFile):
    """An EXR file; keeps its image in memory once decoded."""

    def __init__(self, path: Path):
        super().__init__(path)
        header = exr.read_header(path)
        axes = 'YXS' if header.channels > 1 else 'YX'
        self.frames = [Frame(header.height, header.width, header.channels, 0, header.dtype, axes)]
        self._pixels_HWC: np.ndarray | None = None

    def _read(self, index: int, start: int, stop: int) -> np.ndarray:
        if self._pixels_HWC is None:
            frame = self.frames[0]
            check_fits(frame.height * frame.width * frame.channels * frame.dtype.itemsize)
            self._pixels_HWC = exr.read(self.path)
        return self._pixels_HWC[start:stop]
