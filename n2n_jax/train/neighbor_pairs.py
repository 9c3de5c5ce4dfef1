"""Pairs from one noisy image: two neighbors from every cell of 2x2 pixels.

B batch, H height, W width, C channels; h = H / 2 and w = W / 2.

Huang et al., 'Neighbor2Neighbor: self-supervised denoising from single noisy images', CVPR 2021
(arXiv:2101.02824). In every cell two adjacent pixels are chosen at random; the first ones form one
image of half the size, g1(y), the second ones another, g2(y). If the noise of a pixel is
independent of that of its neighbors, these two are nearly a pair of captures. Nearly: they show
positions one pixel apart, so learning g2(y) from g1(y) means learning to blur. Their equation 6
therefore adds a term that asks for the same difference between the two as in the denoised image,

    |f(g1(y)) - g2(y)|^2 + gamma |f(g1(y)) - g2(y) - (g1(f(y)) - g2(f(y)))|^2

with no gradient through f(y), and gamma increasing over the run.
"""

import jax
import jax.numpy as jnp

NUM_CHOICES = 8  # four first pixels with two neighbors each; no diagonals
LAST_GAMMA = 2.0


def choose(key: jax.Array, batch_size: int, height: int, width: int) -> jax.Array:
    """Draws one of the 8 ordered pairs of neighbors for every cell, with equal probability.

    Args:
      key: random key of the step.
      batch_size: number of images.
      height, width: size of the whole images in pixels, both even.

    Returns:
      (B, h, w) int32 in [0, 8). Bits 1 and 2 are the column and the row of the first pixel within
      the cell; bit 0 says whether the second one is its neighbor in the column (1) or in the row.

    Raises:
      ValueError: a side is odd.
    """
    if height % 2 or width % 2:
        raise ValueError(f'Cells of 2x2 pixels do not fill {height}x{width}.')
    return jax.random.randint(key, (batch_size, height // 2, width // 2), 0, NUM_CHOICES)


def split(image_BHWC: jax.Array, choice_Bhw: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the two images of half the size, g1 and g2, both (B, h, w, C).

    All channels of a pixel stay together.

    Args:
      image_BHWC: images with even sides.
      choice_Bhw: the pairs that `choose` has drawn.
    """
    b, h, w, c = image_BHWC.shape
    cells_Bhw4C = (
        image_BHWC.reshape(b, h // 2, 2, w // 2, 2, c)
        .transpose(0, 1, 3, 2, 4, 5)
        .reshape(b, h // 2, w // 2, 4, c)
    )
    # In a pixel's index within its cell, bit 0 is the column and bit 1 the row: flipping one bit
    # gives a neighbor, never the diagonal pixel.
    first_Bhw = choice_Bhw >> 1
    second_Bhw = first_Bhw ^ (1 + (choice_Bhw & 1))

    def select(index_Bhw: jax.Array) -> jax.Array:
        indices = index_Bhw[..., None, None]
        return jnp.take_along_axis(cells_Bhw4C, indices, axis=3)[..., 0, :]

    return select(first_Bhw), select(second_Bhw)


def gamma_at(progress: jax.Array | float) -> jax.Array:
    """Returns the weight of the second term: it rises linearly from 0 to 2 over the run.

    Args:
      progress: share of the run that is done, in [0, 1].
    """
    return jnp.float32(LAST_GAMMA) * progress


def corrected_target(
    target_Bhwc: jax.Array, difference_Bhwc: jax.Array, gamma: jax.Array
) -> jax.Array:
    """Returns a target whose squared error equals both terms of equation 6 up to a factor.

    The sum of two squares of one variable is one square plus a constant: with d the difference,

        |f - t|^2 + gamma |f - t - d|^2 = (1 + gamma) |f - t - gamma / (1 + gamma) d|^2 + const

    where the constant does not depend on f. The gradients differ only by the factor 1 + gamma,
    which Adam divides out.

    Args:
      target_Bhwc: g2(y).
      difference_Bhwc: g1(f(y)) - g2(f(y)), with no gradient through f.
      gamma: weight of the second term, see `gamma_at`.
    """
    return target_Bhwc + gamma / (1 + gamma) * difference_Bhwc
