"""The median filter.

H height, W width, C channels.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Annotated, ClassVar

import numpy as np
from scipy import ndimage

from n2n_jax.evaluate.baselines.base import (
    Baseline,
    Restore,
    least_error_of_captures,
    least_error_of_pairs,
)
from n2n_jax.evaluate.baselines.known_noise import KnownNoise
from n2n_jax.evaluate.baselines.noisy_pairs import IN_WORDS, NoisyPair
from n2n_jax.runtime.config_field import Bounds
from n2n_jax.runtime.errors import UserError

SIZES = (3, 5, 7)


@dataclasses.dataclass(frozen=True)
class Median(Baseline):
    """The median over a square window of each channel, for impulses: it ignores them if outvoted.

    Attributes:
      size: side of the window in pixels, odd; 0: the candidate of least error, estimated from noisy
        images.
    """

    size: Annotated[int, Bounds(0, 99)] = 0

    title: ClassVar[str] = 'median filter'

    def __post_init__(self) -> None:
        """Checks the size: an even window has no middle, and would move the image.

        Raises:
          UserError: it is even.
        """
        if self.size and self.size % 2 == 0:
            raise UserError(
                f'median:size={self.size} has no pixel in the middle: write an odd number, such as '
                f'{self.size + 1}.'
            )

    def for_noise(self, noise: KnownNoise, pairs: Callable[[], Sequence[NoisyPair]]) -> Restore:
        """See `Baseline`."""
        del noise
        return _restore(self.size) if self.size else least_error_of_pairs(_candidates(), pairs())

    def for_captures(
        self, captures_NHWC: np.ndarray, measured_HWC: np.ndarray | None = None
    ) -> Restore:
        """See `Baseline`."""
        candidates = [_restore(self.size)] if self.size else _candidates()
        return least_error_of_captures(candidates, captures_NHWC, measured_HWC)

    def tuning(self, noise: KnownNoise) -> str:
        """See `Baseline`."""
        del noise
        return f'window of {self.size} pixels' if self.size else f'window of {IN_WORDS}'


def _candidates() -> list[Restore]:
    return [_restore(size) for size in SIZES]


def _restore(size: int) -> Restore:
    def restore(noisy_HWC: np.ndarray) -> np.ndarray:
        return ndimage.median_filter(noisy_HWC, size=(size, size, 1)).astype(np.float32)

    return restore
