"""JPEG compression: the losses of storing an image as a JPEG file, without the file.

The arithmetic is that of libjpeg, on whole numbers. Floating-point results depend on the shape of
a batch in their last digit, and rounding coefficients would turn that into visible differences.

H height, W width, C channels; Y, X rows and columns of blocks; I, J rows and columns of a block,
K, L its frequencies.
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from n2n_jax.corruptions.base import Corruption
from n2n_jax.corruptions.missing import observed_around, observed_in_blocks

# Quantization steps at quality 50 (ITU-T T.81, tables K.1 and K.2).
_LUMINANCE_KL = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ],
    np.int32,
)
_CHROMINANCE_KL = np.full((8, 8), 99, np.int32)
_CHROMINANCE_KL[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]

# The cosine transform in units of 2^-11, sqrt(8) times the orthonormal one: a mean of 64 bytes is
# exact, and often lies between two steps. With the bits dropped below, all sums stay below 2^31.
_COSINE_KI = np.cos(np.pi / 16 * np.arange(8)[:, None] * (2 * np.arange(8) + 1)) * np.sqrt(2)
_COSINE_KI[0] = 1
_COSINE_KI = np.round(2**11 * _COSINE_KI).astype(np.int32)


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of JPEG compression.

    Attributes:
      chroma: whether color has half the resolution (420) or all of it (444); 'any': one of them,
        drawn for each image.
    """

    chroma: Literal['420', '444', 'any'] = '420'


def sample_image(
    key: jax.Array, image_HWC: jax.Array, quality: jax.Array, options: Options
) -> tuple[jax.Array, jax.Array | None]:
    """Clips, rounds to 8 bits and quantizes the cosine transform of blocks of 8x8 pixels.

    Blocks start at the top left corner; the last ones are filled by repeating the edge. Images that
    do not have three channels are gray, each channel for itself. Steps depend on the quality as in
    libjpeg, and color is interpolated as there.
    """
    h, w, c = image_HWC.shape
    if options.chroma == 'any':
        half_HWC, _ = sample_image(key, image_HWC, quality, Options('420'))
        full_HWC, _ = sample_image(key, image_HWC, quality, Options('444'))
        return jnp.where(jax.random.bernoulli(key), half_HWC, full_HWC), None
    block = 16 if c == 3 and options.chroma == '420' else 8
    bytes_HWC = jnp.round(jnp.clip(image_HWC, 0.0, 1.0) * 255).astype(jnp.int32)
    bytes_HWC = jnp.pad(bytes_HWC, ((0, -h % block), (0, -w % block), (0, 0)), mode='edge')
    luminance_KL, chrominance_KL = (
        _steps(quality, table_KL) for table_KL in (_LUMINANCE_KL, _CHROMINANCE_KL)
    )
    if c != 3:
        stored = [_stored(bytes_HWC[..., i], luminance_KL) for i in range(c)]
        return jnp.stack(stored, axis=2)[:h, :w].astype(jnp.float32) / 255, None
    luma_HW, *chroma = _to_ycc(bytes_HWC)
    if options.chroma == '420':
        halves = [_stored(_halved(x_HW), chrominance_KL) for x_HW in chroma]
        # Beyond the edge of an image, the edge is repeated, rather than what is stored there.
        chroma = [_doubled(x_HW[: (h + 1) // 2, : (w + 1) // 2])[:h, :w] for x_HW in halves]
    else:
        chroma = [_stored(x_HW, chrominance_KL)[:h, :w] for x_HW in chroma]
    rgb_HWC = _to_rgb(_stored(luma_HW, luminance_KL)[:h, :w], *chroma)
    return rgb_HWC.astype(jnp.float32) / 255, None


def _steps(quality: jax.Array, table_KL: np.ndarray) -> jax.Array:
    """Returns the quantization steps at a quality of 1 to 100, as libjpeg scales them."""
    whole = jnp.round(quality).astype(jnp.int32)
    percent = jnp.where(whole < 50, 5000 // whole, 200 - 2 * whole)
    return jnp.clip((percent * table_KL + 50) // 100, 1, 255)


def _stored(plane_HW: jax.Array, steps_KL: jax.Array) -> jax.Array:
    """Returns what is left of bytes after their transform is quantized; sides: multiples of 8."""
    h, w = plane_HW.shape
    blocks_YIXJ = plane_HW.reshape(h // 8, 8, w // 8, 8) - 128
    half_YKXJ = _shifted(jnp.einsum('ki,yixj->ykxj', _COSINE_KI, blocks_YIXJ), 5)
    whole_YKXL = jnp.einsum('lj,ykxj->ykxl', _COSINE_KI, half_YKXJ)
    steps_1K1L = steps_KL[None, :, None, :]
    divisor = steps_1K1L << 20  # 11 + 11 - 5 bits, and 3 for the factor 8
    magnitude_YKXL = (jnp.abs(whole_YKXL) + divisor // 2) // divisor
    kept_YKXL = jnp.sign(whole_YKXL) * magnitude_YKXL * steps_1K1L
    half_YIXL = _shifted(jnp.einsum('ki,ykxl->yixl', _COSINE_KI, kept_YKXL), 6)
    blocks_YIXJ = _shifted(jnp.einsum('lj,yixl->yixj', _COSINE_KI, half_YIXL), 19)
    return jnp.clip(blocks_YIXJ + 128, 0, 255).reshape(h, w)


def _shifted(value: jax.Array, bits: int) -> jax.Array:
    """Divides by a power of 2 and rounds."""
    return (value + (1 << (bits - 1))) >> bits


def _to_ycc(bytes_HWC: jax.Array) -> tuple[jax.Array, ...]:
    """Returns luminance and the two color differences plus 128, as bytes (JFIF 1.02)."""
    weights = ((19595, 38470, 7471), (-11059, -21709, 32768), (32768, -27439, -5329))
    # The color differences round a half down, so that 255.5 stays a byte.
    offsets = (1 << 15, (128 << 16) + (1 << 15) - 1, (128 << 16) + (1 << 15) - 1)
    r_HW, g_HW, b_HW = (bytes_HWC[..., i] for i in range(3))
    return tuple(
        (r * r_HW + g * g_HW + b * b_HW + offset) >> 16
        for (r, g, b), offset in zip(weights, offsets, strict=True)
    )


def _to_rgb(luma_HW: jax.Array, blue_HW: jax.Array, red_HW: jax.Array) -> jax.Array:
    """Returns bytes (H, W, 3); the inverse of `_to_ycc`."""
    blue_HW, red_HW = blue_HW - 128, red_HW - 128
    differences = (
        _shifted(91881 * red_HW, 16),
        _shifted(-22554 * blue_HW - 46802 * red_HW, 16),
        _shifted(116130 * blue_HW, 16),
    )
    return jnp.clip(jnp.stack([luma_HW + x_HW for x_HW in differences], axis=2), 0, 255)


def _halved(plane_HW: jax.Array) -> jax.Array:
    """Averages squares of four pixels; rounds halves down and up in turns."""
    rows_HW = plane_HW[::2] + plane_HW[1::2]
    sums_HW = rows_HW[:, ::2] + rows_HW[:, 1::2]
    return (sums_HW + 1 + jnp.arange(sums_HW.shape[1])[None] % 2) >> 2


def _doubled(plane_HW: jax.Array) -> jax.Array:
    """Interpolates linearly between centers of squares of four pixels."""
    h, w = plane_HW.shape
    padded_HW = jnp.pad(plane_HW, 1, mode='edge')
    middle_HW = 3 * padded_HW[1:-1]
    rows_HW = jnp.stack([middle_HW + padded_HW[:-2], middle_HW + padded_HW[2:]], axis=1)
    rows_HW = rows_HW.reshape(2 * h, w + 2)
    middle_HW = 3 * rows_HW[:, 1:-1]
    both = [(middle_HW + rows_HW[:, :-2] + 8) >> 4, (middle_HW + rows_HW[:, 2:] + 7) >> 4]
    return jnp.stack(both, axis=2).reshape(2 * h, 2 * w)


def _spread(mask_HWC: jax.Array, options: Options) -> jax.Array:
    # 420 spreads farther than 444, so it stands for any.
    if mask_HWC.shape[2] != 3 or options.chroma == '444':
        return observed_in_blocks(mask_HWC, 8)
    return observed_around(observed_in_blocks(mask_HWC, 16))


JPEG = Corruption(
    name='jpeg',
    level='quality, as of libjpeg',
    bounds=(1.0, 100.0),
    sample_image=sample_image,
    statistics=(),  # what coefficients are rounded to depends on the rest of their block
    options=Options(),
    nonnegative=True,
    mixes=True,
    spread=_spread,
    cuts='clipped to [0, 1] and stored as JPEG of quality {level}',
)
