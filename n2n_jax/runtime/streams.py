"""Randomness: one root key, one named stream per purpose.

The key of a purpose depends only on (seed, name, step), and not on the process or the device: the
same seed gives the same run on 1 or 64 devices, and a resumed run needs no saved generator.
"""

import zlib

import jax

INIT = 'init'
CORRUPTION_INPUT = 'corruption/input'
CORRUPTION_TARGET = 'corruption/target'
NEIGHBORS = 'neighbors'
EVALUATION = 'evaluation'

_WORD = 2**32


def stream(seed: int, name: str, step: int | jax.Array | None = None) -> jax.Array:
    """Returns the key of the stream `name`, at `step` if the stream has one key per step."""
    key = jax.random.key(seed % _WORD)
    if seed >= _WORD:  # JAX uses only the lower 32 bits of a seed
        key = jax.random.fold_in(key, seed // _WORD)
    key = jax.random.fold_in(key, zlib.crc32(name.encode()))
    return key if step is None else jax.random.fold_in(key, step)
