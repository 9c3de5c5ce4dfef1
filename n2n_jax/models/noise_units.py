"""What a network sees of captures whose noise is known: detail in units of that noise.

B batch, H height, W width, C channels.

Noise that is small beside the range of the values is not learnt from the values themselves: a
random network answers with the whole contrast of the scene, and hundreds of steps go by before its
error is below the noise that it is to find. So the image is cut in two: its slow part, in units of
the contrast, and the detail beside it, in units of the noise. What the network answers is in units
of the noise too, and so is the loss. Captures times any gain plus any offset are then the same to
it, and so is one scene at any noise level, but for the detail that rises above it.

Values far beyond both are squashed: an edge or a star of a thousand standard deviations says where
it is, and no more.
"""

import dataclasses
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np

from n2n_jax.runtime.config import NOT_MEASURED, ModelConfig
from n2n_jax.runtime.errors import UserError

# The standard deviation that noise has to the network. Rates and clipping were tuned on microscopy
# (FMD) whose noise is 0.045 of the range, so that such captures see what they were tuned for.
NOISE = 0.045
# Detail beyond this counts less in the loss, as 1 / detail^2. In units of `NOISE`, 89 standard
# deviations: an edge keeps its weight, and a star that outshines the rest a thousandfold loses it.
_FULL_WEIGHT = 4.0
_BLUR = 2.0  # pixels, standard deviation of the slow part
_RADIUS = 6  # pixels, of its kernel
REACH = _RADIUS + 1  # pixels that the view of a pixel depends on: blur behind a 3x3 median


@dataclasses.dataclass(frozen=True)
class NoiseUnits:
    """The units of each channel, in the range of images.

    Attributes:
      center: what is 0 to the network, a number per channel.
      contrast: what is 1 of the slow part.
      scale: what is 1 of the detail and of the answer: the noise is `NOISE` of it.
    """

    center: tuple[float, ...]
    contrast: tuple[float, ...]
    scale: tuple[float, ...]

    @classmethod
    def of(cls, config: ModelConfig) -> Self | None:
        """The units that a config names; None if it says nothing about the noise.

        Raises:
          UserError: not one number for each channel.
        """
        if config.noise in ('', NOT_MEASURED):
            return None
        noise, center, contrast = (
            numbers(getattr(config, key), f'model.{key}', config.channels)
            for key in ('noise', 'center', 'contrast')
        )
        if min(noise) <= 0:
            raise UserError(f'model.noise={config.noise} is not possible: write numbers above 0.')
        scale = tuple(sigma / NOISE for sigma in noise)
        # Never amplified beyond the detail.
        contrast = tuple(max(pair) for pair in zip(contrast, scale, strict=True))
        return cls(center, contrast, scale)

    @property
    def noise(self) -> tuple[float, ...]:
        """The standard deviation of the noise, in the range of images."""
        return tuple(NOISE * scale for scale in self.scale)

    def view(self, noisy_BHWC: jax.Array) -> jax.Array:
        """What the network sees of noisy images, same shape, about 0."""
        slow_BHWC = _slow(noisy_BHWC)
        shape_BHWC = (slow_BHWC - _array(self.center)) / _array(self.contrast)
        detail_BHWC = (noisy_BHWC - slow_BHWC) / _array(self.scale)
        return _squash(shape_BHWC) + _squash(detail_BHWC)

    def restored(self, answer_BHWC: jax.Array, noisy_BHWC: jax.Array | None) -> jax.Array:
        """The network's answer as an image: a correction of the noisy one, or the image itself."""
        around = _array(self.center) if noisy_BHWC is None else noisy_BHWC
        return around + _array(self.scale) * answer_BHWC

    def weights(self, noisy_BHWC: jax.Array) -> jax.Array:
        """How much each value counts in the loss, (0, 1].

        Read off the network's input alone, so that the best answer stays the mean of the targets.
        """
        detail_BHWC = jnp.abs(noisy_BHWC - _slow(noisy_BHWC)) / _array(self.scale)
        return (_FULL_WEIGHT / jnp.maximum(detail_BHWC, _FULL_WEIGHT)) ** 2

    def in_units(self, image_BHWC: jax.Array) -> jax.Array:
        """An image as the loss sees it."""
        return image_BHWC / _array(self.scale)


def numbers(text: str, key: str, channels: int) -> tuple[float, ...]:
    """'0.01,0.02' -> a number per channel; one number is for all.

    Raises:
      UserError: it is no list of numbers, or not as many as channels.
    """
    try:
        found = tuple(float(part) for part in text.split(','))
    except ValueError:
        found = ()
    if len(found) == 1:
        found *= channels
    if len(found) != channels or not np.isfinite(found).all():
        raise UserError(
            f"{key}='{text}' is not possible: write a number for each of {channels} channels, "
            'with commas between them.'
        )
    return found


def _array(numbers_C: tuple[float, ...]) -> jax.Array:
    return jnp.asarray(numbers_C, jnp.float32).reshape(1, 1, 1, -1)


def _squash(x: jax.Array) -> jax.Array:
    """The identity within [-1, 1], and beyond a curve of the same slope that ends at 2 and -2."""
    size = jnp.maximum(jnp.abs(x), 1.0)
    return jnp.clip(x, -1.0, 1.0) + jnp.sign(x) * (1.0 - 1.0 / size)


def _slow(image_BHWC: jax.Array) -> jax.Array:
    """The slow part: a Gaussian blur of what a 3x3 median leaves.

    The median takes out single bright pixels, which would spread over their neighbors.
    """
    return _blur(_median_3x3(image_BHWC))


def _padded(image_BHWC: jax.Array, margin: int) -> jax.Array:
    _, h, w, _ = image_BHWC.shape
    mode = 'reflect' if min(h, w) > margin else 'symmetric'
    widths = ((0, 0), (margin, margin), (margin, margin), (0, 0))
    return jnp.pad(image_BHWC, widths, mode=mode)


def _blur(image_BHWC: jax.Array) -> jax.Array:
    _, h, w, _ = image_BHWC.shape
    offsets = np.arange(-_RADIUS, _RADIUS + 1)
    kernel = np.exp(-(offsets**2) / (2 * _BLUR**2))
    taps = [float(tap) for tap in kernel / kernel.sum()]
    padded_BHWC = _padded(image_BHWC, _RADIUS)
    rows_BHWC = sum(tap * padded_BHWC[:, i : i + h] for i, tap in enumerate(taps))
    return sum(tap * rows_BHWC[:, :, i : i + w] for i, tap in enumerate(taps))


def _median_3x3(image_BHWC: jax.Array) -> jax.Array:
    """The middle one of nine: of the largest least, the least largest and the middle of middles.

    Each row of three is sorted (Kopp et al.); 18 comparisons, exact.
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
