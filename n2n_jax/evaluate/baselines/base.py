"""The interface of baselines, and how their strength is tuned on noisy images.

N captures of a scene, H height, W width, C channels.
"""

import abc
import importlib.util
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np

from n2n_jax.evaluate import without_clean
from n2n_jax.evaluate.baselines.known_noise import KnownNoise
from n2n_jax.evaluate.baselines.noisy_pairs import NoisyPair
from n2n_jax.runtime.errors import UserError

Restore = Callable[[np.ndarray], np.ndarray]  # (H, W, C) float32 to the same


class Baseline(abc.ABC):
    """A denoiser without training; a frozen dataclass whose fields are its options.

    Attributes:
      title: how a table of captures calls it.
      package: the package that it needs beyond those of n2n_jax; '' if none.
      how_to_install: sentence for users who lack the package.
    """

    title: ClassVar[str]
    package: ClassVar[str] = ''
    how_to_install: ClassVar[str] = ''

    @classmethod
    def installed(cls) -> bool:
        """Checks whether the package that it needs is installed."""
        return not cls.package or importlib.util.find_spec(cls.package) is not None

    @classmethod
    def check_installed(cls) -> None:
        """Raises a UserError that says what to install, if the package is missing."""
        if not cls.installed():
            raise UserError(cls.how_to_install)

    @abc.abstractmethod
    def for_noise(self, noise: KnownNoise, pairs: Callable[[], Sequence[NoisyPair]]) -> Restore:
        """Returns the denoiser for noise of which something is known.

        Args:
          noise: what is known.
          pairs: draws pairs of noisy images with the same noise, to tune on; drawn only if needed.
        """

    @abc.abstractmethod
    def for_captures(
        self, captures_NHWC: np.ndarray, measured_HWC: np.ndarray | None = None
    ) -> Restore:
        """Returns the denoiser with the parameters of least error, estimated from captures.

        Args:
          captures_NHWC: two or more.
          measured_HWC: False where they hold no measurement: those pixels are ignored in the
            tuning; None: all were measured.
        """

    @abc.abstractmethod
    def tuning(self, noise: KnownNoise) -> str:
        """Describes how the parameters were set, for the protocol of `for_noise`."""


def least_error_of_pairs(candidates: Sequence[Restore], pairs: Sequence[NoisyPair]) -> Restore:
    """Returns the candidate whose results agree best with second noisy versions."""
    if len(candidates) == 1:
        return candidates[0]
    return min(
        candidates,
        key=lambda restore: sum(pair.disagreement(restore(pair.noisy_HWC)) for pair in pairs),
    )


def least_error_of_captures(
    candidates: Sequence[Restore],
    captures_NHWC: np.ndarray,
    measured_HWC: np.ndarray | None = None,
    *,
    first_only: bool = False,
) -> Restore:
    """Returns the candidate of least error over the captures, or on the first one only."""
    x = captures_NHWC
    if len(candidates) == 1:
        return candidates[0]

    def error(restore: Restore) -> float:
        if first_only and len(x) > 2:
            return mean_over_measured(
                without_clean.error_map(restore(x[0]), x[1:])[None], measured_HWC
            )
        maps_NHWC = without_clean.error_maps(np.stack([restore(c) for c in x]), x)
        return mean_over_measured(maps_NHWC, measured_HWC)

    return min(candidates, key=error)


def sigma_of_captures(captures_NHWC: np.ndarray, measured_HWC: np.ndarray | None = None) -> float:
    """Estimates the standard deviation of the noise of captures, over all values."""
    maps_NHWC = without_clean.error_maps(captures_NHWC, captures_NHWC)
    return float(np.sqrt(max(mean_over_measured(maps_NHWC, measured_HWC), 1e-12)))


def mean_over_measured(maps_NHWC: np.ndarray, measured_HWC: np.ndarray | None) -> float:
    """Averages over the measured values; over all if none was measured."""
    if measured_HWC is None or not measured_HWC.any():
        return float(maps_NHWC.mean())
    return float(maps_NHWC[:, measured_HWC].mean())
