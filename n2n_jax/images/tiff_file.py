"""TIFF files as `OpenedFile`."""

from pathlib import Path

import numpy as np

from n2n_jax.images.alpha import AlphaWatch
from n2n_jax.images.codecs.tiff_reader import TiffReader
from n2n_jax.images.frames import Frame, Metadata, num_extra
from n2n_jax.images.image_file import OpenedFile

_WITHOUT_ALPHA = "without alpha (tifffile.imwrite(..., photometric='minisblack'))"


class TiffFile(OpenedFile):
    """A TIFF file; an image is one page, or one page per channel.

    Attributes:
      tiff: the page reader.
    """

    def __init__(self, path: Path):
        super().__init__(path)
        self.alpha_watch = AlphaWatch(path, _WITHOUT_ALPHA)
        self._file = path.open('rb')
        try:
            self.tiff = TiffReader(self._file)
        except BaseException:
            self._file.close()
            raise
        self.frames = [self._frame(pages) for pages in self.tiff.images]

    def _frame(self, page_indices: tuple[int, ...]) -> Frame:
        pages = [self.tiff.pages[index] for index in page_indices]
        first = pages[0]
        samples = sum(page.samples for page in pages)
        extra = 0
        if len(pages) == 1:
            extra = num_extra(samples, rgb=first.rgb, extrasamples=first.extra)
        axes = first.source.axes if len(pages) == 1 else f'C{first.source.axes}'
        planes = len(pages)
        channels = samples - extra
        return Frame(first.height, first.width, channels, extra, first.dtype, axes, planes)

    def _read(self, index: int, start: int, stop: int) -> np.ndarray:
        parts = [self.tiff.read(page, start, stop) for page in self.tiff.images[index]]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)

    def _metadata(self, index: int) -> Metadata:
        return Metadata(**self.tiff.metadata(self.tiff.images[index][0]))

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
