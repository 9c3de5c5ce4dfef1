"""A camera: photons on a sensor with a color filter, and the processing of its raw values.

What a camera file does after that, rounding and compression, is in `file_format` and `jpeg`:
`camera:1000+quantize:8`, `camera:1000+jpeg:85`.

H height, W width, C channels; N pixels of the sensor.
"""

import dataclasses
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import numpy as np

from n2n_jax.corruptions import draws, poisson
from n2n_jax.corruptions.base import Corruption
from n2n_jax.corruptions.missing import observed_around
from n2n_jax.corruptions.tone_curve import to_linear, to_srgb
from n2n_jax.runtime.config_field import Bounds
from n2n_jax.runtime.errors import UserError

_GAIN = Bounds(0.1, 10)


@dataclasses.dataclass(frozen=True)
class Options:
    """What can be set besides the number of photons.

    Attributes:
      read: standard deviation of the read noise in electrons.
      red: gain of the white balance for red; that of green is 1.
      blue: gain of the white balance for blue.
      demosaic: how missing colors are interpolated: 'linear'; 'gradient', corrected by the
        gradients of the color that is there (Malvar, He and Cutler 2004); 'none', as no color is
        missing: three sensors, or an image that was made much smaller; 'any': one of these three,
        drawn for each image.
    """

    read: Annotated[float, Bounds(0)] = 2.0
    red: Annotated[float, _GAIN] = 2.0
    blue: Annotated[float, _GAIN] = 1.5
    demosaic: Literal['linear', 'gradient', 'none', 'any'] = 'linear'


def sample_image(
    key: jax.Array, image_HWC: jax.Array, photons: jax.Array, options: Options
) -> tuple[jax.Array, jax.Array | None]:
    """Takes an sRGB image as the scene, and draws the sRGB image that a camera makes of it.

    The scene is brought to linear light (IEC 61966-2-1) and divided by the gains of the white
    balance. Each pixel of the sensor sees one color of it: the rows are RGRG... and GBGB..., and
    the pixel at the corner of the image, or of a crop of one, is red. With x the light on a pixel,
    its raw value is (Poisson(photons x) + n) / photons, n ~ N(0, read^2). Missing colors are
    interpolated from the pixels around, then come the gains and the tone curve of sRGB.

    Gray images are those of a sensor without filters: no interpolation, no gains. Nothing is
    clipped: below 0 the tone curve continues as a straight line. Negative inputs are treated as 0.

    Raises:
      UserError: a color image has fewer than two rows or columns, so a color is missing.
    """
    h, w, c = image_HWC.shape
    light_HWC = to_linear(jnp.maximum(image_HWC, 0.0))
    if c != 3:
        return to_srgb(_raw(key, light_HWC, photons, options)), None
    if min(h, w) < 2:
        raise UserError(
            f"Noise 'camera' needs color images of 2x2 pixels or more, but one has {w}x{h}."
        )
    gains_11C = jnp.array([options.red, 1.0, options.blue], jnp.float32).reshape(1, 1, 3)
    light_HWC = light_HWC / gains_11C
    if options.demosaic in ('linear', 'gradient'):
        light_HW = (light_HWC * sites(h, w)).sum(axis=2)  # all but one are 0
        raw_HW = _raw(key, light_HW, photons, options)
        return to_srgb(_DEMOSAIC[options.demosaic](raw_HW, gains_11C)), None
    key_raw, key_kind = jax.random.split(key)
    raw_HWC = _raw(key_raw, light_HWC, photons, options)
    colors_HWC = gains_11C * raw_HWC
    if options.demosaic == 'any':
        raw_HW = (raw_HWC * sites(h, w)).sum(axis=2)
        interpolated = [demosaic(raw_HW, gains_11C) for demosaic in _DEMOSAIC.values()]
        kind = jax.random.randint(key_kind, (), 0, 1 + len(interpolated))
        colors_HWC = jax.lax.select_n(kind, colors_HWC, *interpolated)
    return to_srgb(colors_HWC), None


def sites(h: int, w: int) -> np.ndarray:
    """Returns the color filters of a sensor, (H, W, 3): 1 for the color that a pixel sees."""
    found_HWC = np.zeros((h, w, 3), np.float32)
    found_HWC[::2, ::2, 0] = 1
    found_HWC[::2, 1::2, 1] = found_HWC[1::2, ::2, 1] = 1
    found_HWC[1::2, 1::2, 2] = 1
    return found_HWC


def _raw(key: jax.Array, light: jax.Array, photons: jax.Array, options: Options) -> jax.Array:
    """Draws raw values, as an array of the same shape; their mean is the light."""
    key_shot, key_read = jax.random.split(key)
    # Rounded, so that XLA computes each of them once, rather than wherever it is used.
    rate_N = draws.rounded(photons * light.reshape(-1))
    counts_N = draws.rounded(poisson.poisson_counts(key_shot, rate_N))
    noise_N = draws.rounded(jnp.float32(options.read) * draws.normal(key_read, light.size))
    return ((counts_N + noise_N) / photons).reshape(light.shape)


def demosaic_linear(raw_HW: jax.Array, gains_11C: jax.Array) -> jax.Array:
    """Returns three colors per pixel, (H, W, 3), by linear interpolation of a mosaic.

    The mosaic has two rows and columns or more.
    """
    h, w = raw_HW.shape
    # Mirrored at the outermost pixels, which continues the pattern of the filters.
    padded_HW = jnp.pad(raw_HW, 1, mode='reflect')
    # Row 0 of the padded mosaic is odd.
    padded_HWC = padded_HW[..., None] * sites(h + 3, w + 3)[1:, 1:]

    def shifted(dy: int, dx: int) -> jax.Array:
        return padded_HWC[1 + dy : 1 + dy + h, 1 + dx : 1 + dx + w]

    straight_HWC = (shifted(-1, 0) + shifted(1, 0)) + (shifted(0, -1) + shifted(0, 1))
    diagonal_HWC = (shifted(-1, -1) + shifted(1, 1)) + (shifted(-1, 1) + shifted(1, -1))
    # Of red and blue there are half as many pixels as of green. These weights are powers of 2, so
    # no product is rounded (see `draws.rounded`).
    straight_11C = np.array([0.5, 0.25, 0.5], np.float32).reshape(1, 1, 3)
    diagonal_11C = np.array([0.25, 0.0, 0.25], np.float32).reshape(1, 1, 3)
    found_HWC = shifted(0, 0) + straight_11C * straight_HWC + diagonal_11C * diagonal_HWC
    return gains_11C * found_HWC


def demosaic_gradient(raw_HW: jax.Array, gains_11C: jax.Array) -> jax.Array:
    """Returns three colors per pixel, (H, W, 3), by gradient-corrected linear interpolation.

    Malvar, He and Cutler 2004, "High-quality linear interpolation for demosaicing of
    Bayer-patterned color images", figure 2: linear interpolation plus a share of the Laplacian of
    the color that is there, so edges stay sharp in all colors. The mosaic has two rows and columns
    or more.
    """
    h, w = raw_HW.shape
    sites_HWC = sites(h, w)
    # Balanced first, so that edges of gray things are equally strong in all colors.
    balanced_HW = draws.rounded(raw_HW * (gains_11C * sites_HWC).sum(axis=2))
    padded_HW = jnp.pad(balanced_HW, 2, mode='reflect')  # continues the pattern of the filters

    def shifted(dy: int, dx: int) -> jax.Array:
        return padded_HW[2 + dy : 2 + dy + h, 2 + dx : 2 + dx + w]

    center_HW = shifted(0, 0)
    across_HW, down_HW = shifted(0, -1) + shifted(0, 1), shifted(-1, 0) + shifted(1, 0)
    far_across_HW, far_down_HW = shifted(0, -2) + shifted(0, 2), shifted(-2, 0) + shifted(2, 0)
    diagonal_HW = (shifted(-1, -1) + shifted(1, 1)) + (shifted(-1, 1) + shifted(1, -1))
    far_HW = far_across_HW + far_down_HW
    # Weights of 5, 6 and 1.5 as sums of powers of 2, so that no product is rounded.
    green_HW = (4 * center_HW + 2 * (across_HW + down_HW) - far_HW) / 8
    five_HW = 4 * center_HW + center_HW - diagonal_HW
    beside_HW = (five_HW + 4 * across_HW - far_across_HW + far_down_HW / 2) / 8
    below_HW = (five_HW + 4 * down_HW - far_down_HW + far_across_HW / 2) / 8
    opposite_HW = (4 * center_HW + 2 * (center_HW + diagonal_HW) - far_HW - far_HW / 2) / 8
    red_HW, green_site_HW, blue_HW = (sites_HWC[..., i] == 1 for i in range(3))
    odd_rows_HW = np.arange(h)[:, None] % 2 == np.ones(w)
    in_row_HW = jnp.where(odd_rows_HW, below_HW, beside_HW)  # red at green pixels
    in_column_HW = jnp.where(odd_rows_HW, beside_HW, below_HW)  # blue at green pixels
    return jnp.stack(
        [
            jnp.where(red_HW, center_HW, jnp.where(blue_HW, opposite_HW, in_row_HW)),
            jnp.where(green_site_HW, center_HW, green_HW),
            jnp.where(blue_HW, center_HW, jnp.where(red_HW, opposite_HW, in_column_HW)),
        ],
        axis=2,
    )


_DEMOSAIC = {'linear': demosaic_linear, 'gradient': demosaic_gradient}


CAMERA = Corruption(
    name='camera',
    level='expected photons of a white pixel (green)',
    bounds=poisson.POISSON.bounds,
    sample_image=sample_image,
    # Noise has mean 0 in linear light only: the tone curve moves the mean. Interpolated colors are
    # also not those of the scene at edges, on average.
    statistics=lambda options: ('mean in linear light',) if options.demosaic == 'none' else (),
    options=Options(),
    logarithmic=True,
    rectifies=True,
    mixes=True,
    spread=lambda mask_HWC, options: observed_around(mask_HWC),
)
