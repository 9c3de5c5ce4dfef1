"""Photon shot noise.

H height, W width, C channels, N values of an image.
"""

import math

import jax
import jax.numpy as jnp

from n2n_jax.corruptions import draws
from n2n_jax.corruptions.base import Corruption

_MAX_INVERSION_RATE = 64.0  # expected counts above this are drawn by rejection
_TERMS = 120  # 64 + 6 sqrt(64) + 6, rounded up
_PENDING = -1.0  # marks a count that is not drawn yet


def sample_image(
    key: jax.Array, image_HWC: jax.Array, peak: jax.Array
) -> tuple[jax.Array, jax.Array | None]:
    """Draws Poisson(peak x) / peak: mean x, variance x / peak (Lehtinen et al. 2018, section 3.1).

    Negative inputs are treated as 0, as a rate cannot be negative.
    """
    rate_HWC = peak * jnp.maximum(image_HWC, 0.0)
    counts_HWC = poisson_counts(key, rate_HWC.reshape(-1)).reshape(image_HWC.shape)
    return counts_HWC / peak, None


def poisson_counts(key: jax.Array, rate_N: jax.Array) -> jax.Array:
    """Draws Poisson counts as float32, (N,); the distribution is accurate to about 4e-6.

    `jax.random.poisson` loops until the last value is accepted, and draws random bits for all
    values in every round. Here a count takes one uniform number and a fixed number of additions,
    about forty times as fast on a CPU; only images with rates above 64 need a loop.
    """
    key_small, key_large = jax.random.split(key)
    is_large_N = rate_N > _MAX_INVERSION_RATE
    small_N = _by_inversion(key_small, jnp.where(is_large_N, 0.0, rate_N))
    return _by_rejection(key_large, rate_N, jnp.where(is_large_N, _PENDING, small_N))


def _by_inversion(key: jax.Array, rate_N: jax.Array) -> jax.Array:
    """Inverts the distribution function: counts its values that a uniform number reaches."""
    uniform_N = _uniform_computed_once(key, rate_N.size)
    term_N = sum_N = jnp.exp(-rate_N)
    counts_N = jnp.zeros_like(rate_N)
    for i in range(1, _TERMS + 1):  # unrolled: one pass over memory
        counts_N += uniform_N >= sum_N
        term_N = term_N * (rate_N * (1 / i))
        sum_N = sum_N + term_N
    # Rounding leaves the last sum up to 4e-6 below 1; a uniform number above it would count all
    # terms.
    return jnp.minimum(counts_N, jnp.floor(rate_N + 6 * jnp.sqrt(rate_N) + 6))


def _uniform_computed_once(key: jax.Array, count: int) -> jax.Array:
    """Draws uniform numbers that are used many times.

    Without the barrier, XLA may duplicate the generator at every use, and compile for minutes.
    """
    return jax.lax.optimization_barrier(draws.uniform(key, count))


def _by_rejection(key: jax.Array, rate_N: jax.Array, counts_N: jax.Array) -> jax.Array:
    """Replaces pending counts with draws by transformed rejection (Hörmann 1993, PTRS).

    The count itself marks that it is pending. With a separate flag, the compiler might evaluate the
    acceptance twice with different rounding, and leave a count pending forever.
    """
    rate_N = jnp.maximum(rate_N, _MAX_INVERSION_RATE)
    b_N = 0.931 + 2.53 * jnp.sqrt(rate_N)
    a_N = -0.059 + 0.02483 * b_N
    log_inverse_alpha_N = jnp.log(1.1239 + 1.1328 / (b_N - 3.4))
    v_r_N = 0.9277 - 3.6224 / (b_N - 2)

    def try_all(carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        key, counts_N = carry
        key, key_u, key_v = jax.random.split(key, 3)
        u_N = _uniform_computed_once(key_u, rate_N.size) - 0.5
        v_N = _uniform_computed_once(key_v, rate_N.size)
        us_N = 0.5 - jnp.abs(u_N)
        k_N = jnp.floor((2 * a_N / us_N + b_N) * u_N + rate_N + 0.43)
        # log(rate^k exp(-rate) / k!) by Stirling's series, which avoids differences of large
        # numbers.
        safe_N = jnp.maximum(k_N, 1.0)
        difference_N = safe_N - rate_N
        log_probability_N = (
            safe_N * jnp.log1p(-difference_N / safe_N)
            + difference_N
            - 0.5 * jnp.log(2 * math.pi * safe_N)
            - 1 / (12 * safe_N)
        )
        log_v_N = jnp.log(v_N) + log_inverse_alpha_N - jnp.log(a_N / us_N**2 + b_N)
        accepted_N = ((us_N >= 0.07) & (v_N <= v_r_N)) | (
            (k_N >= 1) & ~((us_N < 0.013) & (v_N > us_N)) & (log_v_N <= log_probability_N)
        )
        return key, jnp.where((counts_N == _PENDING) & accepted_N, k_N, counts_N)

    return jax.lax.while_loop(lambda carry: (carry[1] == _PENDING).any(), try_all, (key, counts_N))[
        1
    ]


POISSON = Corruption(
    name='poisson',
    level='expected count of a white pixel (lambda)',
    bounds=(1e-6, math.inf),
    sample_image=sample_image,
    statistics=('mean',),
    rectifies=True,
    nonnegative=True,
)
