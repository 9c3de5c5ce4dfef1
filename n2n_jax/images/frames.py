"""What a file says about its images.

H height, W width, C channels.

Alpha, once for all formats. Every sample of a pixel is either a channel, which is trained on and
denoised, or an extra, which is kept as it is:

- Of an RGB image the channels are the three colors, and all that follows is extra: alpha, whether
  or not the file says so, or a mask.
- Of any other image the samples at the end that the file marks as alpha are extra (of TIFF,
  ExtraSamples 1 and 2), and all before them are channels.
- NumPy arrays, and TIFF images whose channels lie on pages of their own, have channels only; of an
  EXR file R, G and B or Y are the channels, and nothing else is read.

An extra that varies like a picture is warned of, see `n2n_jax.images.alpha`.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

KINDS = ('uint8', 'uint16', 'uint32', 'int8', 'int16', 'int32', 'float16', 'float32', 'float64')
MARKED_ALPHA = (1, 2)  # ExtraSamples: colors are multiplied by it, or are not


@dataclasses.dataclass(frozen=True)
class Frame:
    """An image of a file; equal frames have pixels of one kind.

    Attributes:
      height: rows.
      width: columns.
      channels: samples of a pixel that are denoised.
      extra: samples behind them that are kept as they are, such as alpha.
      dtype: of a sample as it is read, in the byte order of the machine.
      axes: how it lies in the file: Y rows, X columns, S samples of a pixel, C channels on pages of
        their own.
      planes: pages of the file that hold its channels.
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
        """Of a pixel."""
        return self.channels + self.extra

    @property
    def has_extra(self) -> bool:
        """Whether there is anything to keep beside the channels."""
        return self.extra > 0


@dataclasses.dataclass(frozen=True)
class Metadata:
    """What an image hands down to those made from it.

    Attributes:
      format: 'PNG', 'JPEG', 'TIFF', 'BMP' or 'WEBP'; '' if the image did not come from such a file.
      icc_profile: color profile.
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


def num_extra(samples: int, *, rgb: bool, extrasamples: Sequence[int]) -> int:
    """How many samples at the end of a pixel are no channels; the rule is at the head.

    Args:
      samples: of a pixel.
      rgb: whether the first three are a color.
      extrasamples: what the file says about those behind the first one or three, as TIFF has it.
    """
    if rgb:
        return max(0, samples - 3)
    count = 0
    for kind in reversed(extrasamples[: samples - 1]):
        if kind not in MARKED_ALPHA:
            break
        count += 1
    return count
