"""A defect of existing code as a noise, for the table `keras`; run like a user's file (`imports`).

H height, W width, C channels.
"""

import jax
import jax.numpy as jnp

from n2n_jax import corruptions
from n2n_jax.corruptions import poisson
from n2n_jax.corruptions.base import Corruption

_VALUES = 256  # of an 8-bit integer


def sample_image(
    key: jax.Array, image_HWC: jax.Array, level: jax.Array
) -> tuple[jax.Array, jax.Array | None]:
    """Draws Poisson(255 x) as an 8-bit integer: counts above 255 start again at 0.

    As in Deep-Restore-PyTorch, without a level: a value of 250 has the mean 158.
    """
    del level
    counts_N = poisson.poisson_counts(key, (_VALUES - 1) * image_HWC.reshape(-1))
    return jnp.mod(counts_N, _VALUES).reshape(image_HWC.shape) / (_VALUES - 1), None


corruptions.REGISTRY['wrapping_poisson'] = Corruption(
    name='wrapping_poisson',
    level='',
    bounds=(0.0, 0.0),
    sample_image=sample_image,
    statistics=(),  # no statistic is the clean image where counts wrap
    nonnegative=True,
)
