"""Training losses. Each estimates another point of the target's distribution.

B batch, H height, W width, C channels. A loss maps (denoised_BHWC, target_BHWC, mask_BHWC,
progress) to a mean and the number of values that it is over, float32 scalars: parts of a batch
count in proportion to it. `mask_BHWC` is the *target's* mask of observed values (None: all),
`progress` is the share of the run that is done, in [0, 1].

  name                  learns                   right for noisy targets whose noise is
  l2    masked_l2       the mean                 of zero mean: Gaussian, photon noise
  l1    masked_l1       the median               absent from most values: text; or symmetric
  l0    masked_l0       close to the mode        absent from some values: random-valued impulses

The masked ones learn it of the observed values alone, which missing pixels (Bernoulli) need; the
others take a missing value for a black one. Where there is no mask both are the same. Whether a
loss suits a noise is decided in `n2n_jax.train.loss_choice`: the noise says which of its statistics
are the clean image (`n2n_jax.corruptions.statistics`), the loss which one it learns.

A new loss is a function and one entry of `REGISTRY`.

Lehtinen et al. 2018, section 2, equation 7 and appendix A.3.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from n2n_jax.corruptions.base import Statistic

MeanAndCount = tuple[jax.Array, jax.Array]
LossFunction = Callable[[jax.Array, jax.Array, jax.Array | None, jax.Array], MeanAndCount]

# The exponent of the annealed L0 loss stops here. At 0 the gradient vanishes; Laine et al. 2019
# stop at 0.5, which leaves a bias at 90 % impulses (0.59 for a true 0.9) that 0.1 does not.
L0_LAST_GAMMA = 0.1


@dataclasses.dataclass(frozen=True)
class Loss:
    """A loss, and what it learns.

    Attributes:
      function: see the head of this file.
      statistic: of the target, which minimizes it; None: another than these, or none that is known.
      uses_mask: True if it is of the observed values of the target alone.
    """

    function: LossFunction
    statistic: Statistic | None
    uses_mask: bool = False

    def __call__(
        self,
        denoised_BHWC: jax.Array,
        target_BHWC: jax.Array,
        mask_BHWC: jax.Array | None,
        progress: jax.Array,
    ) -> MeanAndCount:
        """The mean and the number of values that it is over."""
        return self.function(denoised_BHWC, target_BHWC, mask_BHWC, progress)


def _error(denoised_BHWC: jax.Array, target_BHWC: jax.Array) -> jax.Array:
    if denoised_BHWC.shape != target_BHWC.shape:  # a smaller target would broadcast without a word
        raise ValueError(f'Shapes differ: denoised {denoised_BHWC.shape}, {target_BHWC.shape=}.')
    return denoised_BHWC.astype(jnp.float32) - target_BHWC.astype(jnp.float32)


def _mean(values_BHWC: jax.Array, mask_BHWC: jax.Array | None = None) -> MeanAndCount:
    """The mean over the observed values of the whole batch.

    So every observed value has the same weight, whatever its image's share of missing pixels.
    """
    if mask_BHWC is None:
        return jnp.mean(values_BHWC), jnp.float32(values_BHWC.size)
    num_observed = jnp.sum(mask_BHWC, dtype=jnp.float32)
    return jnp.sum(mask_BHWC * values_BHWC) / jnp.maximum(num_observed, 1.0), num_observed


def l2(
    denoised_BHWC: jax.Array,
    target_BHWC: jax.Array,
    mask_BHWC: jax.Array | None,
    progress: jax.Array,
) -> MeanAndCount:
    """Mean squared error over all values; minimized by the mean."""
    del mask_BHWC, progress
    return _mean(jnp.square(_error(denoised_BHWC, target_BHWC)))


def l1(
    denoised_BHWC: jax.Array,
    target_BHWC: jax.Array,
    mask_BHWC: jax.Array | None,
    progress: jax.Array,
) -> MeanAndCount:
    """Mean absolute error over all values; minimized by the median."""
    del mask_BHWC, progress
    return _mean(jnp.abs(_error(denoised_BHWC, target_BHWC)))


def l0(
    denoised_BHWC: jax.Array,
    target_BHWC: jax.Array,
    mask_BHWC: jax.Array | None,
    progress: jax.Array,
) -> MeanAndCount:
    """Annealed L0 over all values, mean of (|f - y| + 1e-8)^gamma; gamma falls linearly from 2.

    gamma is a function of the progress alone, so a run resumes where it was (appendix A.3).
    """
    del mask_BHWC
    return _mean(_annealed(_error(denoised_BHWC, target_BHWC), progress))


def masked_l2(
    denoised_BHWC: jax.Array,
    target_BHWC: jax.Array,
    mask_BHWC: jax.Array | None,
    progress: jax.Array,
) -> MeanAndCount:
    """Mean squared error over the observed values of the target (equation 7)."""
    del progress
    return _mean(jnp.square(_error(denoised_BHWC, target_BHWC)), mask_BHWC)


def masked_l1(
    denoised_BHWC: jax.Array,
    target_BHWC: jax.Array,
    mask_BHWC: jax.Array | None,
    progress: jax.Array,
) -> MeanAndCount:
    """Mean absolute error over the observed values of the target."""
    del progress
    return _mean(jnp.abs(_error(denoised_BHWC, target_BHWC)), mask_BHWC)


def masked_l0(
    denoised_BHWC: jax.Array,
    target_BHWC: jax.Array,
    mask_BHWC: jax.Array | None,
    progress: jax.Array,
) -> MeanAndCount:
    """Annealed L0, as `l0`, over the observed values of the target."""
    return _mean(_annealed(_error(denoised_BHWC, target_BHWC), progress), mask_BHWC)


def _annealed(error_BHWC: jax.Array, progress: jax.Array) -> jax.Array:
    gamma = jnp.maximum(L0_LAST_GAMMA, 2.0 - 2.0 * progress)
    return (jnp.abs(error_BHWC) + 1e-8) ** gamma


REGISTRY: dict[str, Loss] = {
    'l2': Loss(l2, 'mean'),
    'l1': Loss(l1, 'median'),
    'l0': Loss(l0, 'mode'),
    'masked_l2': Loss(masked_l2, 'mean', uses_mask=True),
    'masked_l1': Loss(masked_l1, 'median', uses_mask=True),
    'masked_l0': Loss(masked_l0, 'mode', uses_mask=True),
}
