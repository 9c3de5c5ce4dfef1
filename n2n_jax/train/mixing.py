"""Blends of two clean crops, as further clean images to train on (mixup: Zhang et al. 2018).

They are blended before noise is drawn, so the noise is that of any other crop: a blend of two noisy
images would have less.

B batch, H height, W width, I channels with auxiliary planes (see `n2n_jax.models.planes`).
"""

import jax
import jax.numpy as jnp

from n2n_jax.data.feeds import Batch


def mixed(key: jax.Array, clean: Batch, probability: float) -> Batch:
    """Blends crops at random with the one before them in the batch; jittable.

    The crop keeps a weight of `a`, uniform in [0.5, 1]; the other one has 1 - a. Crops are drawn
    independently, so the one before is as good as any, and is on the same or the next device.

    Args:
      key: random key of the step.
      clean: clean crops, of which each image is blended with its planes.
      probability: that a crop is blended.
    """
    of_choice, of_weight = jax.random.split(key)
    num = clean.input_BHWI.shape[0]
    weight_B = jax.random.uniform(of_weight, (num,), minval=0.5, maxval=1.0)
    weight_B = jnp.where(jax.random.bernoulli(of_choice, probability, (num,)), weight_B, 1.0)
    weight_B111 = weight_B[:, None, None, None]

    def blend(image_BHWI: jax.Array) -> jax.Array:
        other_BHWI = jnp.roll(image_BHWI, 1, axis=0)
        blended_BHWI = weight_B111 * image_BHWI + (1 - weight_B111) * other_BHWI
        return jnp.where(weight_B111 < 1, blended_BHWI, image_BHWI)

    return Batch(blend(clean.input_BHWI), blend(clean.target_BHWC), clean.mask_BHWC)
