"""The fixed noise of the evaluation on clean images.

B batch, H height, W width, C channels.

The noise depends only on the evaluation seed, the image's pixels, its spec and the replica: every
model, on any machine and in any batch, sees the same noisy images, whatever their files are called.
"""

import functools

import jax

from n2n_jax.corruptions import Corruptor
from n2n_jax.images.pixel_hash import key_words
from n2n_jax.runtime import random_keys


def identity(pixel_hash: str, replica: int) -> tuple[int, int, int]:
    """Returns the uint32 words that tell one noisy image of a seed and a spec from all others.

    Args:
      pixel_hash: see `n2n_jax.images.pixel_hash.pixel_hash`.
      replica: which noisy version of the image.
    """
    return (*key_words(pixel_hash), replica)


def draw(
    corruptor: Corruptor, seed: int, clean_BHWC: jax.Array, identity_B3: jax.Array
) -> jax.Array:
    """Returns the noisy images, (B, H, W, C).

    Args:
      corruptor: the noise.
      seed: the evaluation seed (`eval.seed`).
      clean_BHWC: the images, in [0, 1].
      identity_B3: the `identity` of each noisy image, uint32.
    """
    root = random_keys.key_for(seed, random_keys.EVALUATION)
    keys_B = jax.vmap(lambda words_3: functools.reduce(jax.random.fold_in, words_3, root))(
        identity_B3
    )
    return corruptor.sample_with_keys(keys_B, clean_BHWC).image_BHWC
