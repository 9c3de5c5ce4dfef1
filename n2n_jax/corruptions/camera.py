"""A camera: photons on a sensor with a color filter, and the processing of its raw values.

What a camera file does after that, rounding and compression, is in `file_format` and `jpeg`:
`camera:1000+quantize:8`, `camera:1000+jpeg:85`.

H height, W width, C channels; N pixels of the sensor.
"""

import dataclasses
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np

from n2n_jax.corruptions import draws, poisson
from n2n_jax.corruptions.base import Corruption
from n2n_jax.corruptions.missing import observed_around
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
    """

    read: Annotated[float, Bounds(0)] = 2.0
    red: Annotated[float, _GAIN] = 2.0
    blue: Annotated[float, _GAIN] = 1.5


def sample_image(
    key: jax.Array, image_HWC: jax.Array, photons: jax.Array, options: Options
) -> tuple[jax.Array, jax.Array | None]:
    """Takes an sRGB image as the scene, and draws the sRGB image that a camera makes of it.

    The scene is brought to linear light (IEC 61966-2-1) and divided by the gains of the white
    balance. Each pixel of the sensor sees one color of it: the rows are RGRG... and GBGB..., and
    the pixel at the corner of the image, or of a crop of one, is red. With x the light on a pixel,
    its raw value is (Poisson(photons x) + n) / photons, n ~ N(0, read^2). Missing colors are
    interpolated linearly from the pixels around, then come the gains and the tone curve of sRGB.

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
    light_HW = (light_HWC / gains_11C * sites(h, w)).sum(axis=2)  # all but one are 0
    raw_HW = _raw(key, light_HW, photons, options)
    return to_srgb(gains_11C * interpolated(raw_HW)), None


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


def interpolated(raw_HW: jax.Array) -> jax.Array:
    """Returns three colors per pixel, (H, W, 3), by linear interpolation of a mosaic.

    It has two rows and columns or more.
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
    return shifted(0, 0) + straight_11C * straight_HWC + diagonal_11C * diagonal_HWC


def to_linear(value: jax.Array) -> jax.Array:
    """Maps sRGB values, at least 0, to linear light (IEC 61966-2-1)."""
    curve = ((jnp.maximum(value, 0.04045) + 0.055) / 1.055) ** 2.4
    return jnp.where(value <= 0.04045, value / 12.92, curve)


def to_srgb(light: jax.Array) -> jax.Array:
    """Maps linear light to sRGB values (IEC 61966-2-1); a straight line below 0."""
    curve = draws.rounded(1.055 * jnp.maximum(light, 0.0031308) ** (1 / 2.4)) - 0.055
    return jnp.where(light <= 0.0031308, 12.92 * light, curve)


CAMERA = Corruption(
    name='camera',
    level='expected photons of a white pixel (green)',
    bounds=poisson.POISSON.bounds,
    sample_image=sample_image,
    # Noise is independent of the scene and has mean 0 in linear light only: the tone curve moves
    # the mean. Interpolated colors are also not those of the scene at edges, on average.
    statistics=(),
    options=Options(),
    rectifies=True,
    mixes=True,
    spread=lambda mask_HWC, options: observed_around(mask_HWC),
)
