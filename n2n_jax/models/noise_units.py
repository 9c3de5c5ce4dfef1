"""Normalizes captures with known noise: the network sees detail in units of that noise.

B batch, H height, W width, C channels.

Noise that is small compared with the range of the values is hard to learn from raw values: the
error of a random network is as large as the contrast of the scene, and takes hundreds of steps to
fall below the noise. So the image is split into a slow part (low frequencies), in units of the
contrast, and the remaining detail, in units of the noise. The output of the network and the loss
are in units of the noise too. This makes training invariant to gain and offset of the captures, and
to the noise level, except for the detail that exceeds the noise.

Values far beyond both units are compressed: an edge or a star of a thousand standard deviations
shows the network where it is, but not how bright.
"""

import dataclasses
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np

from n2n_jax.runtime.channel_numbers import numbers
from n2n_jax.runtime.config import NOT_MEASURED, ModelConfig
from n2n_jax.runtime.errors import UserError

# Standard deviation of the noise as the network sees it. Learning rates and clipping were tuned on
# microscopy (FMD) with noise of 0.045 of the range; for such captures nothing is rescaled.
NOISE = 0.045
# Detail beyond this is weighted by 1 / detail^2 in the loss. It is 89 standard deviations of the
# noise: edges keep their full weight, stars a thousand times brighter than the rest lose it.
_FULL_WEIGHT = 4.0
_BLUR = 2.0  # pixels, standard deviation of the Gaussian that extracts the slow part
_RADIUS = 6  # pixels, radius of its kernel
REACH = _RADIUS + 1  # pixels on each side that `view` depends on: a 3x3 median, then the blur


@dataclasses.dataclass(frozen=True)
class NoiseUnits:
    """Units of each channel, in the range of images.

    Attributes:
      center: value that the network sees as 0.
      contrast: unit of the slow part.
      scale: unit of the detail and of the network's output: the noise divided by `NOISE`.
    """

    center: tuple[float, ...]
    contrast: tuple[float, ...]
    scale: tuple[float, ...]

    @classmethod
    def of(cls, config: ModelConfig) -> Self | None:
        """Reads the units from a config; returns None if the noise is unknown.

        Raises:
          UserError: a setting is not one number or one per channel, or noise is not above 0.
        """
        if config.noise in ('', NOT_MEASURED):
            return None
        noise, center, contrast = (
            numbers(getattr(config, key), f'model.{key}', config.channels)
            for key in ('noise', 'center', 'contrast')
        )
        if min(noise) <= 0:
            raise UserError(f'model.noise={config.noise} must be above 0 for every channel.')
        scale = tuple(sigma / NOISE for sigma in noise)
        # The slow part is never amplified more than the detail.
        contrast = tuple(max(pair) for pair in zip(contrast, scale, strict=True))
        return cls(center, contrast, scale)

    @property
    def noise(self) -> tuple[float, ...]:
        """Standard deviation of the noise of each channel, in the range of images."""
        return tuple(NOISE * scale for scale in self.scale)

    def view(self, noisy_BHWC: jax.Array) -> jax.Array:
        """Converts noisy images to the input of the network: same shape, centered on 0."""
        slow_BHWC = _slow_part(noisy_BHWC)
        coarse_BHWC = (slow_BHWC - _broadcastable(self.center)) / _broadcastable(self.contrast)
        detail_BHWC = (noisy_BHWC - slow_BHWC) / _broadcastable(self.scale)
        return _compressed(coarse_BHWC) + _compressed(detail_BHWC)

    def restored(self, output_BHWC: jax.Array, noisy_BHWC: jax.Array | None) -> jax.Array:
        """Converts the output of the network to an image.

        Args:
          output_BHWC: the output, in units of `scale`.
          noisy_BHWC: the noisy image, if the output is a correction of it; None: the output is the
            image itself.
        """
        base = _broadcastable(self.center) if noisy_BHWC is None else noisy_BHWC
        return base + _broadcastable(self.scale) * output_BHWC

    def weights(self, noisy_BHWC: jax.Array) -> jax.Array:
        """Returns the weight of each value in the loss, in (0, 1].

        The weights depend on the input only, so the loss is still minimized by the mean of the
        targets.
        """
        detail_BHWC = jnp.abs(noisy_BHWC - _slow_part(noisy_BHWC)) / _broadcastable(self.scale)
        return (_FULL_WEIGHT / jnp.maximum(detail_BHWC, _FULL_WEIGHT)) ** 2

    def in_units(self, image_BHWC: jax.Array) -> jax.Array:
        """Converts an image to units of the loss."""
        return image_BHWC / _broadcastable(self.scale)


def _broadcastable(numbers_C: tuple[float, ...]) -> jax.Array:
    return jnp.asarray(numbers_C, jnp.float32).reshape(1, 1, 1, -1)


def _compressed(x: jax.Array) -> jax.Array:
    """Returns x within [-1, 1]; beyond, continues smoothly and saturates at -2 and 2."""
    size = jnp.maximum(jnp.abs(x), 1.0)
    return jnp.clip(x, -1.0, 1.0) + jnp.sign(x) * (1.0 - 1.0 / size)


def _slow_part(image_BHWC: jax.Array) -> jax.Array:
    """Extracts low frequencies: a 3x3 median, then a Gaussian blur.

    The median removes single bright pixels, which the blur would spread over their neighbors.
    """
    return _blur(_median_3x3(image_BHWC))


def _padded(image_BHWC: jax.Array, margin: int) -> jax.Array:
    _, h, w, _ = image_BHWC.shape
    mode = 'reflect' if h > margin and w > margin else 'symmetric'
    widths = ((0, 0), (margin, margin), (margin, margin), (0, 0))
    return jnp.pad(image_BHWC, widths, mode=mode)


def _blur(image_BHWC: jax.Array) -> jax.Array:
    _, h, w, _ = image_BHWC.shape
    offsets = np.arange(-_RADIUS, _RADIUS + 1)
    kernel = np.exp(-(offsets**2) / (2 * _BLUR**2))
    taps = [float(tap) for tap in kernel / kernel.sum()]
    padded_BHWC = _padded(image_BHWC, _RADIUS)
    zero = jnp.zeros((), image_BHWC.dtype)
    rows_BHWC = sum((tap * padded_BHWC[:, i : i + h] for i, tap in enumerate(taps)), start=zero)
    return sum((tap * rows_BHWC[:, :, i : i + w] for i, tap in enumerate(taps)), start=zero)


def _median_3x3(image_BHWC: jax.Array) -> jax.Array:
    """Computes the exact 3x3 median with 18 comparisons (Kopp et al.).

    Sorts every column of three. The median of nine is the median of the largest of the minima, the
    median of the medians, and the smallest of the maxima.
    """
    _, h, w, _ = image_BHWC.shape
    padded_BHWC = _padded(image_BHWC, 1)
    rows = [padded_BHWC[:, i : i + h] for i in range(3)]
    low, middle, high = _sorted_3(*rows)
    lows, middles, highs = (
        [part[:, :, i : i + w] for i in range(3)] for part in (low, middle, high)
    )
    return _sorted_3(_sorted_3(*lows)[2], _sorted_3(*middles)[1], _sorted_3(*highs)[0])[1]


def _sorted_3(a: jax.Array, b: jax.Array, c: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    a, b = jnp.minimum(a, b), jnp.maximum(a, b)
    b, c = jnp.minimum(b, c), jnp.maximum(b, c)
    a, b = jnp.minimum(a, b), jnp.maximum(a, b)
    return a, b, c
