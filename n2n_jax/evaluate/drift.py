"""What of an error hangs on the brightness, where that drifts from capture to capture.

N captures of a scene, H height, W width, C channels, D draws, P pixels.

The clean image is the mean of all captures that one could take. If their gains and offsets differ
(x_i = g_i m + o_i + noise, see `n2n_jax.captures.measure.brightness`), N captures do not show which
brightness that mean has: the truth is t = (1 + a) s + b, where s is the mean that these N have, and
a and b scatter as g and o do, over the root of N. How much these scatter is known from the same N
alone, so a and b are drawn from Student's distribution with N - 1 degrees of freedom (two captures
tell very little). Each channel has a gain and an offset of its own; they are drawn together, as a
lamp moves all of them alike and a filter one. Against t

    E (f - t)^2 = E (f - s)^2 - 2 a E (f - s) s - 2 b E (f - s) + E (a s + b)^2

The last part makes an estimate too good where gains were matched; the parts before it go both ways,
and are the larger ones for a denoiser that rounds off peaks. On microscopy (FMD, nine scenes) gains
of four captures differ by 2 to 17 %, and that, not the noise, was most of what set the estimate
apart from the error against a mean of 50.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from n2n_jax.captures.measure.brightness import ByChannel


@dataclasses.dataclass(frozen=True)
class Drift:
    """How the brightness of the captures scatters, in the range of the network.

    Attributes:
      deviations_NC2: gain less 1 and offset of each capture and channel, less their means.
    """

    deviations_NC2: np.ndarray

    @property
    def covariance_C22(self) -> np.ndarray:
        """Of gain and offset of the mean of the captures, for each channel."""
        num = len(self.deviations_NC2)
        squares_C22 = np.einsum('nci,ncj->cij', self.deviations_NC2, self.deviations_NC2)
        return squares_C22 / (num * (num - 1))

    @property
    def gain_spread(self) -> float:
        """Standard deviation of the gain from capture to capture, of the channel with the most."""
        return float(self.deviations_NC2[..., 0].std(axis=0, ddof=1).max())

    @property
    def offset_spread(self) -> float:
        """The same of the offset, peak 1."""
        return float(self.deviations_NC2[..., 1].std(axis=0, ddof=1).max())

    def draws(self, rng: np.random.Generator, num: int) -> np.ndarray:
        """Gains less 1 and offsets that the truth may have, (D, C, 2)."""
        num_captures = len(self.deviations_NC2)
        normal_DN = rng.standard_normal((num, num_captures))
        # The spread of so few is uncertain itself: Student's t instead of a Gaussian.
        normal_DN /= np.sqrt(rng.chisquare(num_captures - 1, (num, 1)) * num_captures)
        return np.einsum('dn,nci->dci', normal_DN, self.deviations_NC2)


def find(found: ByChannel, to_network: Callable[[np.ndarray], np.ndarray]) -> Drift | None:
    """The drift of captures; None if there is none to be seen.

    Args:
      found: how they differed before anything was put right.
      to_network: pixel values to the range of the network, a straight line.
    """
    if not found.differs:
        return None
    origin, slope = _line(to_network)
    channels = found.to_match()
    gain_NC = np.stack([one.gain_N for one in channels], axis=-1) - 1
    offset_NC = slope * np.stack([one.offset_N for one in channels], axis=-1) - origin * gain_NC
    both_NC2 = np.stack([gain_NC, offset_NC], axis=-1)
    return Drift(both_NC2 - both_NC2.mean(axis=0))


def _line(to_network: Callable[[np.ndarray], np.ndarray]) -> tuple[float, float]:
    """Value at 0 and slope, of a line whose values are float32.

    Far from 0, where what float32 rounds is little: values at 0 and 1 may hardly differ.
    """
    far = 1.0
    while True:
        origin, there = (float(value) for value in to_network(np.array([0.0, far])))
        if abs(there - origin) > 1e3 * max(abs(origin), 1.0) or far > 1e30:
            return origin, (there - origin) / far
        far *= 4


@dataclasses.dataclass(frozen=True)
class Lever:
    """What a drift does to the error of a method.

    Attributes:
      drift: of the scene.
      first_C2: E (f - s) s and E (f - s) of each channel.
      second_C22: of s and 1.
      weights_C: share of each channel in the error.
    """

    drift: Drift
    first_C2: np.ndarray
    second_C22: np.ndarray
    weights_C: np.ndarray

    def added(self, draws_DC2: np.ndarray) -> np.ndarray:
        """What each of the draws of gain and offset adds to the squared error, (D,)."""
        quadratic_DC = np.einsum('dci,cij,dcj->dc', draws_DC2, self.second_C22, draws_DC2)
        linear_DC = np.einsum('dci,ci->dc', draws_DC2, self.first_C2)
        return (quadratic_DC - 2 * linear_DC) @ self.weights_C

    def of_channel(self, channel: int) -> 'Lever':
        """What it does to the error of one channel."""
        return dataclasses.replace(self, weights_C=np.eye(len(self.weights_C))[channel])


def lever(
    drift: Drift,
    results_NHWC: np.ndarray,
    captures_NHWC: np.ndarray,
    mask_HWC: np.ndarray,
    made_of: Sequence[Sequence[int]],
) -> Lever:
    """The lever of a method's results, estimated from captures that they were not made of.

    Args:
      drift: of the scene.
      results_NHWC: in the range of the network.
      captures_NHWC: likewise, put right.
      mask_HWC: True where values count.
      made_of: the captures behind each result. Made of all of them it is taken for a mean, whose
        error does not follow the signal.
    """
    first, second = [], []
    for channel in range(mask_HWC.shape[-1]):
        mask_HW = mask_HWC[..., channel]
        of_channel = _moments(
            results_NHWC[:, mask_HW, channel], captures_NHWC[:, mask_HW, channel], made_of
        )
        first.append(of_channel[0])
        second.append(of_channel[1])
    counts_C = mask_HWC.sum(axis=(0, 1))
    return Lever(drift, np.array(first), np.array(second), counts_C / max(counts_C.sum(), 1))


def _moments(
    results_NP: np.ndarray, captures_NP: np.ndarray, made_of: Sequence[Sequence[int]]
) -> tuple[np.ndarray, np.ndarray]:
    """E (f - s) s and E (f - s), and the second moments of s and 1."""
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
