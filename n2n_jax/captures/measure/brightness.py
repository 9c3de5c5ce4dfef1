"""Gain and offset between captures of one scene: bleaching, a lamp that warms up, an exposure.

N captures of the scene, H height, W width, C channels, T tiles.

Capture i is modeled as x_i = g_i m + o_i + noise, m the mean of all captures, so the gains have
the mean 1 and the offsets the mean 0. Of a camera's colors one can drift by itself, so each channel
has gains and offsets of its own.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import stats

from n2n_jax.captures.measure import block_statistics

_TILES = 4  # a side: the scatter over leaving each out in turn is the standard error
# Pixels a side that are averaged first: so many that hardly any noise is left where it matters, of
# two captures; else as many as noise may be correlated over.
_BLOCK_OF_TWO, _BLOCK = 16, 4
_SIGNIFICANT = 4.0  # standard errors; those of a jackknife are rough
_CONTRAST = 6.0  # standard errors


@dataclasses.dataclass(frozen=True)
class Brightness:
    """How the captures of a scene differ from their mean; errors are standard errors.

    Attributes:
      gain_N, gain_error_N: all gains are 1 where none can be told from 1.
      offset_N, offset_error_N: in the unit of the pixels.
      tests: as one of how many it is looked at: the more there are, the further beyond chance a
        departure must be.
    """

    gain_N: np.ndarray
    gain_error_N: np.ndarray
    offset_N: np.ndarray
    offset_error_N: np.ndarray
    tests: int = 1

    def against_others(self) -> tuple[np.ndarray, np.ndarray]:
        """Gains and offsets of each capture against the mean of the others, (N,) each."""
        num = len(self.gain_N)
        gain_of_others_N = (num - self.gain_N) / (num - 1)
        gain_N = self.gain_N / gain_of_others_N
        return gain_N, self.offset_N + gain_N * self.offset_N / (num - 1)

    def none(self) -> 'Brightness':
        """The same without a difference."""
        same = np.ones_like(self.gain_N), np.zeros_like(self.offset_N)
        return dataclasses.replace(self, gain_N=same[0], offset_N=same[1])

    @property
    def differs(self) -> bool:
        """Whether any capture has a gain or an offset that is hardly chance."""
        return self.beyond(_SIGNIFICANT)

    def beyond(self, errors: float) -> bool:
        """Whether any gain or offset departs by more than so many standard errors of one test."""
        errors = _of_several(errors, self.tests)
        gain = np.abs(self.gain_N - 1) > errors * self.gain_error_N
        offset = np.abs(self.offset_N) > errors * self.offset_error_N
        return bool((gain | offset).any())


@dataclasses.dataclass(frozen=True)
class ByChannel:
    """How captures differ in each channel.

    Attributes:
      channels: of each by itself.
      together: of all as if they were one, which tells a smaller drift that they share; of one
        channel the same.
    """

    channels: tuple[Brightness, ...]
    together: Brightness

    @property
    def differs(self) -> bool:
        """Whether any capture has, in any channel or in all, what is hardly chance."""
        return any(one.differs for one in (*self.channels, self.together))

    def to_match(self) -> tuple[Brightness, ...]:
        """What is to be undone in each channel: nothing, by gains of 1, in those that are right."""
        if not any(one.differs for one in self.channels):
            return (self.together,) * len(self.channels)
        return tuple(one if one.differs else one.none() for one in self.channels)


def compare_channels(captures_NHWC: np.ndarray) -> ByChannel:
    """As `compare`, for each channel and for all as if they were one."""
    num = captures_NHWC.shape[-1]
    if num == 1:
        one = compare(captures_NHWC)
        return ByChannel((one,), one)
    parts = [captures_NHWC[..., k : k + 1] for k in range(num)]
    channels = tuple(compare(part, tests=num + 1) for part in parts)
    return ByChannel(channels, compare(captures_NHWC, tests=num + 1))


def compare(captures_NHWC: np.ndarray, *, tests: int = 1) -> Brightness:
    """Gains and offsets of captures against the mean of all, the same for all channels.

    Noise that is independent between captures does not enter their covariances: cov(x_i, x_j) =
    g_i g_j var(m). From three captures on that gives the gains without bias. Of two, the line
    through means over blocks is fitted by total least squares, as both sides are noisy. Errors are
    those of the jackknife over tiles.

    Args:
      captures_NHWC: at least two captures, in any unit.
      tests: see `Brightness`.
    """
    num, h, w, _ = captures_NHWC.shape
    if min(h, w) < _TILES:  # too few pixels to tell anything
        unknown = np.full(num, np.inf)
        return Brightness(np.ones(num), unknown, np.zeros(num), unknown, tests)
    sums_T, center = _moments(captures_NHWC)
    total = sums_T.sum(axis=0)
    gain_N, offset_N = _line(total, center)
    parts = [_line(total - part, center) for part in sums_T]
    gain_error_N = _jackknife([gain for gain, _ in parts])
    if not _has_contrast(total):
        gain_error_N = np.full_like(gain_error_N, np.inf)
    if not (np.abs(gain_N - 1) > _of_several(_SIGNIFICANT, tests) * gain_error_N).any():
        gain_N, offset_N = np.ones_like(gain_N), _offsets(total)
        parts = [(gain_N, _offsets(total - part)) for part in sums_T]
    offset_error_N = _jackknife([offset for _, offset in parts])
    return Brightness(gain_N, gain_error_N, offset_N, offset_error_N, tests)


def match(captures_NHWC: np.ndarray, channels: Sequence[Brightness]) -> np.ndarray:
    """The captures as if all had the gain 1 and the offset 0, float32.

    Args:
      captures_NHWC: the captures.
      channels: one for each channel.
    """
    gain_N11C, offset_N11C = (
        np.stack(values, axis=-1)[:, None, None]
        for values in ([c.gain_N for c in channels], [c.offset_N for c in channels])
    )
    return ((captures_NHWC - offset_N11C) / gain_N11C).astype(np.float32)


def _of_several(errors: float, tests: int) -> float:
    """As many standard errors as make so many tests as sure as that many make one.

    By Student's distribution with the freedom of a jackknife over the tiles.
    """
    if tests == 1:
        return errors
    freedom = _TILES**2 - 1
    return float(stats.t.isf(stats.t.sf(errors, freedom) / tests, freedom))


def _jackknife(left_out: list[np.ndarray]) -> np.ndarray:
    with np.errstate(invalid='ignore'):  # of infinite gains, whose error is infinite as well
        error_N = np.std(left_out, axis=0) * np.sqrt(len(left_out) - 1)
    # Where a few tiles hold all of the contrast, the error of one capture can come out at a tenth
    # of what it is by chance. Captures of one scene are much alike in it.
    error_N = np.maximum(error_N, np.median(error_N) / 2)
    return np.where(np.isfinite(error_N), error_N, np.inf)


def _has_contrast(sums: np.ndarray) -> bool:
    """Whether captures vary together by more than chance makes noise: else no gain can be told."""
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
    """Of means over blocks, per tile: their number, sums and products, (T, N + 1, N + 1).

    They are those of values less the mean of all, which is returned too: a large offset would leave
    nothing of a variance that is taken from squares.
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
    """Gains and offsets from the sums over all pixels; NaN if there is no contrast.

    The sums are of values less the center, the offsets are of the values themselves.
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
    """The vector g whose products g_i g_j are nearest to the covariances off the diagonal."""
    # Alternating least squares in each entry, the others held: converges in a few rounds.
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
