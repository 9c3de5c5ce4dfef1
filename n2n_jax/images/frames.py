"""Frame geometry, alpha convention and metadata of image files.

H height, W width, C channels.

One alpha convention for all formats. Every sample of a pixel is either a channel, which is trained
on and denoised, or an extra, which is copied unchanged:

- RGB images: the three colors are channels, all further samples are extra (alpha, whether or not
  the file says so, or a mask).
- Other images: trailing samples that the file marks as alpha are extra (in TIFF, ExtraSamples 1
  and 2), all others are channels.
- NumPy arrays, and TIFF images with one page per channel, have channels only. In EXR files R, G and
  B, or Y, are the channels, and nothing else is read.

An extra sample that varies like an image causes a warning, see `n2n_jax.images.alpha`.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

KINDS = ('uint8', 'uint16', 'uint32', 'int8', 'int16', 'int32', 'float16', 'float32', 'float64')
MARKED_ALPHA = (1, 2)  # ExtraSamples: premultiplied (associated) and straight alpha


@dataclasses.dataclass(frozen=True)
class Frame:
    """The geometry of one image in a file; frames of the same shape and type compare equal.

    Attributes:
      height: rows.
      width: columns.
      channels: samples per pixel that are denoised.
      extra: further samples per pixel that are copied unchanged, such as alpha.
      dtype: type of a sample as read, in native byte order.
      axes: order of the axes in the file: Y rows, X columns, S samples, C channels on separate
        pages.
      planes: number of pages that hold its channels.
    """

    height: int
    width: int
    channels: int
    extra: int
    dtype: np.dtype
    axes: str = dataclasses.field(default='YXS', compare=False)
    planes: int = dataclasses.field(default=1, compare=False)

    @property
    def samples(self) -> int:
        """Samples per pixel."""
        return self.channels + self.extra

    @property
    def has_extra(self) -> bool:
        """Whether pixels have samples besides the channels."""
        return self.extra > 0


@dataclasses.dataclass(frozen=True)
class Metadata:
    """Metadata that denoised images inherit from their source.

    Attributes:
      format: 'PNG', 'JPEG', 'TIFF', 'BMP' or 'WEBP'; '' for any other source.
      icc_profile: color profile.
      exif: EXIF block, starting at its byte-order mark; for TIFF, all tags that describe the image.
      dpi: pixels per inch, horizontal and vertical.
      native: format-specific settings, as keyword arguments of its encoder: JPEG quantization
        tables, PNG chunks, whether a TIFF was compressed.
    """

    format: str = ''
    icc_profile: bytes | None = None
    exif: bytes | None = None
    dpi: tuple[float, float] | None = None
    native: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def num_extra(samples: int, *, rgb: bool, extrasamples: Sequence[int]) -> int:
    """Returns how many trailing samples are not channels, by the convention of this module.

    Args:
      samples: samples per pixel.
      rgb: whether the first three are a color.
      extrasamples: TIFF ExtraSamples codes of the samples after the first one or three.
    """
    if rgb:
        return max(0, samples - 3)
    count = 0
    for kind in reversed(extrasamples[: samples - 1]):
        if kind not in MARKED_ALPHA:
            break
        count += 1
    return count
