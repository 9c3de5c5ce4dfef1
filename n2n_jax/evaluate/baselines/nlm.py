"""Non-local means.

H height, W width, C channels.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Annotated, ClassVar

import numpy as np

from n2n_jax.evaluate.baselines.base import (
    Baseline,
    Restore,
    least_error_of_captures,
    least_error_of_pairs,
    sigma_of_captures,
)
from n2n_jax.evaluate.baselines.known_noise import KnownNoise
from n2n_jax.evaluate.baselines.noisy_pairs import IN_WORDS, NoisyPair
from n2n_jax.runtime.config_field import Bounds

# Candidates, in units of the standard deviation of the noise.
STRENGTHS = (0.4, 0.6, 0.8, 1.0, 1.3)


@dataclasses.dataclass(frozen=True)
class NonLocalMeans(Baseline):
    """Non-local means (Buades et al. 2005) with patches of 5x5 pixels, as in scikit-image.

    Attributes:
      strength: of the smoothing, in units of the standard deviation of the noise; 0: the candidate
        of least error, estimated from noisy images.
    """

    strength: Annotated[float, Bounds(0)] = 0.0

    title: ClassVar[str] = 'non-local means'

    def for_noise(self, noise: KnownNoise, pairs: Callable[[], Sequence[NoisyPair]]) -> Restore:
        """See `Baseline`."""
        candidates = [_restore(strength, noise.sigma) for strength in self._strengths()]
        return candidates[0] if self.strength else least_error_of_pairs(candidates, pairs())

    def for_captures(
        self, captures_NHWC: np.ndarray, measured_HWC: np.ndarray | None = None
    ) -> Restore:
        """See `Baseline`."""
        sigma = sigma_of_captures(captures_NHWC, measured_HWC)
        candidates = [_restore(strength, lambda _: sigma) for strength in self._strengths()]
        return least_error_of_captures(candidates, captures_NHWC, measured_HWC)

    def tuning(self, noise: KnownNoise) -> str:
        """See `Baseline`."""
        strength = f'{self.strength:g} sigma' if self.strength else f'of {IN_WORDS}'
        return f'{noise.in_words()}; strength {strength}'

    def _strengths(self) -> tuple[float, ...]:
        return (self.strength,) if self.strength else STRENGTHS


def _restore(strength: float, sigma_of: Callable[[np.ndarray], float]) -> Restore:
    def restore(noisy_HWC: np.ndarray) -> np.ndarray:
        from skimage.restoration import denoise_nl_means

        sigma = sigma_of(noisy_HWC)
        restored = denoise_nl_means(
            noisy_HWC,
            patch_size=5,
            patch_distance=6,
            h=strength * sigma,
            sigma=sigma,
            channel_axis=-1,
        )
        # skimage drops the axis of a single channel.
        return restored.reshape(noisy_HWC.shape).astype(np.float32)

    return restore
