"""How much of the noise is removed: a blend of the image as it is and its denoised version."""

import numpy as np

from n2n_jax.runtime.errors import UserError

FULL = 1.0


def check(strength: float) -> None:
    """Raises UserError unless the strength is between 0 and 1."""
    if not 0 <= strength <= FULL:
        raise UserError(f'strength {strength:g}: must be between 0 (as it is) and 1 (denoised).')


def blended(noisy: np.ndarray, denoised: np.ndarray, strength: float) -> np.ndarray:
    """Returns the blend of an image and its denoised version, of the same shape and range.

    Args:
      noisy: the image.
      denoised: its denoised version.
      strength: 1 returns `denoised` itself, 0 nearly `noisy`: not to the last bit, so callers write
        the image as it was.
    """
    if strength == FULL:
        return denoised
    return noisy + np.float32(strength) * (denoised - noisy)
