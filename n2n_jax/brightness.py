"""Gain and offset between captures of one scene: bleaching, a lamp that warms up, an exposure.

N captures of the scene, H height, W width, C channels, T tiles.

Capture i is modelled as x_i = g_i m + o_i + noise, m the mean of all captures, so the gains have
the mean 1 and the offsets the mean 0.
"""

import dataclasses

import numpy as np

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
    """

    gain_N: np.ndarray
    gain_error_N: np.ndarray
    offset_N: np.ndarray
    offset_error_N: np.ndarray

    def against_others(self) -> tuple[np.ndarray, np.ndarray]:
        """Gains and offsets of each capture against the mean of the others, (N,) each."""
        num = len(self.gain_N)
        gain_of_others_N = (num - self.gain_N) / (num - 1)
        gain_N = self.gain_N / gain_of_others_N
        return gain_N, self.offset_N + gain_N * self.offset_N / (num - 1)

    @property
    def differs(self) -> bool:
        """Whether any capture has a gain or an offset that is hardly chance."""
        return self.beyond(_SIGNIFICANT)

    def beyond(self, errors: float) -> bool:
        """Whether any gain or offset departs by more than so many standard errors."""
        gain = np.abs(self.gain_N - 1) > errors * self.gain_error_N
        offset = np.abs(self.offset_N) > errors * self.offset_error_N
        return bool((gain | offset).any())


def compare(captures_NHWC: np.ndarray) -> Brightness:
    """Gains and offsets of captures against the mean of all.

    Noise that is independent between captures does not enter their covariances: cov(x_i, x_j) =
    g_i g_j var(m). From three captures on that gives the gains without bias. Of two, the line
    through means over blocks is fitted by total least squares, as both sides are noisy. Errors are
    those of the jackknife over tiles.

    Args:
      captures_NHWC: at least two captures, in any unit.
    """
    sums_T = _moments(captures_NHWC)
    total = sums_T.sum(axis=0)
    gain_N, offset_N = _line(total)
    parts = [_line(total - part) for part in sums_T]
    gain_error_N = _jackknife([gain for gain, _ in parts])
    if not _has_contrast(total):
        gain_error_N = np.full_like(gain_error_N, np.inf)
    if not (np.abs(gain_N - 1) > _SIGNIFICANT * gain_error_N).any():
        gain_N, offset_N = np.ones_like(gain_N), _offsets(total)
        parts = [(gain_N, _offsets(total - part)) for part in sums_T]
    offset_error_N = _jackknife([offset for _, offset in parts])
    return Brightness(gain_N, gain_error_N, offset_N, offset_error_N)


def match(captures_NHWC: np.ndarray, brightness: Brightness) -> np.ndarray:
    """The captures as if all had the gain 1 and the offset 0, float32."""
    gain_N111, offset_N111 = (
        x.reshape(-1, 1, 1, 1) for x in (brightness.gain_N, brightness.offset_N)
    )
    return ((captures_NHWC - offset_N111) / gain_N111).astype(np.float32)


def _jackknife(left_out: list[np.ndarray]) -> np.ndarray:
    error_N = np.std(left_out, axis=0) * np.sqrt(len(left_out) - 1)
    # Where a few tiles hold all of the contrast, the error of one capture can come out at a tenth
    # of what it is by chance. Captures of one scene are much alike in it.
    error_N = np.maximum(error_N, np.median(error_N) / 2)
    return np.where(np.isfinite(error_N), error_N, np.inf)


def _has_contrast(sums: np.ndarray) -> bool:
    """Whether captures vary together by more than chance makes noise: else no gain can be told."""
    covariance_NN = _covariance(sums)
    spread_N = np.sqrt(np.diag(covariance_NN))
    chance_NN = np.outer(spread_N, spread_N) / np.sqrt(sums[0, 0])
    pairs = np.triu_indices(len(spread_N), k=1)
    return bool((covariance_NN > _CONTRAST * chance_NN)[pairs].all())


def _covariance(sums: np.ndarray) -> np.ndarray:
    mean_N = sums[0, 1:] / sums[0, 0]
    return sums[1:, 1:] / sums[0, 0] - np.outer(mean_N, mean_N)


def _offsets(sums: np.ndarray) -> np.ndarray:
    mean_N = sums[0, 1:] / sums[0, 0]
    return mean_N - mean_N.mean()


def _moments(captures_NHWC: np.ndarray) -> np.ndarray:
    """Of means over blocks, per tile: their number, sums and products, (T, N + 1, N + 1)."""
    n, h, w, _ = captures_NHWC.shape
    side = max(1, min(_BLOCK_OF_TWO if n == 2 else _BLOCK, h // _TILES, w // _TILES))
    x = captures_NHWC[:, : h // side * side, : w // side * side]
    x = x.reshape(n, h // side, side, w // side, side, -1).mean(axis=(2, 4), dtype=np.float64)
    parts = []
    for rows in np.array_split(np.arange(x.shape[1]), _TILES):
        for columns in np.array_split(np.arange(x.shape[2]), _TILES):
            tile = x[:, rows][:, :, columns].reshape(n, -1)
            with_one = np.concatenate([np.ones((1, tile.shape[1])), tile])
            parts.append(with_one @ with_one.T)
    return np.array(parts)


def _line(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gains and offsets from the sums over all pixels; NaN if there is no contrast."""
    mean_N = sums[0, 1:] / sums[0, 0]
    covariance_NN = _covariance(sums)
    with np.errstate(all='ignore'):
        if len(mean_N) == 2:
            _, vectors = np.linalg.eigh(covariance_NN)
            gain_N = np.abs(vectors[:, -1]) * np.sign(covariance_NN[0, 1])
        else:
            gain_N = _one_factor(covariance_NN)
        gain_N = gain_N / gain_N.mean()
    return gain_N, mean_N - gain_N * mean_N.mean()


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
