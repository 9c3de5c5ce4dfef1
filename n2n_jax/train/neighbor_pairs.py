"""Pairs out of one noisy image: two neighbors out of every cell of 2x2 pixels.

B batch, H height, W width, C channels; h = H / 2 and w = W / 2.

Huang et al., 'Neighbor2Neighbor: self-supervised denoising from single noisy images', CVPR 2021
(arXiv:2101.02824). In every cell two adjacent pixels are chosen at random; the first ones make one
image of half the size, g1(y), the second ones another, g2(y). If the noise of a pixel says nothing
about that of its neighbors, these two are nearly a pair of captures. Nearly: they show places one
pixel apart, and to learn g2(y) from g1(y) is to learn to blur. So their equation 6 adds a term that
asks for the difference which the denoised image itself has between the two,

    |f(g1(y)) - g2(y)|^2 + gamma |f(g1(y)) - g2(y) - (g1(f(y)) - g2(f(y)))|^2

with no gradient through f(y), and gamma growing over the training.
"""

import jax
import jax.numpy as jnp

NUM_CHOICES = 8  # four pixels to begin with, two neighbors each; no diagonals
LAST_GAMMA = 2.0


def choose(key: jax.Array, batch_size: int, height: int, width: int) -> jax.Array:
    """One of the 8 ordered pairs of neighbors for every cell, equally likely.

    Args:
      key: of the step.
      batch_size: images.
      height, width: of the whole images in pixels, both even.

    Returns:
      (B, h, w) int32 in [0, 8). Bits 1 and 2 are the column and the row of the first pixel within
      the cell; bit 0 says whether the second one is its neighbor in the column (1) or in the row.

    Raises:
      ValueError: an odd side.
    """
    if height % 2 or width % 2:
        raise ValueError(f'Cells of 2x2 pixels do not fill {height}x{width}.')
    return jax.random.randint(key, (batch_size, height // 2, width // 2), 0, NUM_CHOICES)


def split(image_BHWC: jax.Array, choice_Bhw: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The two images of half the size, g1 and g2, both (B, h, w, C).

    All channels of a pixel stay together.

    Args:
      image_BHWC: sides even.
      choice_Bhw: of `choose`.
    """
    b, h, w, c = image_BHWC.shape
    cells_Bhw4C = (
        image_BHWC.reshape(b, h // 2, 2, w // 2, 2, c)
        .transpose(0, 1, 3, 2, 4, 5)
        .reshape(b, h // 2, w // 2, 4, c)
    )
    # Of a pixel's number in its cell bit 0 is the column and bit 1 the row: to flip one of the two
    # leads to a neighbor, never to the diagonal.
    first_Bhw = choice_Bhw >> 1
    second_Bhw = first_Bhw ^ (1 + (choice_Bhw & 1))

    def taken(place_Bhw: jax.Array) -> jax.Array:
        places = place_Bhw[..., None, None]
        return jnp.take_along_axis(cells_Bhw4C, places, axis=3)[..., 0, :]

    return taken(first_Bhw), taken(second_Bhw)


def gamma_at(progress: jax.Array | float) -> jax.Array:
    """The weight of the second term: from 0 to 2, linear over the run, of which a share is done."""
    return jnp.float32(LAST_GAMMA) * progress


def corrected_target(
    target_Bhwc: jax.Array, difference_Bhwc: jax.Array, gamma: jax.Array
) -> jax.Array:
    """The one target whose squared error stands for both terms of equation 6.

    Two squares with a common variable are one square and a constant: with d the difference,

        |f - t|^2 + gamma |f - t - d|^2 = (1 + gamma) |f - t - gamma / (1 + gamma) d|^2 + const

    where the constant does not depend on f. The gradient is theirs but for the factor 1 + gamma,
    which Adam divides out again.

    Args:
      target_Bhwc: g2(y).
      difference_Bhwc: g1(f(y)) - g2(f(y)), of weights that the gradient does not see.
      gamma: of `gamma_at`.
    """
    return target_Bhwc + gamma / (1 + gamma) * difference_Bhwc
