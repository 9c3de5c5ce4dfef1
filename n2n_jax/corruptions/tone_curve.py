"""The tone curve of sRGB, between the values of an image and linear light (IEC 61966-2-1)."""

import jax
import jax.numpy as jnp

from n2n_jax.corruptions import draws


def to_linear(value: jax.Array) -> jax.Array:
    """Maps sRGB values to linear light; a straight line below 0, the same curve above 1."""
    curve = ((jnp.maximum(value, 0.04045) + 0.055) / 1.055) ** 2.4
    return jnp.where(value <= 0.04045, value / 12.92, curve)


def slope_of_linear(value: jax.Array) -> jax.Array:
    """Returns the derivative of `to_linear`."""
    curve = 2.4 / 1.055 * ((jnp.maximum(value, 0.04045) + 0.055) / 1.055) ** 1.4
    return jnp.where(value <= 0.04045, 1 / 12.92, curve)


def to_srgb(light: jax.Array) -> jax.Array:
    """Maps linear light to sRGB values; a straight line below 0."""
    curve = draws.rounded(1.055 * jnp.maximum(light, 0.0031308) ** (1 / 2.4)) - 0.055
    return jnp.where(light <= 0.0031308, 12.92 * light, curve)
