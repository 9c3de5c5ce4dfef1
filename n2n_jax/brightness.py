"""Gain and offset between captures of one scene: bleaching, a lamp that warms up, an exposure.

N captures of the scene, H height, W width, C channels, T tiles.

Capture i is modelled as x_i = g_i m + o_i + noise, m the mean of all captures, so the gains have
the mean 1 and the offsets the mean 0.
"""

import numpy as np

_TILES = 4  # a side: the scatter over leaving each out in turn is the standard error
_BLOCK = 16  # pixels a side over which two captures are averaged before they are compared


def gains(captures_NHWC: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gain, offset and the gain's standard error of every capture against the mean of all.

    Noise that is independent between captures does not enter their covariances: cov(x_i, x_j) =
    g_i g_j var(m). From three captures on that gives the gains without bias. Of two, the line
    through means over blocks is fitted by total least squares, as both sides are noisy.

    Args:
      captures_NHWC: at least two captures, in any unit.

    Returns:
      gain_N, offset_N (in the unit of the pixels), standard_error_N of the gain (jackknife over
      tiles). Where the scene has no contrast to tell a gain by, the gains are 1 and their errors
      infinite, and the offsets are the differences of the means.
    """
    sums = _moments(captures_NHWC)
    gain_N, offset_N = _solve(sums.sum(axis=0))
    left_out = [_solve(sums.sum(axis=0) - part)[0] for part in sums]
    spread_N = np.std(left_out, axis=0) * np.sqrt(len(sums) - 1)
    if not np.isfinite(gain_N).all() or (gain_N <= 0).any():
        means_N = captures_NHWC.mean(axis=(1, 2, 3), dtype=np.float64)
        return np.ones_like(gain_N), means_N - means_N.mean(), np.full_like(gain_N, np.inf)
    return gain_N, offset_N, np.where(np.isfinite(spread_N), spread_N, np.inf)


def match(captures_NHWC: np.ndarray, gain_N: np.ndarray, offset_N: np.ndarray) -> np.ndarray:
    """The captures as if all had the gain 1 and the offset 0, float32."""
    scaled = (captures_NHWC - offset_N[:, None, None, None]) / gain_N[:, None, None, None]
    return scaled.astype(np.float32)


def _moments(captures_NHWC: np.ndarray) -> np.ndarray:
    """Per tile: the number of values, their sums, and the sums of products, (T, N + 1, N + 1)."""
    n, h, w, _ = captures_NHWC.shape
    x = captures_NHWC
    if n == 2:
        side = max(1, min(_BLOCK, h // _TILES, w // _TILES))
        x = x[:, : h // side * side, : w // side * side]
        x = x.reshape(n, h // side, side, w // side, side, -1).mean(axis=(2, 4), dtype=np.float64)
    parts = []
    for rows in np.array_split(np.arange(x.shape[1]), _TILES):
        for columns in np.array_split(np.arange(x.shape[2]), _TILES):
            tile = x[:, rows][:, :, columns].reshape(n, -1).astype(np.float64)
            with_one = np.concatenate([np.ones((1, tile.shape[1])), tile])
            parts.append(with_one @ with_one.T)
    return np.array(parts)


def _solve(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gains and offsets from the sums over all pixels; NaN if there is no contrast."""
    mean_N = sums[0, 1:] / sums[0, 0]
    covariance_NN = sums[1:, 1:] / sums[0, 0] - np.outer(mean_N, mean_N)
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
