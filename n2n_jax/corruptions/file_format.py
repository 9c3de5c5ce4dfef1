"""What a camera file does to a capture: clipping and rounding. Only ever on request.

H height, W width, C channels. Both give a noisy *target* the wrong mean near black and white, and
leave its median; they exist to model inputs as they lie on disk, and to measure that bias.
"""

import jax
import jax.numpy as jnp

from n2n_jax.corruptions.base import Corruption, all_of_them


def clip_image(
    key: jax.Array, image_HWC: jax.Array, level: jax.Array
) -> tuple[jax.Array, jax.Array | None]:
    """Values below 0 become 0, values above 1 become 1."""
    del key, level
    return jnp.clip(image_HWC, 0.0, 1.0), None


def quantize_image(
    key: jax.Array, image_HWC: jax.Array, bits: jax.Array
) -> tuple[jax.Array, jax.Array | None]:
    """Clipped, then rounded to 2^bits levels."""
    del key
    steps = jnp.exp2(jnp.round(bits)) - 1.0
    return jnp.round(jnp.clip(image_HWC, 0.0, 1.0) * steps) / steps, None


def stored_image(
    key: jax.Array, image_HWC: jax.Array, share: jax.Array
) -> tuple[jax.Array, jax.Array | None]:
    """With a probability of `share` as a file of 8 bits holds it: clipped and rounded."""
    held_HWC, _ = quantize_image(key, image_HWC, jnp.float32(8))
    return jnp.where(jax.random.uniform(key) < share, held_HWC, image_HWC), None


CLIP = Corruption(
    name='clip',
    level='',
    bounds=(0.0, 0.0),
    sample_image=clip_image,
    statistics=('median',),
    untouched=all_of_them,  # of clean values, which lie in [0, 1]
    monotone=True,
    nonnegative=True,
    cuts='clipped to [0, 1]',
)
QUANTIZE = Corruption(
    name='quantize',
    level='bits per value',
    bounds=(1.0, 16.0),
    sample_image=quantize_image,
    statistics=('median',),
    untouched=lambda bits: float(bits >= 8),  # to half a step, at most 0.5 of 255
    monotone=True,
    nonnegative=True,
    cuts='clipped to [0, 1] and rounded to {level} bits',
)
STORED = Corruption(
    name='stored',
    level='share of the images',
    bounds=(0.0, 1.0),
    sample_image=stored_image,
    statistics=('median',),
    untouched=all_of_them,  # to half a step of 8 bits
    monotone=True,
    nonnegative=True,
    cuts='clipped to [0, 1] and rounded to 8 bits in a share of {level} of the images',
)
