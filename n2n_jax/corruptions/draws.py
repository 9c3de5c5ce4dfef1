"""The random numbers of `jax.random`, bit for bit, drawn four times as fast on a CPU.

XLA:CPU runs the Threefry of `jax.random` as a loop over whole arrays. That compiles faster, but
runs four times slower than the same twenty rounds unrolled, which XLA fuses with the code that uses
the numbers into one pass over memory.

N numbers.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA
_ABOVE_MINUS_ONE = np.nextafter(np.float32(-1), np.float32(0))


def uniform(key: jax.Array, count: int) -> jax.Array:
    """Draws (N,) float32 in [0, 1), with the values of `jax.random.uniform`."""
    if not _unrolls(key):
        return jax.random.uniform(key, (count,))
    return _unit_interval(bits(key, jax.lax.iota(jnp.uint32, count)))


def normal(key: jax.Array, count: int) -> jax.Array:
    """Draws (N,) float32 of mean 0 and variance 1, with the values of `jax.random.normal`."""
    if not _unrolls(key):
        return jax.random.normal(key, (count,))
    # Drawn in two halves, because XLA:CPU does not fuse through a concatenation. Otherwise it would
    # draw the numbers inside the loop over the channels of an image, which is too short for SIMD
    # and 5 times slower.
    counters_N = jax.lax.iota(jnp.uint32, count)
    halves = []
    for half_N in jnp.split(counters_N, [count // 2]):
        between_N = _unit_interval(bits(key, half_N)) * 2 + _ABOVE_MINUS_ONE
        halves.append(jax.lax.erf_inv(jnp.maximum(between_N, _ABOVE_MINUS_ONE)))
    return np.float32(math.sqrt(2)) * jnp.concatenate(halves)


def rounded(product: jax.Array) -> jax.Array:
    """Returns a product, or a sum of products, that is rounded before anything is added to it.

    Otherwise XLA fuses product and sum into one rounding, but only for some shapes. The noise of an
    image must be bit-identical on any number of devices.
    """
    return jax.lax.optimization_barrier(product)


def bits(key: jax.Array, counters_N: jax.Array) -> jax.Array:
    """Draws (N,) uint32: the two words of Threefry-2x32-20 (Salmon et al. 2011), xored.

    Args:
      key: a Threefry key.
      counters_N: uint32 counters.
    """
    first, second = jax.random.key_data(key)
    keys = first, second, first ^ second ^ jnp.uint32(_PARITY)
    x_N, y_N = jnp.full_like(counters_N, keys[0]), counters_N + keys[1]
    for group in range(5):
        for rotation in _ROTATIONS[group % 2]:
            x_N += y_N
            y_N = (y_N << rotation) | (y_N >> (32 - rotation))
            y_N ^= x_N
        x_N += keys[(group + 1) % 3]
        y_N += keys[(group + 2) % 3] + jnp.uint32(group + 1)
    return x_N ^ y_N


def _unrolls(key: jax.Array) -> bool:
    """Whether to unroll here: JAX does so itself on other backends; this file is for Threefry."""
    threefry = str(jax.random.key_impl(key)) == 'threefry2x32'
    partitionable = bool(jax.config.values['jax_threefry_partitionable'])
    return threefry and partitionable and jax.default_backend() == 'cpu'


def _unit_interval(bits_N: jax.Array) -> jax.Array:
    """Uses the 23 high bits as the mantissa of a number in [1, 2), minus 1."""
    return jax.lax.bitcast_convert_type((bits_N >> 9) | jnp.uint32(0x3F800000), jnp.float32) - 1.0
