"""Training losses. Each is minimized by a different statistic of the target.

B batch, H height, W width, C channels. A loss maps (denoised_BHWC, target_BHWC, mask_BHWC,
progress) to a mean and the number of values it is taken over, float32 scalars: parts of a batch are
weighted by that number. `mask_BHWC` is the *target's* mask of observed values (None: all observed),
`progress` is the share of the run that is done, in [0, 1].

  name                  learns                   right for noisy targets whose noise is
  l2    masked_l2       the mean                 of zero mean: Gaussian, photon noise
  l1    masked_l1       the median               absent from most values: text; or symmetric
  l0    masked_l0       close to the mode        absent from some values: random-valued impulses

The masked losses use only the observed values, as missing pixels (Bernoulli noise) require; the
others treat a missing value as black. Without a mask both are the same. Whether a loss suits a
noise is decided in `n2n_jax.train.loss_choice`: the noise declares which of its statistics equal
the clean image (`n2n_jax.corruptions.statistics`), the loss which statistic it learns.

To add a loss, write a penalty and add an entry to `REGISTRY`.

Lehtinen et al. 2018, section 2, equation 7 and appendix A.3.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from n2n_jax.corruptions.base import Statistic

# (error_BHWC, progress) -> (B, H, W, C): the contribution of each value.
Penalty = Callable[[jax.Array, jax.Array], jax.Array]

# The exponent of the annealed L0 loss stops here. At 0 the gradient vanishes; Laine et al. 2019
# stop at 0.5, which leaves a bias at 90 % impulses (0.59 for a true 0.9) that 0.1 does not.
L0_LAST_GAMMA = 0.1


@dataclasses.dataclass(frozen=True)
class Loss:
    """The mean of a penalty, and the statistic that it learns.

    Attributes:
      penalty: maps errors to contributions; see `Penalty`.
      statistic: the statistic of the target that minimizes the loss; None for another or unknown.
      uses_mask: whether the mean is over the observed values of the target only. Each of them then
        has the same weight, whatever share of its image is missing.
    """

    penalty: Penalty
    statistic: Statistic | None
    uses_mask: bool = False

    def __call__(
        self,
        denoised_BHWC: jax.Array,
        target_BHWC: jax.Array,
        mask_BHWC: jax.Array | None,
        progress: jax.Array,
    ) -> tuple[jax.Array, jax.Array]:
        """Returns the mean over the whole batch, and the number of values it is taken over.

        Raises:
          ValueError: the shapes differ.
        """
        if denoised_BHWC.shape != target_BHWC.shape:  # a smaller target would silently broadcast
            raise ValueError(f'Shapes differ: {denoised_BHWC.shape=}, {target_BHWC.shape=}.')
        error_BHWC = denoised_BHWC.astype(jnp.float32) - target_BHWC.astype(jnp.float32)
        values_BHWC = self.penalty(error_BHWC, progress)
        if mask_BHWC is None or not self.uses_mask:
            return jnp.mean(values_BHWC), jnp.float32(values_BHWC.size)
        num_observed = jnp.sum(mask_BHWC, dtype=jnp.float32)
        return jnp.sum(mask_BHWC * values_BHWC) / jnp.maximum(num_observed, 1.0), num_observed


def squared(error_BHWC: jax.Array, _progress: jax.Array) -> jax.Array:
    """Returns the squared error, which the mean minimizes."""
    return jnp.square(error_BHWC)


def absolute(error_BHWC: jax.Array, _progress: jax.Array) -> jax.Array:
    """Returns the absolute error, which the median minimizes."""
    return jnp.abs(error_BHWC)


def annealed(error_BHWC: jax.Array, progress: jax.Array) -> jax.Array:
    """Returns the annealed L0, (|error| + 1e-8)^gamma; gamma falls linearly from 2 (appendix A.3).

    gamma depends only on the progress, so a resumed run continues the annealing.
    """
    gamma = jnp.maximum(L0_LAST_GAMMA, 2.0 - 2.0 * progress)
    return (jnp.abs(error_BHWC) + 1e-8) ** gamma


REGISTRY: dict[str, Loss] = {
    'l2': Loss(squared, 'mean'),
    'l1': Loss(absolute, 'median'),
    'l0': Loss(annealed, 'mode'),
    'masked_l2': Loss(squared, 'mean', uses_mask=True),  # equation 7
    'masked_l1': Loss(absolute, 'median', uses_mask=True),
    'masked_l0': Loss(annealed, 'mode', uses_mask=True),
}
