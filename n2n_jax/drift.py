"""What of an error hangs on the brightness, where that drifts from capture to capture.

N captures of a scene, H height, W width, C channels, D draws.

The clean image is the mean of all captures that one could take. If their gains and offsets differ
(x_i = g_i m + o_i + noise, see `n2n_jax.brightness`), N captures do not show which brightness that
mean has: the truth is t = (1 + a) s + b, where s is the mean that these N have, and a and b scatter
as g and o do, over the root of N. Against it

    E (f - t)^2 = E (f - s)^2 - 2 a E (f - s) s - 2 b E (f - s) + E (a s + b)^2

The last part makes an estimate too good where gains were matched; the parts before it go both ways,
and are the larger ones for a denoiser that rounds off peaks. On microscopy (FMD, nine scenes) gains
of four captures differ by 2 to 17 %, and that, not the noise, was most of what set the estimate
apart from the error against a mean of 50.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from n2n_jax.brightness import Brightness


@dataclasses.dataclass(frozen=True)
class Drift:
    """How uncertain the brightness of a scene is, in the range of the network.

    Attributes:
      covariance_22: of gain and offset of the mean of the captures. A few captures tell it roughly
        only; nothing is added for that.
      spread: standard deviation of the gain from capture to capture.
    """

    covariance_22: np.ndarray
    spread: float

    def draws(self, rng: np.random.Generator, num: int) -> np.ndarray:
        """Gains less 1 and offsets that the truth may have, (D, 2)."""
        root_22 = np.linalg.cholesky(self.covariance_22 + 1e-18 * np.eye(2))
        return rng.standard_normal((num, 2)) @ root_22.T


def find(found: Brightness, to_network: Callable[[np.ndarray], np.ndarray]) -> Drift | None:
    """The drift of captures; None if there is none to be seen.

    Args:
      found: how they differed before anything was put right.
      to_network: pixel values to the range of the network, a straight line.
    """
    if not found.differs:
        return None
    origin, one = (float(value) for value in to_network(np.array([0.0, 1.0])))
    gain_N = found.gain_N - 1
    offset_N = (one - origin) * found.offset_N - origin * gain_N
    covariance_22 = np.cov(np.stack([gain_N, offset_N])) / len(gain_N)
    return Drift(covariance_22, float(gain_N.std(ddof=1)))


@dataclasses.dataclass(frozen=True)
class Lever:
    """What a drift does to the error of a method.

    Attributes:
      drift: of the scene.
      first_2: E (f - s) s and E (f - s).
      second_22: of s and 1.
    """

    drift: Drift
    first_2: np.ndarray
    second_22: np.ndarray

    def added(self, draws_D2: np.ndarray) -> np.ndarray:
        """What each of the draws of gain and offset adds to the squared error, (D,)."""
        quadratic_D = np.einsum('di,ij,dj->d', draws_D2, self.second_22, draws_D2)
        return quadratic_D - 2 * draws_D2 @ self.first_2


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
    x_NP = captures_NHWC[:, mask_HWC].astype(np.float64)
    num = len(x_NP)
    if not x_NP.size:
        return Lever(drift, np.zeros(2), np.zeros((2, 2)))
    products_NN = x_NP @ x_NP.T / x_NP.shape[1]
    square = (products_NN.sum() - np.trace(products_NN)) / (num * (num - 1))
    mean = x_NP.mean()
    first = []
    for result_HWC, parts in zip(results_NHWC, made_of, strict=True):
        others = [j for j in range(num) if j not in parts]
        if others:
            f_P, other_P = result_HWC[mask_HWC].astype(np.float64), x_NP[others].mean(axis=0)
            first.append([np.mean(f_P * other_P) - square, f_P.mean() - mean])
    first_2 = np.mean(first, axis=0) if first else np.zeros(2)
    return Lever(drift, first_2, np.array([[square, mean], [mean, 1.0]]))
