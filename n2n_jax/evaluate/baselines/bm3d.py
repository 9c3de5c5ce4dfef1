"""BM3D between the Anscombe transform and its unbiased inverse.

N captures of a scene, H height, W width, C channels.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Annotated, ClassVar

import numpy as np

from n2n_jax.captures.measure.measured_part import measured_part
from n2n_jax.captures.measure.noise_model import noise_model
from n2n_jax.evaluate import without_clean
from n2n_jax.evaluate.anscombe import Anscombe
from n2n_jax.evaluate.baselines.base import (
    Baseline,
    Restore,
    least_error_of_captures,
    least_error_of_pairs,
)
from n2n_jax.evaluate.baselines.known_noise import KnownNoise
from n2n_jax.evaluate.baselines.noisy_pairs import IN_WORDS, NoisyPair
from n2n_jax.runtime.config_field import Bounds

# Candidates, in units of the standard deviation of the noise.
STRENGTHS = (0.85, 1.0, 1.2)
STRENGTHS_CORRELATED = (1.0, 1.5, 2.0, 2.7)  # for noise correlated between neighbors
_CROP = 128  # side in pixels of the crop that its strength is tuned on: BM3D is slow


@dataclasses.dataclass(frozen=True)
class BM3D(Baseline):
    """BM3D (Dabov et al. 2007), with variance stabilization where the noise grows with the signal.

    Known noise that is independent between pixels needs no tuning. For other noise the strength is
    tuned: passing the spectrum of correlated noise to BM3D gains another 0.2 dB on widefield
    microscopy, but fails with NumPy 2.4 and later (bm3d 4.0.3).

    Color images of known noise are denoised in an opponent color space (CBM3D, the figure that
    papers print for color sets, 2 dB better than plane by plane); captures plane by plane, as each
    may have noise of its own.

    Attributes:
      strength: the standard deviation that BM3D is told, in units of the true one; 0: 1 for known
        independent noise, else the candidate of least error, estimated from noisy images.
    """

    strength: Annotated[float, Bounds(0)] = 0.0

    title: ClassVar[str] = 'BM3D with variance stabilization'
    package: ClassVar[str] = 'bm3d'
    how_to_install: ClassVar[str] = (
        "BM3D is not installed: pip install 'n2n_jax[baselines]' adds it (the license of the "
        'package bm3d allows non-commercial use only).'
    )

    def for_noise(self, noise: KnownNoise, pairs: Callable[[], Sequence[NoisyPair]]) -> Restore:
        """See `Baseline`."""
        if self.strength or self._needs_no_tuning(noise):
            return _restore(noise.stabilizer, self.strength or 1.0, color=True)
        candidates = [_restore(noise.stabilizer, k, color=True) for k in STRENGTHS_CORRELATED]
        return least_error_of_pairs(candidates, pairs())

    def for_captures(
        self, captures_NHWC: np.ndarray, measured_HWC: np.ndarray | None = None
    ) -> Restore:
        """See `Baseline`.

        The captures determine the noise model, the standard deviation after the transform, and the
        strength (by the error on a central crop). Correlated noise gets larger strengths.
        """
        if measured_HWC is not None:
            captures_NHWC = measured_part(captures_NHWC, measured_HWC).captures_NHWC
        line = noise_model(captures_NHWC)
        transform = Anscombe(line.gain, line.read * abs(line.read))
        transformed_NHWC = transform.forward(captures_NHWC)
        sigma = float(np.sqrt(without_clean.error_maps(transformed_NHWC, transformed_NHWC).mean()))
        correlated = without_clean.patch_side(captures_NHWC) > without_clean.SMALLEST_PATCH
        strengths: tuple[float, ...] = STRENGTHS_CORRELATED if correlated else STRENGTHS
        if self.strength:
            strengths = (self.strength,)
        top, left = (max(0, (side - _CROP) // 2) for side in captures_NHWC.shape[1:3])
        crops_NHWC = captures_NHWC[:, top : top + _CROP, left : left + _CROP]
        candidates = [_restore(lambda _: transform, k * sigma) for k in strengths]
        return least_error_of_captures(candidates, crops_NHWC, first_only=True)

    def tuning(self, noise: KnownNoise) -> str:
        """See `Baseline`."""
        transform = 'Anscombe transform and unbiased inverse, ' if noise.gain else ''
        if self.strength or self._needs_no_tuning(noise):
            strength = f'{self.strength or 1:g} sigma'
        else:
            strength = f'of {IN_WORDS}'
        return f'{transform}{noise.in_words()}; strength {strength}'

    def _needs_no_tuning(self, noise: KnownNoise) -> bool:
        return noise.square is not None and noise.independent


def _restore(
    stabilizer: Callable[[np.ndarray], Anscombe], sigma: float, *, color: bool = False
) -> Restore:
    """Returns BM3D with the standard deviation that the stabilized noise is taken to have."""

    def restore(noisy_HWC: np.ndarray) -> np.ndarray:
        import bm3d

        transform = stabilizer(noisy_HWC)
        stable_HWC = transform.forward(noisy_HWC)
        if color and noisy_HWC.shape[-1] == 3:
            restored_HWC = bm3d.bm3d_rgb(stable_HWC, sigma)
        else:
            restored_HWC = np.stack([bm3d.bm3d(plane_HW, sigma) for plane_HW in stable_HWC.T]).T
        return transform.inverse(restored_HWC).astype(np.float32)

    return restore
