"""The unrolled generator gives the numbers of `jax.random`."""

import jax
import numpy as np
import pytest

from n2n_jax.corruptions import draws


@pytest.mark.parametrize('count', [1, 7, 4096])
def test_bits_and_uniform_numbers_are_those_of_the_library(count):
    for seed in (0, 2**32 - 1):
        key = jax.random.key(seed)
        bits = draws.bits(key, np.arange(count, dtype=np.uint32))
        np.testing.assert_array_equal(bits, jax.random.bits(key, (count,)))
        np.testing.assert_array_equal(draws.uniform(key, count), jax.random.uniform(key, (count,)))


def test_normal_numbers_are_those_of_the_library_under_jit_and_vmap():
    keys = jax.random.split(jax.random.key(3), 5)
    ours = jax.jit(jax.vmap(lambda key: draws.normal(key, 1000)))(keys)
    theirs = jax.vmap(lambda key: jax.random.normal(key, (1000,)))(keys)
    np.testing.assert_allclose(ours, theirs, rtol=3e-7, atol=1e-7)


def test_keys_of_another_generator_are_left_to_the_library():
    key = jax.random.key(0, impl='rbg')
    np.testing.assert_array_equal(draws.uniform(key, 10), jax.random.uniform(key, (10,)))
    np.testing.assert_array_equal(draws.normal(key, 10), jax.random.normal(key, (10,)))
