"""Wavelet shrinkage.

H height, W width, C channels.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

import numpy as np

from n2n_jax.evaluate.baselines.base import Baseline, Restore, sigma_of_captures
from n2n_jax.evaluate.baselines.known_noise import KnownNoise
from n2n_jax.evaluate.baselines.noisy_pairs import NoisyPair


@dataclasses.dataclass(frozen=True)
class Wavelet(Baseline):
    """Soft thresholds of wavelet coefficients by BayesShrink (Chang et al. 2000), in scikit-image.

    The thresholds follow from the noise level and the image: nothing is tuned. RGB is shrunk in the
    luma and chroma planes of YCbCr, 1.7 dB better than in R, G and B on a Kodak photograph.

    Attributes:
      family: of the wavelets.
    """

    family: Literal['db1', 'db2', 'db4', 'sym4', 'sym8', 'coif2', 'bior4.4'] = 'db2'

    title: ClassVar[str] = 'wavelet shrinkage'
    package: ClassVar[str] = 'pywt'
    how_to_install: ClassVar[str] = (
        'PyWavelets, which wavelet shrinkage needs, is not installed: pip install '
        "'n2n_jax[wavelet]' adds it (MIT license)."
    )

    def for_noise(self, noise: KnownNoise, pairs: Callable[[], Sequence[NoisyPair]]) -> Restore:
        """See `Baseline`."""
        del pairs
        return self._restore(noise.sigma)

    def for_captures(
        self, captures_NHWC: np.ndarray, measured_HWC: np.ndarray | None = None
    ) -> Restore:
        """See `Baseline`. The captures determine the noise level."""
        sigma = sigma_of_captures(captures_NHWC, measured_HWC)
        return self._restore(lambda _: sigma)

    def tuning(self, noise: KnownNoise) -> str:
        """See `Baseline`."""
        return f'{noise.in_words()}; BayesShrink thresholds, {self.family} wavelets'

    def _restore(self, sigma_of: Callable[[np.ndarray], float]) -> Restore:
        def restore(noisy_HWC: np.ndarray) -> np.ndarray:
            from skimage.restoration import denoise_wavelet

            restored = denoise_wavelet(
                noisy_HWC,
                sigma=sigma_of(noisy_HWC),
                wavelet=self.family,
                convert2ycbcr=noisy_HWC.shape[-1] == 3,
                channel_axis=-1,
                rescale_sigma=True,
            )
            return restored.reshape(noisy_HWC.shape).astype(np.float32)

        return restore
