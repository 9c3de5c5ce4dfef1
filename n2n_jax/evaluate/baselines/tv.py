"""Total variation.

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

# Candidates of the weight, in units of the standard deviation of the noise.
STRENGTHS = (0.35, 0.5, 0.7, 0.9, 1.2, 1.7)


@dataclasses.dataclass(frozen=True)
class TotalVariation(Baseline):
    """Total variation (Rudin et al. 1992) by Chambolle's algorithm (2004), as in scikit-image.

    Attributes:
      weight: of the variation, for values in [0, 1]; 0: the candidate of least error, estimated
        from noisy images.
    """

    weight: Annotated[float, Bounds(0)] = 0.0

    title: ClassVar[str] = 'total variation'

    def for_noise(self, noise: KnownNoise, pairs: Callable[[], Sequence[NoisyPair]]) -> Restore:
        """See `Baseline`."""
        if self.weight:
            return _restore(lambda _: self.weight)
        return least_error_of_pairs([_scaled(k, noise.sigma) for k in STRENGTHS], pairs())

    def for_captures(
        self, captures_NHWC: np.ndarray, measured_HWC: np.ndarray | None = None
    ) -> Restore:
        """See `Baseline`."""
        if self.weight:
            return _restore(lambda _: self.weight)
        sigma = sigma_of_captures(captures_NHWC, measured_HWC)
        candidates = [_scaled(strength, lambda _: sigma) for strength in STRENGTHS]
        return least_error_of_captures(candidates, captures_NHWC, measured_HWC)

    def tuning(self, noise: KnownNoise) -> str:
        """See `Baseline`."""
        if self.weight:
            return f'weight {self.weight:g}'
        return f'{noise.in_words()}; weight of {IN_WORDS}'


def _scaled(strength: float, sigma_of: Callable[[np.ndarray], float]) -> Restore:
    return _restore(lambda noisy_HWC: strength * sigma_of(noisy_HWC))


def _restore(weight_of: Callable[[np.ndarray], float]) -> Restore:
    def restore(noisy_HWC: np.ndarray) -> np.ndarray:
        from skimage.restoration import denoise_tv_chambolle

        restored = denoise_tv_chambolle(noisy_HWC, weight=weight_of(noisy_HWC), channel_axis=-1)
        return restored.reshape(noisy_HWC.shape).astype(np.float32)

    return restore
