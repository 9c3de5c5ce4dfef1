"""Encodes single-image TIFF files.

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
    """Encodes a little-endian TIFF file with one image in strips; BigTIFF from 4 GB on.

    Args:
      pixels: (H, W) or (H, W, C), integers or floats.
      mode: 'gray', 'gray+alpha', 'rgb' or 'rgba'.
      icc_profile: color profile.
      exif: EXIF block, starting at its byte-order mark; its first directory is merged into the
        file's.
      dpi: pixels per inch, horizontal and vertical; ignored if `exif` has a resolution.
      compressed: use Deflate, with the horizontal predictor for integers.
      alpha_kind: ExtraSamples: 0 unspecified, 1 premultiplied alpha, 2 straight alpha.
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
        tags=tuple(metadata_tags(icc_profile, exif, dpi)),
    )
    file = io.BytesIO()
    writer = TiffWriter(file, [page])
    writer.write(0, samples_HWC)
    writer.finish()
    return file.getvalue()


def metadata_tags(
    icc_profile: bytes | None, exif: bytes | None, dpi: tuple[float, float] | None
) -> list[tiff_tags.Tag]:
    """Returns the metadata arguments of `encode` as tags."""
    tags = tiff_tags.exif_tags(exif) if exif else []
    if icc_profile:
        tags.append(tiff_tags.icc_profile_tag(icc_profile))
    if dpi and not any(tag.code in (282, 283) for tag in tags):
        tags = [tag for tag in tags if tag.code != 296]
        for code, value in zip((282, 283), dpi, strict=True):
            denominator = 1000 if value < 1e6 else 1  # numerator and denominator have 32 bits
            numerator = round(value * denominator)
            tags.append(tiff_tags.number_tag(code, tiff_tags.RATIONAL, numerator, denominator))
        tags.append(tiff_tags.number_tag(296, tiff_tags.SHORT, 2))
    return tags
