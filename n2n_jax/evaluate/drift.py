"""How brightness drift between captures affects the estimated error.

N captures of a scene, H height, W width, C channels, D draws, P pixels.

The clean image is the mean of all captures one could take. If gains and offsets vary between
captures (x_i = g_i m + o_i + noise, see `n2n_jax.captures.measure.brightness`), N captures do not
determine the brightness of that mean: the clean image is t = (1 + a) s + b, where s is the mean
signal of these N, and a and b scatter like g and o, divided by the root of N. Their scatter is
estimated from the same N, so a and b are drawn from Student's t distribution with N - 1 degrees of
freedom (two captures say very little). Each channel has its own gain and offset; they are drawn
jointly, since a lamp changes all channels alike and a filter only one. Against t

    E (f - t)^2 = E (f - s)^2 - 2 a E (f - s) s - 2 b E (f - s) + E (a s + b)^2

The last term makes the estimate too optimistic if gains were matched; the linear terms have either
sign, and dominate for a denoiser that flattens peaks. On microscopy (FMD, nine scenes) the gains of
four captures differ by 2 to 17 %, and that, not the noise, explained most of the gap between the
estimate and the error against a mean of 50.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from n2n_jax.captures.measure.brightness import ByChannel


@dataclasses.dataclass(frozen=True)
class Drift:
    """Scatter of the brightness of the captures, in the range of the network.

    Attributes:
      deviations_NC2: (gain - 1, offset) of each capture and channel, minus their means.
    """

    deviations_NC2: np.ndarray

    @property
    def covariance_C22(self) -> np.ndarray:
        """Covariance of gain and offset of the mean of the captures, for each channel."""
        num = len(self.deviations_NC2)
        squares_C22 = np.einsum('nci,ncj->cij', self.deviations_NC2, self.deviations_NC2)
        return squares_C22 / (num * (num - 1))

    @property
    def gain_spread(self) -> float:
        """Standard deviation of the gain over captures, in the channel with the largest."""
        return float(self.deviations_NC2[..., 0].std(axis=0, ddof=1).max())

    @property
    def offset_spread(self) -> float:
        """Standard deviation of the offset, peak 1, in the channel with the largest."""
        return float(self.deviations_NC2[..., 1].std(axis=0, ddof=1).max())

    def draws(self, rng: np.random.Generator, num: int) -> np.ndarray:
        """Draws (gain - 1, offset) of the clean image, (D, C, 2)."""
        num_captures = len(self.deviations_NC2)
        normal_DN = rng.standard_normal((num, num_captures))
        # The spread of so few captures is itself uncertain: Student's t instead of a Gaussian.
        normal_DN /= np.sqrt(rng.chisquare(num_captures - 1, (num, 1)) * num_captures)
        return np.einsum('dn,nci->dci', normal_DN, self.deviations_NC2)


def find(found: ByChannel, to_network: Callable[[np.ndarray], np.ndarray]) -> Drift | None:
    """Returns the drift of captures; None if no difference is significant.

    Args:
      found: their measured brightness differences, before any correction.
      to_network: maps pixel values to the range of the network; linear.
    """
    if not found.differs:
        return None
    origin, slope = _intercept_and_slope(to_network)
    channels = found.to_match()
    gain_NC = np.stack([one.gain_N for one in channels], axis=-1) - 1
    offset_NC = slope * np.stack([one.offset_N for one in channels], axis=-1) - origin * gain_NC
    both_NC2 = np.stack([gain_NC, offset_NC], axis=-1)
    return Drift(both_NC2 - both_NC2.mean(axis=0))


def _intercept_and_slope(to_network: Callable[[np.ndarray], np.ndarray]) -> tuple[float, float]:
    """Returns value at 0 and slope of a linear map whose values are float32.

    Measured far from 0, where float32 rounding matters little: values at 0 and 1 may hardly differ.
    """
    far = 1.0
    while True:
        origin, there = (float(value) for value in to_network(np.array([0.0, far])))
        if abs(there - origin) > 1e3 * max(abs(origin), 1.0) or far > 1e30:
            return origin, (there - origin) / far
        far *= 4


@dataclasses.dataclass(frozen=True)
class DriftEffect:
    """The effect of brightness drift on the squared error of a method.

    Attributes:
      drift: the drift of the scene.
      first_C2: E (f - s) s and E (f - s) of each channel.
      second_C22: second moments of (s, 1) of each channel.
      weights_C: share of each channel in the error.
    """

    drift: Drift
    first_C2: np.ndarray
    second_C22: np.ndarray
    weights_C: np.ndarray

    def error_change(self, draws_DC2: np.ndarray) -> np.ndarray:
        """Returns the change of the squared error for each draw of gain and offset, (D,)."""
        quadratic_DC = np.einsum('dci,cij,dcj->dc', draws_DC2, self.second_C22, draws_DC2)
        linear_DC = np.einsum('dci,ci->dc', draws_DC2, self.first_C2)
        return (quadratic_DC - 2 * linear_DC) @ self.weights_C

    def for_channel(self, channel: int) -> 'DriftEffect':
        """Returns the effect on the error of one channel."""
        return dataclasses.replace(self, weights_C=np.eye(len(self.weights_C))[channel])


def drift_effect(
    drift: Drift,
    results_NHWC: np.ndarray,
    captures_NHWC: np.ndarray,
    mask_HWC: np.ndarray,
    made_of: Sequence[Sequence[int]],
) -> DriftEffect:
    """Returns the effect of drift on a method's error, estimated from independent captures.

    Args:
      drift: the drift of the scene.
      results_NHWC: the method's results, in the range of the network.
      captures_NHWC: the captures, corrected, in the same range.
      mask_HWC: True where values count.
      made_of: for each result, the indices of the captures it was computed from. A result of all
        captures is taken to be their mean, whose error does not depend on the signal.
    """
    first, second = [], []
    for channel in range(mask_HWC.shape[-1]):
        mask_HW = mask_HWC[..., channel]
        moments = _moments(
            results_NHWC[:, mask_HW, channel], captures_NHWC[:, mask_HW, channel], made_of
        )
        first.append(moments[0])
        second.append(moments[1])
    counts_C = mask_HWC.sum(axis=(0, 1))
    return DriftEffect(drift, np.array(first), np.array(second), counts_C / max(counts_C.sum(), 1))


def _moments(
    results_NP: np.ndarray, captures_NP: np.ndarray, made_of: Sequence[Sequence[int]]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns E (f - s) s and E (f - s), and the second moments of s and 1."""
    x_NP = captures_NP.astype(np.float64)
    num = len(x_NP)
    if not x_NP.size:
        return np.zeros(2), np.zeros((2, 2))
    products_NN = x_NP @ x_NP.T / x_NP.shape[1]
    square = (products_NN.sum() - np.trace(products_NN)) / (num * (num - 1))
    mean = x_NP.mean()
    first = []
    for result_P, parts in zip(results_NP, made_of, strict=True):
        others = [j for j in range(num) if j not in parts]
        if others:
            f_P, other_P = result_P.astype(np.float64), x_NP[others].mean(axis=0)
            first.append([np.mean(f_P * other_P) - square, f_P.mean() - mean])
    first_2 = np.mean(first, axis=0) if first else np.zeros(2)
    return first_2, np.array([[square, mean], [mean, 1.0]])
