"""Peak performance of the device, measured by a large matrix product and a large copy."""

import functools
import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp

from n2n_jax.bench.speed.report import Row
from n2n_jax.bench.speed.timing import medians_in_turns


@functools.cache
def flops_per_second(dtype: str = 'float32') -> float:
    """Measures a matrix product at JAX's default precision; for float32 that may be TF32."""
    side = 1536 if jax.default_backend() == 'cpu' else 8192
    # Random, because a GPU multiplies constant matrices faster.
    matrix = jax.random.normal(jax.random.key(0), (side, side), dtype) / math.sqrt(side)
    product = jax.jit(jnp.matmul)

    def run() -> None:
        result = matrix
        for _ in range(_repeats()):
            result = product(result, matrix)
        result.block_until_ready()

    return 2 * side**3 * _repeats() / medians_in_turns({'product': run})['product']


@functools.cache
def bytes_per_second() -> float:
    """Measures reading and writing an array that is larger than the caches."""
    values = jnp.ones(2**26 if jax.default_backend() == 'cpu' else 2**29)
    num_bytes = 2 * values.nbytes
    in_place = jax.jit(lambda x: x + 1, donate_argnums=0)  # allocates no new pages

    def run() -> None:
        nonlocal values
        for _ in range(_repeats()):
            values = in_place(values)
        values.block_until_ready()

    return num_bytes * _repeats() / medians_in_turns({'copy': run})['copy']


def _repeats() -> int:
    """Returns the number of calls per wait; waiting for a GPU takes some milliseconds."""
    return 1 if jax.default_backend() == 'cpu' else 50


def rows(quick: bool) -> Iterator[Row]:
    """Measures the peaks of computation, for each type used by networks, and of memory."""
    del quick
    for dtype in ('float32',) if jax.default_backend() == 'cpu' else ('float32', 'bfloat16'):
        flops = flops_per_second(dtype)
        yield Row(f'peak: matrix product, {dtype}', flops / 1e9, None, 'GFLOP/s')
    yield Row('peak: read and write', bytes_per_second() / 1e9, None, 'GB/s')
