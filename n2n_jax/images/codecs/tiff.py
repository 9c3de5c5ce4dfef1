"""TIFF files of one image: integers and floats, with the tags that describe them.

H height, W width, C channels.
"""

import io

import numpy as np

from n2n_jax.images.codecs import tiff_tags
from n2n_jax.images.codecs.tiff_writer import Page, TiffWriter


def encode(
    pixels: np.ndarray,
    mode: str,
    *,
    icc_profile: bytes | None = None,
    exif: bytes | None = None,
    dpi: tuple[float, float] | None = None,
    compressed: bool = True,
    alpha_kind: int = 2,
    white_is_zero: bool = False,
) -> bytes:
    """A little-endian TIFF file with one image in strips; BigTIFF from 4 GB on.

    Args:
      pixels: (H, W) or (H, W, C), integers or floats.
      mode: 'gray', 'gray+alpha', 'rgb' or 'rgba'.
      icc_profile: color profile.
      exif: EXIF, from its byte-order mark on; its first directory becomes that of the file.
      dpi: pixels per inch across and down, unless `exif` says.
      compressed: with Deflate, after differences along each row if the samples are integers.
      alpha_kind: 0 unknown, 1 colors are multiplied by alpha, 2 they are not (ExtraSamples).
      white_is_zero: whether larger samples are darker.
    """
    samples_HWC = np.atleast_3d(pixels)
    height, width, channels = samples_HWC.shape
    page = Page(
        height,
        width,
        channels,
        samples_HWC.dtype,
        rgb=mode.startswith('rgb'),
        extra=(alpha_kind,) if channels in (2, 4) else (),
        white_is_zero=white_is_zero,
        compressed=compressed,
        tags=tuple(tags_of(icc_profile, exif, dpi)),
    )
    file = io.BytesIO()
    writer = TiffWriter(file, [page])
    writer.write(0, samples_HWC)
    writer.finish()
    return file.getvalue()


def tags_of(
    icc_profile: bytes | None, exif: bytes | None, dpi: tuple[float, float] | None
) -> list[tiff_tags.Tag]:
    """What `encode` is told about an image, as tags."""
    tags = tiff_tags.exif_tags(exif) if exif else []
    if icc_profile:
        tags.append(tiff_tags.profile(icc_profile))
    if dpi and not any(tag.code in (282, 283) for tag in tags):
        tags = [tag for tag in tags if tag.code != 296]
        for code, value in zip((282, 283), dpi, strict=True):
            denominator = 1000 if value < 1e6 else 1  # both parts have 32 bits
            numerator = round(value * denominator)
            tags.append(tiff_tags.numbers(code, tiff_tags.RATIONAL, numerator, denominator))
        tags.append(tiff_tags.numbers(296, tiff_tags.SHORT, 2))
    return tags
