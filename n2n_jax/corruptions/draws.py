"""The random numbers of `jax.random`, bit for bit, in one pass over memory on a CPU.

XLA:CPU runs the library's Threefry as a loop over whole arrays, which compiles sooner and runs
four times slower than the same twenty rounds written out, which fuse with what uses the numbers.

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
    """(N,) float32 in [0, 1), the values of `jax.random.uniform`."""
    if not _written_out(key):
        return jax.random.uniform(key, (count,))
    return _unit_interval(bits(key, jax.lax.iota(jnp.uint32, count)))


def normal(key: jax.Array, count: int) -> jax.Array:
    """(N,) float32 of mean 0 and variance 1, the values of `jax.random.normal`."""
    if not _written_out(key):
        return jax.random.normal(key, (count,))
    # XLA:CPU does not fuse through the concatenation. In one piece the numbers would be drawn in
    # the loop over the channels of an image, too short for the machine's vectors: 5 times slower.
    places_N = jax.lax.iota(jnp.uint32, count)
    halves = []
    for half_N in jnp.split(places_N, [count // 2]):
        between_N = _unit_interval(bits(key, half_N)) * 2 + _ABOVE_MINUS_ONE
        halves.append(jax.lax.erf_inv(jnp.maximum(between_N, _ABOVE_MINUS_ONE)))
    return np.float32(math.sqrt(2)) * jnp.concatenate(halves)


def bits(key: jax.Array, places_N: jax.Array) -> jax.Array:
    """(N,) uint32: Threefry-2x32-20 (Salmon et al. 2011) of uint32 places, its words xored."""
    first, second = jax.random.key_data(key)
    keys = first, second, first ^ second ^ jnp.uint32(_PARITY)
    x_N, y_N = jnp.full_like(places_N, keys[0]), places_N + keys[1]
    for group in range(5):
        for rotation in _ROTATIONS[group % 2]:
            x_N += y_N
            y_N = (y_N << rotation) | (y_N >> (32 - rotation))
            y_N ^= x_N
        x_N += keys[(group + 1) % 3]
        y_N += keys[(group + 2) % 3] + jnp.uint32(group + 1)
    return x_N ^ y_N


def _written_out(key: jax.Array) -> bool:
    """Elsewhere the library writes the rounds out itself, and other generators are its own."""
    threefry = str(jax.random.key_impl(key)) == 'threefry2x32'
    return threefry and jax.config.jax_threefry_partitionable and jax.default_backend() == 'cpu'


def _unit_interval(bits_N: jax.Array) -> jax.Array:
    """The 23 high bits as the mantissa of a number in [1, 2), less 1."""
    return jax.lax.bitcast_convert_type((bits_N >> 9) | jnp.uint32(0x3F800000), jnp.float32) - 1.0
