"""Training losses. Each estimates another point of the target's distribution.

B batch, H height, W width, C channels. A loss maps (denoised_BHWC, target_BHWC, mask_BHWC,
progress) to a mean and the number of values that it is over, float32 scalars: parts of a batch
count in proportion to it. `mask_BHWC` is the *target's* mask of observed values (None: all),
`progress` is the share of the training done, in [0, 1].

  l2         the mean: right for every zero-mean noise
  l1         the median: right for overlays that leave most targets untouched (text)
  masked_l2  the mean of the observed values: missing pixels (Bernoulli)
  l0         close to the mode: random-valued impulses

Lehtinen et al. 2018, section 2, equation 7 and appendix A.3.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

MeanAndCount = tuple[jax.Array, jax.Array]
Loss = Callable[[jax.Array, jax.Array, jax.Array | None, jax.Array], MeanAndCount]

# The exponent of the annealed L0 loss stops here. At 0 the gradient vanishes; Laine et al. 2019
# stop at 0.5, which leaves a bias at 90 % impulses (0.59 for a true 0.9) that 0.1 does not.
L0_LAST_GAMMA = 0.1


def _error(denoised_BHWC: jax.Array, target_BHWC: jax.Array) -> jax.Array:
    if denoised_BHWC.shape != target_BHWC.shape:  # a smaller target would broadcast without a word
        raise ValueError(f'Shapes differ: denoised {denoised_BHWC.shape}, {target_BHWC.shape=}.')
    return denoised_BHWC.astype(jnp.float32) - target_BHWC.astype(jnp.float32)


def _mean(values_BHWC: jax.Array) -> MeanAndCount:
    return jnp.mean(values_BHWC), jnp.float32(values_BHWC.size)


def l2(
    denoised_BHWC: jax.Array,
    target_BHWC: jax.Array,
    mask_BHWC: jax.Array | None,
    progress: jax.Array,
) -> MeanAndCount:
    """Mean squared error over all values; minimised by the mean."""
    del mask_BHWC, progress
    return _mean(jnp.square(_error(denoised_BHWC, target_BHWC)))


def l1(
    denoised_BHWC: jax.Array,
    target_BHWC: jax.Array,
    mask_BHWC: jax.Array | None,
    progress: jax.Array,
) -> MeanAndCount:
    """Mean absolute error over all values; minimised by the median."""
    del mask_BHWC, progress
    return _mean(jnp.abs(_error(denoised_BHWC, target_BHWC)))


def masked_l2(
    denoised_BHWC: jax.Array,
    target_BHWC: jax.Array,
    mask_BHWC: jax.Array | None,
    progress: jax.Array,
) -> MeanAndCount:
    """Mean squared error over the observed values of the target (equation 7).

    Divided by the number of observed values of the whole batch, so that every observed value has
    the same weight whatever its image's share of missing pixels.
    """
    if mask_BHWC is None:
        return l2(denoised_BHWC, target_BHWC, None, progress)
    squared_BHWC = jnp.square(_error(denoised_BHWC, target_BHWC))
    num_observed = jnp.sum(mask_BHWC, dtype=jnp.float32)
    return jnp.sum(mask_BHWC * squared_BHWC) / jnp.maximum(num_observed, 1.0), num_observed


def l0(
    denoised_BHWC: jax.Array,
    target_BHWC: jax.Array,
    mask_BHWC: jax.Array | None,
    progress: jax.Array,
) -> MeanAndCount:
    """Annealed L0, mean of (|f - y| + 1e-8)^gamma; gamma falls linearly from 2 over the training.

    gamma is a function of the progress alone, so a resumed run goes on where it was (appendix A.3).
    """
    del mask_BHWC
    gamma = jnp.maximum(L0_LAST_GAMMA, 2.0 - 2.0 * progress)
    return _mean((jnp.abs(_error(denoised_BHWC, target_BHWC)) + 1e-8) ** gamma)


REGISTRY: dict[str, Loss] = {'l2': l2, 'l1': l1, 'masked_l2': masked_l2, 'l0': l0}
