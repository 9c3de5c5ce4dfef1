"""Gain and offset between captures of a scene, from bleaching, lamp drift or exposure.

N captures of the scene, H height, W width, C channels, T tiles.

Capture i is modeled as x_i = g_i m + o_i + noise, with m the mean of all captures, so the mean gain
is 1 and the mean offset 0. A single color of a camera may drift, so each channel has its own gains
and offsets.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import special

from n2n_jax.captures.measure import block_statistics

_TILES = 4  # tiles a side for the jackknife
# Pixels a side that are averaged first. With two captures the fit is biased by noise, so blocks are
# large enough to leave hardly any; else as wide as the noise may be correlated.
_BLOCK_OF_TWO, _BLOCK = 16, 4
_SIGNIFICANT = 4.0  # standard errors; jackknife errors are rough
_CONTRAST = 6.0  # standard errors by which captures must covary for a gain to be measurable


@dataclasses.dataclass(frozen=True)
class Brightness:
    """Gain and offset of each capture of a scene relative to their mean, with standard errors.

    Attributes:
      gain_N, gain_error_N: all gains are 1 if none differs significantly.
      offset_N, offset_error_N: in pixel units.
      tests: how many such comparisons are made together; raises the significance threshold.
    """

    gain_N: np.ndarray
    gain_error_N: np.ndarray
    offset_N: np.ndarray
    offset_error_N: np.ndarray
    tests: int = 1

    def against_others(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns gain and offset of each capture relative to the mean of the others, (N,) each."""
        num = len(self.gain_N)
        gain_of_others_N = (num - self.gain_N) / (num - 1)
        gain_N = self.gain_N / gain_of_others_N
        return gain_N, self.offset_N + gain_N * self.offset_N / (num - 1)

    def without_difference(self) -> 'Brightness':
        """Returns a copy with all gains 1 and all offsets 0."""
        ones_N, zeros_N = np.ones_like(self.gain_N), np.zeros_like(self.offset_N)
        return dataclasses.replace(self, gain_N=ones_N, offset_N=zeros_N)

    @property
    def differs(self) -> bool:
        """Whether any gain or offset differs significantly."""
        return self.exceeds(_SIGNIFICANT)

    def exceeds(self, errors: float) -> bool:
        """Returns whether any gain or offset deviates by more than `errors` standard errors.

        The number is that for a single test; it is raised for several `tests`.
        """
        errors = _threshold_of_several(errors, self.tests)
        gain = np.abs(self.gain_N - 1) > errors * self.gain_error_N
        offset = np.abs(self.offset_N) > errors * self.offset_error_N
        return bool((gain | offset).any())


@dataclasses.dataclass(frozen=True)
class ByChannel:
    """Brightness of captures by channel.

    Attributes:
      channels: for each channel.
      together: for all channels as one, which detects smaller common drifts; for a single channel
        the same as its own.
    """

    channels: tuple[Brightness, ...]
    together: Brightness

    @property
    def differs(self) -> bool:
        """Whether captures differ significantly in any channel or in all together."""
        return any(one.differs for one in (*self.channels, self.together))

    def to_match(self) -> tuple[Brightness, ...]:
        """Returns the brightness to undo in each channel: no difference if it is not significant.

        If no channel differs by itself, all get the common one.
        """
        if not any(one.differs for one in self.channels):
            return (self.together,) * len(self.channels)
        return tuple(one if one.differs else one.without_difference() for one in self.channels)


def compare_channels(captures_NHWC: np.ndarray) -> ByChannel:
    """Compares captures, as `compare`, in each channel and in all together."""
    num = captures_NHWC.shape[-1]
    if num == 1:
        one = compare(captures_NHWC)
        return ByChannel((one,), one)
    parts = [captures_NHWC[..., k : k + 1] for k in range(num)]
    channels = tuple(compare(part, tests=num + 1) for part in parts)
    return ByChannel(channels, compare(captures_NHWC, tests=num + 1))


def compare(captures_NHWC: np.ndarray, *, tests: int = 1) -> Brightness:
    """Estimates gains and offsets of captures relative to their mean, common to all channels.

    Noise that is independent between captures does not enter their covariances: cov(x_i, x_j) =
    g_i g_j var(m). With three or more captures this gives unbiased gains. With two, a line is
    fitted to block means by total least squares, as both are noisy. Errors come from a jackknife
    over tiles.

    Args:
      captures_NHWC: at least two captures, in any unit.
      tests: see `Brightness`.
    """
    num, h, w, _ = captures_NHWC.shape
    if min(h, w) < _TILES:  # too few pixels
        unknown = np.full(num, np.inf)
        return Brightness(np.ones(num), unknown, np.zeros(num), unknown, tests)
    sums_T, center = _moments(captures_NHWC)
    total = sums_T.sum(axis=0)
    gain_N, offset_N = _line(total, center)
    parts = [_line(total - part, center) for part in sums_T]
    gain_error_N = _jackknife([gain for gain, _ in parts])
    if not _has_contrast(total):
        gain_error_N = np.full_like(gain_error_N, np.inf)
    if not (np.abs(gain_N - 1) > _threshold_of_several(_SIGNIFICANT, tests) * gain_error_N).any():
        gain_N, offset_N = np.ones_like(gain_N), _offsets(total)
        parts = [(gain_N, _offsets(total - part)) for part in sums_T]
    offset_error_N = _jackknife([offset for _, offset in parts])
    return Brightness(gain_N, gain_error_N, offset_N, offset_error_N, tests)


def match(captures_NHWC: np.ndarray, channels: Sequence[Brightness]) -> np.ndarray:
    """Undoes gains and offsets; returns float32 captures.

    Args:
      captures_NHWC: captures in the units in which `channels` was measured.
      channels: the brightness to undo, one per channel.
    """
    gain_N11C, offset_N11C = (
        np.stack(values, axis=-1)[:, None, None]
        for values in ([c.gain_N for c in channels], [c.offset_N for c in channels])
    )
    return ((captures_NHWC - offset_N11C) / gain_N11C).astype(np.float32)


def _threshold_of_several(errors: float, tests: int) -> float:
    """Raises a threshold in standard errors to keep the false-positive rate with several tests.

    By Student's t with the degrees of freedom of a jackknife over the tiles.
    """
    if tests == 1:
        return errors
    degrees_of_freedom = _TILES**2 - 1
    one_test = special.stdtr(degrees_of_freedom, -errors)  # scipy.stats takes long to import
    return float(-special.stdtrit(degrees_of_freedom, one_test / tests))


def _jackknife(left_out: list[np.ndarray]) -> np.ndarray:
    with np.errstate(invalid='ignore'):  # infinite gains have infinite errors
        error_N = np.std(left_out, axis=0) * np.sqrt(len(left_out) - 1)
    # Where a few tiles hold all contrast, the error of one capture can be underestimated tenfold.
    # The true errors of captures of one scene are similar, so half the median is a lower bound.
    error_N = np.maximum(error_N, np.median(error_N) / 2)
    return np.where(np.isfinite(error_N), error_N, np.inf)


def _has_contrast(sums: np.ndarray) -> bool:
    """Returns whether captures covary significantly; otherwise no gain is measurable."""
    covariance_NN = _covariance(sums)
    spread_N = np.sqrt(np.maximum(np.diag(covariance_NN), 0))
    chance_NN = np.outer(spread_N, spread_N) / np.sqrt(sums[0, 0])
    pairs = np.triu_indices(len(spread_N), k=1)
    return bool((covariance_NN > _CONTRAST * chance_NN)[pairs].all())


def _covariance(sums: np.ndarray) -> np.ndarray:
    mean_N = sums[0, 1:] / sums[0, 0]
    return sums[1:, 1:] / sums[0, 0] - np.outer(mean_N, mean_N)


def _offsets(sums: np.ndarray) -> np.ndarray:
    mean_N = sums[0, 1:] / sums[0, 0]
    return mean_N - mean_N.mean()


def _moments(captures_NHWC: np.ndarray) -> tuple[np.ndarray, float]:
    """Returns number, sums and products of block means per tile, (T, N + 1, N + 1), and the center.

    Values are taken relative to their mean, the center: with a large offset, a variance computed
    from squares would lose all its digits.
    """
    n, h, w, _ = captures_NHWC.shape
    side = max(1, min(_BLOCK_OF_TWO if n == 2 else _BLOCK, h // _TILES, w // _TILES))
    x = block_statistics.block_means(captures_NHWC, side)
    center = float(x.mean())
    x -= center
    parts = []
    for rows in np.array_split(np.arange(x.shape[1]), _TILES):
        for columns in np.array_split(np.arange(x.shape[2]), _TILES):
            tile = x[:, rows][:, :, columns].reshape(n, -1)
            with_one = np.concatenate([np.ones((1, tile.shape[1])), tile])
            parts.append(with_one @ with_one.T)
    return np.array(parts), center


def _line(sums: np.ndarray, center: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns gains and offsets from the sums of `_moments`; NaN if there is no contrast.

    The sums are relative to the center; the offsets are not.
    """
    mean_N = sums[0, 1:] / sums[0, 0]
    covariance_NN = _covariance(sums)
    with np.errstate(all='ignore'):
        if len(mean_N) == 2:
            _, vectors = np.linalg.eigh(covariance_NN)
            gain_N = np.abs(vectors[:, -1]) * np.sign(covariance_NN[0, 1])
        else:
            gain_N = _one_factor(covariance_NN)
        gain_N = gain_N / gain_N.mean()
    return gain_N, mean_N - gain_N * mean_N.mean() + center * (1 - gain_N)


def _one_factor(covariance_NN: np.ndarray, *, num_rounds: int = 100) -> np.ndarray:
    """Returns the vector g whose products g_i g_j best fit the off-diagonal covariances."""
    # Least squares in one entry at a time with the others fixed; converges in a few rounds.
    off_NN = covariance_NN - np.diag(np.diag(covariance_NN))
    g_N = np.sqrt(np.maximum(np.diag(covariance_NN), 0.0))
    for _ in range(num_rounds):
        before = g_N.copy()
        for i in range(len(g_N)):
            others = np.sum(g_N**2) - g_N[i] ** 2
            g_N[i] = off_NN[i] @ g_N / others
        if np.abs(g_N - before).max() <= 1e-12 * np.abs(g_N).max():
            break
    return g_N
