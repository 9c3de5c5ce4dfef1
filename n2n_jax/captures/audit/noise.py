"""Checks the noise: its correlation between neighbors and colors, and its level.

N captures of a scene, H height, W width, C channels, B bins, L lags.
"""

import itertools

import numpy as np

from n2n_jax.captures.audit.findings import FINE, UNUSABLE, WARNING, Finding, finding_of
from n2n_jax.captures.audit.view import View
from n2n_jax.captures.measure import block_statistics

_LAGS = 5  # pixels, the largest lag of the autocorrelation
_MOST_CORRELATION = 0.1  # as after an invisible blur, with a sigma of a third of a pixel


def correlation(scene: np.ndarray | View) -> Finding:
    """Measures the correlation of noise between adjacent pixels, down or right, the larger one."""
    d = View.of(scene).noise_HWC
    side = block_statistics.block_side(*d.shape[:2])
    down, right = (_lag_ratio(d, lag, side) for lag in ((1, 0), (0, 1)))
    if not d.any():
        return finding_of('correlation', float('nan'), 'no noise', FINE)
    larger = max(down, right, key=lambda one: abs(one.value))
    numbers = {'down': down.value, 'right': right.value, 'standard_error': larger.error}
    text = f'{larger.value:+.2f} at 1 px'
    if not (down.exceeds(_MOST_CORRELATION) or right.exceeds(_MOST_CORRELATION)):
        return finding_of('correlation', larger.value, text, FINE, numbers=numbers)
    if larger.value > 0:
        cause = 'blotches, as from blur in the camera, resampling, demosaicing or JPEG'
    else:
        cause = 'alternating, as after sharpening'
    advice = (
        f'noise is correlated between neighboring pixels ({cause}). Training on pairs handles '
        'this; single-image methods do not and keep the blotches, and averaging neighbors gains '
        'less than expected'
    )
    return finding_of('correlation', larger.value, text, WARNING, advice, numbers)


def _lagged(d_HWC: np.ndarray, lag: tuple[int, int]) -> np.ndarray:
    """Returns products of values that are `lag` (down, right) apart; right may be negative."""
    down, right = lag
    h, w, _ = d_HWC.shape
    ahead = d_HWC[down:, max(right, 0) : w + min(right, 0)]
    return ahead * d_HWC[: h - down, max(-right, 0) : w - max(right, 0)]


def _lag_ratio(d_HWC: np.ndarray, lag: tuple[int, int], side: int) -> block_statistics.Ratio:
    products_HW = _lagged(d_HWC, lag).sum(axis=-1)
    squares_HW = np.square(d_HWC[: products_HW.shape[0], : products_HW.shape[1]]).sum(axis=-1)
    return block_statistics.ratio(
        block_statistics.block_sums(products_HW, side),
        block_statistics.block_sums(squares_HW, side),
    )


def autocorrelation(scene: np.ndarray | View) -> np.ndarray:
    """Returns the autocorrelation of the noise for lags up to 5, (L, L) with L = 11, centered."""
    d = View.of(scene).noise_HWC
    variance = float(np.mean(d**2)) or 1.0
    size = min(_LAGS, *(side - 1 for side in d.shape[:2]))
    map_LL = np.zeros((2 * size + 1, 2 * size + 1))
    for down in range(size + 1):
        for right in range(-size, size + 1):
            value = float(np.mean(_lagged(d, (down, right)))) / variance
            map_LL[size + down, size + right] = map_LL[size - down, size - right] = value
    return map_LL


def channels(scene: np.ndarray | View) -> Finding:
    """Measures the largest correlation of noise between two colors."""
    view = View.of(scene)
    num = view.num_channels
    if num == 1:
        return finding_of('channels', float('nan'), 'gray', FINE)
    d = view.noise_HWC
    side = block_statistics.block_side(*d.shape[:2])
    # Each color in units of its own noise, so that both contribute equally to the mean square.
    d = d / np.maximum(d.std(axis=(0, 1)), 1e-300)
    found = {}
    for i, j in itertools.combinations(range(num), 2):
        both = (d[..., i] ** 2 + d[..., j] ** 2) / 2
        found[f'{i + 1}-{j + 1}'] = block_statistics.ratio(
            block_statistics.block_sums(d[..., i] * d[..., j], side),
            block_statistics.block_sums(both, side),
        )
    larger = max(found.values(), key=lambda one: abs(one.value))
    text = f'{larger.value:+.2f} between colors'
    numbers = {pair: one.value for pair, one in found.items()}
    shared = any(one.exceeds(_MOST_CORRELATION, len(found)) for one in found.values())
    verdict = WARNING if shared else FINE
    advice = (
        'noise is correlated between colors, as after demosaicing or a color space conversion. '
        'Training on pairs handles this; single-image methods leave gray grain'
        if verdict == WARNING
        else ''
    )
    return finding_of('channels', larger.value, text, verdict, advice, numbers)


def noise(scene: np.ndarray | View) -> Finding:
    """Measures the noise level; unusable only if there is no noise."""
    model = View.of(scene).model
    dark, bright = model.sigmas()
    sigma = float(np.sqrt(model.variance_B.mean()))
    if sigma == 0:
        advice = 'captures do not differ at all: there is nothing to learn'
        return finding_of('noise', 0.0, 'none', UNUSABLE, advice)
    text = f'σ {dark:.3g} (dark) to {bright:.3g} (bright)'
    return finding_of('noise', sigma, text, FINE)
