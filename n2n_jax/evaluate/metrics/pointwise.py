"""Metrics of the difference of each value.

B batch, H height, W width, C channels. Images are float32; the peak is 1. All metrics are per
image: average them over images (mean of dB, not dB of the mean error).
"""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from n2n_jax.evaluate.metrics.base import Metric


def round_to_uint8(image: jax.Array) -> jax.Array:
    """Clamps to [0, 1] and rounds half up to 256 levels, as most published tables do."""
    return jnp.floor(jnp.clip(255.0 * image + 0.5, 0.0, 255.0)) / 255.0


def mse(image_BHWC: jax.Array, clean_BHWC: jax.Array) -> jax.Array:
    """Computes the mean squared error of each image over all its values, (B,)."""
    return jnp.mean(jnp.square(image_BHWC - clean_BHWC), axis=(1, 2, 3))


def psnr(image_BHWC: jax.Array, clean_BHWC: jax.Array) -> jax.Array:
    """Computes the peak signal-to-noise ratio of each image in dB, (B,); inf for equal images."""
    return -10.0 * jnp.log10(mse(image_BHWC, clean_BHWC))


@dataclasses.dataclass(frozen=True)
class Psnr(Metric):
    """The peak signal-to-noise ratio of the output rounded to 8 bits."""

    name: ClassVar[str] = 'psnr'
    title: ClassVar[str] = 'PSNR'
    unit: ClassVar[str] = 'dB'
    form: ClassVar[str] = '.2f'

    def __call__(self, image_BHWC: jax.Array, clean_BHWC: jax.Array, arrays: Any) -> jax.Array:
        """See `Metric`."""
        del arrays
        return psnr(image_BHWC, clean_BHWC)


@dataclasses.dataclass(frozen=True)
class PsnrFloat(Psnr):
    """The peak signal-to-noise ratio of the output before rounding."""

    name: ClassVar[str] = 'psnr_float'
    title: ClassVar[str] = 'PSNR, float'
    rounded: ClassVar[bool] = False
    in_tables: ClassVar[bool] = False


@dataclasses.dataclass(frozen=True)
class Mse(Metric):
    """The mean squared error."""

    name: ClassVar[str] = 'mse'
    title: ClassVar[str] = 'MSE'
    form: ClassVar[str] = '.3g'
    better: ClassVar[str] = 'smaller'
    in_tables: ClassVar[bool] = False

    def __call__(self, image_BHWC: jax.Array, clean_BHWC: jax.Array, arrays: Any) -> jax.Array:
        """See `Metric`."""
        del arrays
        return mse(image_BHWC, clean_BHWC)


@dataclasses.dataclass(frozen=True)
class Bias(Metric):
    """How much brighter the image is than the clean one, on average; negative if it is darker.

    PSNR hardly shows this, and it is what a target of another mean than the clean image leaves.
    """

    name: ClassVar[str] = 'bias'
    title: ClassVar[str] = 'Bias'
    unit: ClassVar[str] = 'of 255'
    form: ClassVar[str] = '.2f'
    better: ClassVar[str] = 'nearer to 0'
    rounded: ClassVar[bool] = False

    def __call__(self, image_BHWC: jax.Array, clean_BHWC: jax.Array, arrays: Any) -> jax.Array:
        """See `Metric`."""
        del arrays
        return 255 * jnp.mean(image_BHWC - clean_BHWC, axis=(1, 2, 3))
