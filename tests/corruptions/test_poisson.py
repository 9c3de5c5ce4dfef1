"""Poisson counts: the whole distribution, not just its moments.

N values.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optimized
import pytest
from scipy import stats

from n2n_jax.corruptions import poisson

NUM = 2_000_000
_counts = optimized.jit(poisson.poisson_counts)


def draw(rate, seed=0):
    rates_N = jnp.full(NUM, rate, jnp.float32)
    return np.asarray(_counts(jax.random.key(seed), rates_N), np.int64)


@pytest.mark.parametrize('rate', [0.01, 0.5, 7.3, 30.0, 63.9, 64.5, 250.0, 3000.0])
def test_the_distribution_is_poissons(rate):
    counts_N = draw(rate)
    low, high = stats.poisson.ppf([1e-5, 1 - 1e-5], rate).astype(int)
    observed = np.bincount(np.clip(counts_N, low, high) - low, minlength=high - low + 1)
    expected = stats.poisson.pmf(np.arange(low, high + 1), rate)
    expected[0] = stats.poisson.cdf(low, rate)
    expected[-1] = stats.poisson.sf(high - 1, rate)
    enough = expected * NUM > 10
    chi2 = ((observed - expected * NUM)[enough] ** 2 / (expected * NUM)[enough]).sum()
    assert stats.chi2.sf(chi2, enough.sum() - 1) > 1e-4
    # No outliers: 2 million draws lie within bounds that are exceeded once in 1e12.
    assert counts_N.min() >= stats.poisson.ppf(1e-12, rate)
    assert counts_N.max() <= stats.poisson.isf(1e-12, rate)


def test_no_light_is_no_count():
    assert not draw(0.0).any()


@pytest.mark.parametrize('rate', [1e5, 1e6])
def test_large_rates_keep_mean_and_variance(rate):
    counts_N = draw(rate).astype(np.float64)
    assert counts_N.mean() == pytest.approx(rate, abs=5 * np.sqrt(rate / NUM))
    assert counts_N.var() == pytest.approx(rate, rel=5 * np.sqrt(2 / NUM))


def test_images_with_small_and_large_rates_can_share_a_batch():
    rates_BN = jnp.array([[5.0] * 50_000, [90.0] * 50_000])
    keys_B = jax.random.split(jax.random.key(0), 2)
    counts_BN = np.asarray(jax.jit(jax.vmap(poisson.poisson_counts))(keys_B, rates_BN))
    alone_N = np.asarray(jax.jit(poisson.poisson_counts)(keys_B[0], rates_BN[0]))
    np.testing.assert_array_equal(counts_BN[0], alone_N)
    np.testing.assert_allclose(counts_BN.mean(axis=1), [5.0, 90.0], rtol=0.01)
