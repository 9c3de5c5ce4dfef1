"""Random keys: one root key, one named stream of keys per purpose.

The key of a purpose depends only on (seed, purpose, step), and not on the process or the device:
the same seed gives the same run on 1 or 64 devices, and a resumed run needs no saved generator.
"""

import zlib

import jax

INIT = 'init'
CORRUPTION_INPUT = 'corruption/input'
CORRUPTION_TARGET = 'corruption/target'
MIXING = 'mixing'
NEIGHBORS = 'neighbors'
EVALUATION = 'evaluation'

_WORD = 2**32


def key_for(seed: int, purpose: str, step: int | jax.Array | None = None) -> jax.Array:
    """Returns the key for a purpose, at `step` if the purpose has one key per step."""
    key = jax.random.key(seed % _WORD)
    if seed >= _WORD:  # JAX uses only the lower 32 bits of a seed
        key = jax.random.fold_in(key, seed // _WORD)
    key = jax.random.fold_in(key, zlib.crc32(purpose.encode()))
    return key if step is None else jax.random.fold_in(key, step)
