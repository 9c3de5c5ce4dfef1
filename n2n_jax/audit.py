"""Whether captures are fit for training on each other, before any time goes into it.

N captures of a scene, H height, W width, C channels.

Each check gives a number and a verdict. What they look at is the difference of captures, in which
the scene cancels and the noise does not.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import ndimage
from skimage.registration import phase_cross_correlation

from n2n_jax.data.own_captures import SceneCaptures

FINE, WARNING, UNUSABLE = 'fine', 'warning', 'unusable'
_ORDER = (FINE, WARNING, UNUSABLE)

_SHIFT_STEPS = 50  # parts of a pixel that a shift is found to
_SMALLEST_TILE = 16  # pixels a side
_BLOCK = 16  # pixels a side over which brightness is averaged before captures are compared


@dataclasses.dataclass(frozen=True)
class Finding:
    """The outcome of one check on one scene.

    Attributes:
      scene: its name.
      check: the name of the check.
      value: the number behind the verdict.
      text: the number in words.
      verdict: 'fine', 'warning' or 'unusable'.
      advice: what to do; '' if fine.
    """

    scene: str
    check: str
    value: float
    text: str
    verdict: str
    advice: str = ''

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self)


def duplicates(captures_NHWC: np.ndarray) -> Finding:
    """Captures that hold the same noise: the network would learn to copy it."""
    x = captures_NHWC.astype(np.float64)
    alike = []
    for i, j in itertools.combinations(range(len(x)), 2):
        difference = np.mean((x[i] - x[j]) ** 2)
        others = [np.mean((x[i] - x[k]) ** 2) for k in range(len(x)) if k not in (i, j)]
        # Two captures differ by as much as any two; a copy that was saved again, by far less.
        if difference == 0 or (others and difference < 0.1 * np.median(others)):
            alike.append((i, j))
    words = ', '.join(f'{i + 1} and {j + 1}' for i, j in alike)
    verdict = FINE if not alike else UNUSABLE if len(x) == 2 else WARNING
    advice = f'captures {words} are the same image: leave one out' if alike else ''
    return _finding('duplicates', len(alike), f'{len(alike)} pairs', verdict, advice)


def shift(captures_NHWC: np.ndarray) -> Finding:
    """The largest shift of a capture against the mean of the others, in pixels.

    It is found by correlation, once on the whole image; its uncertainty is that of the mean over
    the tiles of a 3x3 grid, so that an image with little to hold on to raises no alarm.
    """
    x_NHW = captures_NHWC.mean(axis=-1, dtype=np.float64)
    largest, uncertainty = 0.0, 0.0
    for i in range(len(x_NHW)):
        others_HW = np.delete(x_NHW, i, axis=0).mean(axis=0)
        distance = float(np.hypot(*_shift_of(others_HW, x_NHW[i])))
        if distance >= largest:
            tiles = zip(_tiles(others_HW), _tiles(x_NHW[i]), strict=True)
            moved_T2 = np.array([_shift_of(a_hw, b_hw) for a_hw, b_hw in tiles])
            spread_2 = 1.5 * np.median(np.abs(moved_T2 - np.median(moved_T2, axis=0)), axis=0)
            largest, uncertainty = distance, float(np.hypot(*spread_2) / np.sqrt(len(moved_T2)))
    verdict = FINE if largest < max(0.25, 3 * uncertainty) else WARNING
    if verdict == WARNING and largest > 2:
        verdict = UNUSABLE
    advice = '' if verdict == FINE else 'something moved between captures: register them first'
    return _finding('shift', largest, f'{largest:.2f} +- {uncertainty:.2f} px', verdict, advice)


def _shift_of(still_HW: np.ndarray, moved_HW: np.ndarray) -> np.ndarray:
    window_HW = np.hanning(still_HW.shape[0])[:, None] * np.hanning(still_HW.shape[1])
    moved, _, _ = phase_cross_correlation(
        (still_HW - still_HW.mean()) * window_HW,
        (moved_HW - moved_HW.mean()) * window_HW,
        upsample_factor=_SHIFT_STEPS,
        normalization=None,
    )
    return moved


def _tiles(image_HW: np.ndarray) -> list[np.ndarray]:
    """The image in a grid of 3x3, or coarser where tiles would be small."""
    rows, columns = (max(1, min(3, side // _SMALLEST_TILE)) for side in image_HW.shape)
    return [
        part
        for row in np.array_split(image_HW, rows)
        for part in np.array_split(row, columns, axis=1)
    ]


def brightness(captures_NHWC: np.ndarray) -> Finding:
    """The largest relative difference of brightness between a capture and the mean of the others.

    Of means over blocks, so that noise hardly enters; gain and offset are fitted by total least
    squares, as both sides are noisy.
    """
    x = _block_means(captures_NHWC)
    spread = np.ptp(x)
    worst, words = 0.0, ''
    for i in range(len(x)):
        others = np.delete(x, i, axis=0).mean(axis=0)
        gain, offset = _line(others.ravel(), x[i].ravel())
        off_by = float(np.abs(x[i].mean() - others.mean()) / max(spread, 1e-12))
        drift = max(abs(gain - 1), off_by)
        if drift >= worst:
            worst, words = drift, f'gain {gain:.3f}, offset {offset:+.3g} (capture {i + 1})'
    verdict = FINE if worst < 0.02 else WARNING if worst < 0.3 else UNUSABLE
    advice = '' if verdict == FINE else 'the light changed between captures: match their brightness'
    return _finding('brightness', worst, words, verdict, advice)


def correlation(captures_NHWC: np.ndarray) -> Finding:
    """The largest correlation of the noise of a pixel with that of its neighbours."""
    a, b = _most_different(captures_NHWC)
    d = a - b
    d = d - ndimage.uniform_filter(d, (31, 31, 1))
    variance = np.mean(d**2)
    if variance == 0:
        return _finding('correlation', 0.0, 'no noise', FINE)
    lags = [np.mean(d[1:] * d[:-1]) / variance, np.mean(d[:, 1:] * d[:, :-1]) / variance]
    value = float(max(lags, key=abs))
    verdict = FINE if abs(value) < 0.1 else WARNING
    advice = (
        ''
        if verdict == FINE
        else 'noise of neighbouring pixels is related: fine for pairs, wrong for single images; '
        'intervals are too narrow'
    )
    return _finding('correlation', value, f'{value:+.2f} at 1 px', verdict, advice)


def saturation(captures_NHWC: np.ndarray) -> Finding:
    """The share of values at an end of the range."""
    x = captures_NHWC
    if x.dtype.kind in 'iu':
        low, high = np.iinfo(x.dtype).min, np.iinfo(x.dtype).max
        low, high = max(low, int(x.min())), high
    else:
        low, high = x.min(), x.max()
    # Only a pile at the end is clipping: a single darkest pixel is none.
    share = float(max(np.mean(x == low), np.mean(x == high)))
    verdict = FINE if share < 0.01 else WARNING if share < 0.5 else UNUSABLE
    advice = (
        ''
        if verdict == FINE
        else 'values are clipped, so their noise has no mean of 0: expose less, or raise the offset'
    )
    return _finding('saturation', share, f'{share:.1%}', verdict, advice)


@dataclasses.dataclass(frozen=True)
class NoiseModel:
    """Variance of the noise as a line over the signal: var = gain * signal + read^2.

    Attributes:
      gain: of the photon noise, in units of the pixels.
      read: standard deviation at signal 0; negative where the line is below 0 there.
      r2: share of the variance between bins that the line explains.
      signal, variance: of the bins.
    """

    gain: float
    read: float
    r2: float
    signal: np.ndarray
    variance: np.ndarray


def noise_model(captures_NHWC: np.ndarray, *, num_bins: int = 20) -> NoiseModel:
    """Fits Poisson-Gaussian noise (Foi et al. 2008) to the difference of two captures."""
    a, b = _most_different(captures_NHWC)
    signal = ndimage.uniform_filter((a + b) / 2, (5, 5, 1)).ravel()
    half_square = (((a - b) - (a - b).mean()) ** 2 / 2).ravel()
    order = np.argsort(signal)
    signals = np.array([part.mean() for part in np.array_split(signal[order], num_bins)])
    variances = np.array([part.mean() for part in np.array_split(half_square[order], num_bins)])
    # The scatter of a mean of squares grows with the variance itself.
    weights = 1 / np.maximum(variances, 1e-12 + 1e-3 * variances.max())
    gain, square = np.polyfit(signals, variances, 1, w=weights)
    left = np.average((variances - gain * signals - square) ** 2, weights=weights**2)
    mean = np.average(variances, weights=weights**2)
    total = np.average((variances - mean) ** 2, weights=weights**2)
    r2 = float(1 - left / total) if total > 0 else 0.0
    read = float(np.sign(square) * np.sqrt(abs(square)))
    return NoiseModel(float(gain), read, r2, signals, variances)


def outliers(captures_NHWC: np.ndarray) -> Finding:
    """How much more a capture differs from the others than they do among themselves."""
    x = captures_NHWC.astype(np.float64)
    num = len(x)
    if num < 3:
        return _finding('outlier', 1.0, 'needs three captures', FINE)
    distance = np.array(
        [np.mean([np.mean((x[i] - x[j]) ** 2) for j in range(num) if j != i]) for i in range(num)]
    )
    ratios = distance / max(float(np.median(distance)), 1e-12)
    i = int(np.argmax(ratios))
    value = float(ratios[i])
    verdict = FINE if value < 1.5 else WARNING
    advice = '' if verdict == FINE else f'capture {i + 1} is unlike the others: look at it'
    return _finding('outlier', value, f'{value:.2f} (capture {i + 1})', verdict, advice)


CHECKS: dict[str, Callable[[np.ndarray], Finding]] = {
    'duplicates': duplicates,
    'shift': shift,
    'brightness': brightness,
    'correlation': correlation,
    'saturation': saturation,
    'outlier': outliers,
}


def audit(scenes: Sequence[SceneCaptures]) -> list[Finding]:
    """All checks on all scenes."""
    return [
        dataclasses.replace(check(scene.captures_NHWC), scene=scene.name)
        for scene in scenes
        for check in CHECKS.values()
    ]


def worst(findings: Sequence[Finding]) -> str:
    """The verdict of the set: unusable only if every scene is."""
    by_scene: dict[str, str] = {}
    for finding in findings:
        before = by_scene.get(finding.scene, FINE)
        by_scene[finding.scene] = max(before, finding.verdict, key=_ORDER.index)
    verdicts = list(by_scene.values())
    if all(verdict == FINE for verdict in verdicts):
        return FINE
    return UNUSABLE if all(verdict == UNUSABLE for verdict in verdicts) else WARNING


def markdown(findings: Sequence[Finding]) -> str:
    """A row per scene, and the advice below."""
    scenes = list(dict.fromkeys(finding.scene for finding in findings))
    lines = ['| scene | ' + ' | '.join(CHECKS) + ' |', '|---|' + '---|' * len(CHECKS)]
    for scene in scenes:
        cells = {f.check: f for f in findings if f.scene == scene}
        marks = {FINE: '', WARNING: ' (!)', UNUSABLE: ' (!!)'}
        texts = [f'{cells[check].text}{marks[cells[check].verdict]}' for check in CHECKS]
        lines.append(f'| {scene} | ' + ' | '.join(texts) + ' |')
    lines.append('')
    for finding in findings:
        if finding.advice:
            lines.append(f'{finding.verdict}: {finding.scene}: {finding.advice}.')
    lines.append(f'Verdict: {worst(findings)}.')
    return '\n'.join(lines)


def _finding(check: str, value: float, text: str, verdict: str, advice: str = '') -> Finding:
    return Finding('', check, float(value), text, verdict, advice)


def _most_different(captures_NHWC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two captures, no copies of each other if any two are not."""
    x = captures_NHWC.astype(np.float64)
    pairs = itertools.combinations(range(len(x)), 2)
    i, j = max(pairs, key=lambda pair: np.mean((x[pair[0]] - x[pair[1]]) ** 2))
    return x[i], x[j]


def _block_means(captures_NHWC: np.ndarray) -> np.ndarray:
    n, h, w, _ = captures_NHWC.shape
    side = max(1, min(_BLOCK, h // 4, w // 4))
    x = captures_NHWC.mean(axis=-1, dtype=np.float64)
    x = x[:, : h // side * side, : w // side * side]
    return x.reshape(n, h // side, side, w // side, side).mean(axis=(2, 4))


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope and intercept by total least squares."""
    covariance = np.cov(x, y)
    values, vectors = np.linalg.eigh(covariance)
    direction = vectors[:, np.argmax(values)]
    slope = float(direction[1] / direction[0]) if direction[0] else 1.0
    return slope, float(y.mean() - slope * x.mean())
