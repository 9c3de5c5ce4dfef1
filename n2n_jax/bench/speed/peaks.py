"""What the device can do at best: a large matrix product and a large copy."""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp

from n2n_jax.bench.speed.report import Row
from n2n_jax.bench.speed.timing import medians_in_turns


@functools.cache
def flops_per_second() -> float:
    """Of a float32 matrix product, as JAX does it by default on this device."""
    side = 1536 if jax.default_backend() == 'cpu' else 8192
    matrix = jnp.ones((side, side))
    product = jax.jit(jnp.matmul)
    seconds = medians_in_turns({'product': lambda: product(matrix, matrix).block_until_ready()})
    return 2 * side**3 / seconds['product']


@functools.cache
def bytes_per_second() -> float:
    """Of reading and writing memory that no cache holds."""
    values = jnp.ones(2**26 if jax.default_backend() == 'cpu' else 2**29)
    num_bytes = 2 * values.nbytes
    in_place = jax.jit(lambda x: x + 1, donate_argnums=0)  # no new pages

    def run() -> None:
        nonlocal values
        values = in_place(values).block_until_ready()

    return num_bytes / medians_in_turns({'copy': run})['copy']


def rows(quick: bool) -> Iterator[Row]:
    """The two peaks."""
    del quick
    yield Row('peak: matrix product, float32', flops_per_second() / 1e9, None, 'GFLOP/s')
    yield Row('peak: read and write', bytes_per_second() / 1e9, None, 'GB/s')
