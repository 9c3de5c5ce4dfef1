"""Whether captures are fit for training on each other, before any time goes into it.

N captures of a scene, H height, W width, C channels, B blocks, L lags.

Each check gives a number and a verdict. What they look at is the difference of captures, in which
the scene cancels and the noise does not.

A check has two limits: one says what matters, and is written beside it; the other is that of
chance, the same for all (`n2n_jax.blocks`): a number is held against a scene only if it could not
come about, by noise, once in a million clean scenes. What a scene is too small, too empty or too
noisy to tell is said to be not measurable, and is no warning.

As a common measure of what matters: a denoiser that gains 10 dB leaves a tenth of the noise's
variance. An error in the targets of a tenth of the noise's standard deviation adds a hundredth of
the variance, a tenth to what is left: 0.4 dB.
"""

import dataclasses
import hashlib
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from n2n_jax import blocks, regions, registration
from n2n_jax.data.captures import Scene, read_scene
from n2n_jax.data.own_captures import SceneCaptures
from n2n_jax.errors import UserError
from n2n_jax.noise_model import NoiseModel, mean_square, noise_model, typical_pair

FINE, WARNING, UNUSABLE = 'fine', 'warning', 'unusable'
ORDER = (FINE, WARNING, UNUSABLE)

_BLOCK = 16  # pixels a side over which brightness is averaged before captures are compared
_SMALL_BLOCK = 8  # likewise where neighbouring blocks are held against each other
_LOCAL = 31  # pixels a side of the mean that is taken off before noise is correlated
_LAGS = 5  # pixels that noise is correlated over
_COPY = 0.1  # of the noise: two captures that differ by less in variance are one
_ROUNDING = 1e-4  # of the range of floats: what saving again may change
_MOST_SHIFT = 0.25  # pixels; half a pixel costs 0.3 to 0.8 dB, and the loss goes with its square
_FAR_SHIFT = 2.0  # pixels: edges come out double
_MOST_BIAS = 0.1  # of the noise's standard deviation, see the head of the file
_MOST_CORRELATION = 0.1  # a blur that cannot be seen: sigma of a third of a pixel
_LEAST_ALIKE = 0.5  # correlation of the scene in two captures of it, noise apart
_MOST_CLIPPED = 0.01  # share of values: at the ends they move the mean of everything around them
_LOST = {'highest': 0.5, 'lowest': 0.9}  # share of values from which on the scene is gone
_PILE = 1.5  # times the count of the value next to it: more at the end is a pile
_OUTLIER = 1.5  # times the usual difference: twice the noise of the others


@dataclasses.dataclass(frozen=True)
class Finding:
    """The outcome of one check on one scene.

    Attributes:
      scene: its name.
      check: the name of the check.
      value: the number behind the verdict; nan where it could not be measured.
      text: the number in words.
      verdict: 'fine', 'warning' or 'unusable'.
      advice: what to do; '' if fine.
      numbers: all others that the check found.
    """

    scene: str
    check: str
    value: float
    text: str
    verdict: str
    advice: str = ''
    numbers: dict[str, Any] = dataclasses.field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For JSON, which has neither infinity nor nan: they are null."""
        return _without_nan(dataclasses.asdict(self))


def duplicates(captures_NHWC: np.ndarray) -> Finding:
    """Captures that hold the same noise: the network would learn to copy it.

    A copy that was saved again differs by far less than the noise that the others, and the capture
    itself, are seen to have. Of two captures there are no others: they are copies if nearly all
    values differ by no more than rounding.
    """
    num = len(captures_NHWC)
    pairs = list(itertools.combinations(range(num), 2))
    differences = np.array([mean_square(captures_NHWC[i], captures_NHWC[j]) for i, j in pairs])
    noise = [_noise_by_itself(capture) for capture in captures_NHWC] if num > 2 else []
    alike = []
    for k, (i, j) in enumerate(pairs):
        if differences[k] == 0:
            alike.append((i, j))
        elif num > 2:
            usual = np.median(np.delete(differences, k))
            # Two captures with little noise among noisier ones differ little as well; but then
            # they look it.
            if differences[k] < _COPY * min(usual, 2 * noise[i], 2 * noise[j]):
                alike.append((i, j))
        elif _differ_by_rounding(captures_NHWC[i], captures_NHWC[j]):
            alike.append((i, j))
    words = ', '.join(f'{i + 1} and {j + 1}' for i, j in alike)
    copies = {j for _, j in alike}
    verdict = FINE if not alike else UNUSABLE if num - len(copies) < 2 else WARNING
    advice = (
        f'captures {words} are the same image: a network would learn to copy its noise. Leave one '
        'out'
        if alike
        else ''
    )
    text = f'{words} alike' if alike else 'none'
    numbers = {'pairs': [[i + 1, j + 1] for i, j in alike]}
    return _finding('duplicates', len(alike), text, verdict, advice, numbers)


def _noise_by_itself(capture_HWC: np.ndarray) -> float:
    """Variance of the noise by what neighbours disagree about; fine texture makes it larger.

    Of differences of 2x2 pixels that a slope leaves at 0, by their median (Donoho 1995).
    """
    x = capture_HWC.astype(np.float64)
    corners = (x[1:, 1:] - x[1:, :-1] - x[:-1, 1:] + x[:-1, :-1]) / 2
    return float((np.median(np.abs(corners)) / 0.6745) ** 2)


def _differ_by_rounding(a_HWC: np.ndarray, b_HWC: np.ndarray) -> bool:
    difference = np.abs(a_HWC.astype(np.float64) - b_HWC)
    step = 1.0 if a_HWC.dtype.kind in 'iu' else _ROUNDING * float(np.ptp(a_HWC))
    return bool(np.mean(difference <= step) > 0.999)


def same_scene(captures_NHWC: np.ndarray) -> Finding:
    """How much of what a capture shows the others show as well.

    The covariance of blocks of a capture with the same blocks of the others, over that of
    neighbouring blocks of the same image: noise has no part in either.
    """
    side = _SMALL_BLOCK if min(captures_NHWC.shape[1:3]) >= 16 * _SMALL_BLOCK else _SMALL_BLOCK // 2
    means_NHW = _means(captures_NHWC, side)
    found = []
    for i in range(len(means_NHW)):
        own_HW, others_HW = means_NHW[i], np.delete(means_NHW, i, axis=0).mean(axis=0)
        own_HW, others_HW = own_HW - own_HW.mean(), others_HW - others_HW.mean()
        together = float(np.mean(own_HW * others_HW))
        across_HW = own_HW[:, 1:] * own_HW[:, :-1] + others_HW[:, 1:] * others_HW[:, :-1]
        scene, total = float(across_HW.mean()) / 2, float(np.mean(own_HW**2 + others_HW**2)) / 2
        # Were all of it noise, its covariances would scatter about 0 by so much.
        if scene > max(0.3, 6 / np.sqrt(across_HW.size)) * total:
            found.append((i + 1, min(1.0, together / scene)))
    if not found:
        return _finding('same scene', float('nan'), 'not measurable', FINE)
    value = min(alike for _, alike in found)
    text = f'{value:.2f} alike'
    bad = [i for i, alike in found if alike < _LEAST_ALIKE]
    if not bad:
        return _finding('same scene', value, text, FINE)
    if len(captures_NHWC) == 2:
        verdict, who = UNUSABLE, 'the captures show different things, or moved far'
    else:
        verdict = UNUSABLE if len(captures_NHWC) - len(bad) < 2 else WARNING
        who = (
            f'{_captures(bad)} {"shows" if len(bad) == 1 else "show"} something else, or moved far'
        )
    advice = f'{who}: were the files paired rightly?'
    return _finding('same scene', value, text, verdict, advice, {'captures': bad})


def shift(captures_NHWC: np.ndarray) -> Finding:
    """The largest shift of a capture against the mean of the others, in pixels.

    See `n2n_jax.registration`; only directions in which it can be measured count.
    """
    found = registration.register(captures_NHWC)
    shifts_N2, errors_N2 = registration.as_arrays(found)
    numbers = {'shifts': shifts_N2.tolist(), 'standard_errors': errors_N2.tolist()}
    known = [(i, *pair) for i, one in enumerate(found) for pair in one.measurable()]
    if not known:
        text = 'not measurable'
        return _finding('shift', float('nan'), text, FINE, numbers=numbers)
    # A shift beyond chance comes before a larger one that may be none; of two captures, the second.
    sure_N = [one.significant() for one in found]
    i, value, error = max(
        known, key=lambda row: (sure_N[row[0]] == max(sure_N), abs(row[1]), row[0])
    )
    value = abs(value)
    if sure_N[i] > 0:
        value = float(np.linalg.norm([t for t, _ in found[i].measurable()]))
    text = f'{value:.2f} ± {error:.2f} px'
    if all(len(one.measurable()) < 2 for one in found):
        text += ', in one direction'
    verdict = FINE if sure_N[i] < _MOST_SHIFT else WARNING if value < _FAR_SHIFT else UNUSABLE
    advice = ''
    if verdict != FINE:
        down, right = shifts_N2[i]
        text += (
            f' (capture {i + 1}: {abs(down):.2f} {"down" if down > 0 else "up"}, '
            f'{abs(right):.2f} {"right" if right > 0 else "left"})'
        )
        advice = 'something moved between captures: register them first, or edges come out ' + (
            'double' if verdict == UNUSABLE else 'blurred'
        )
    return _finding('shift', value, text, verdict, advice, numbers)


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


def residual(captures_NHWC: np.ndarray) -> Finding:
    """What is left of captures in their difference besides noise: its mean, and the signal.

    In units of the noise's standard deviation. The signal is that of the neighbouring block, as the
    noise of a block, if one capture has more of it, would be correlated with their difference.
    """
    n = len(captures_NHWC)
    gray_NHW = captures_NHWC.mean(axis=-1, dtype=np.float64)
    means_NHW = _means(captures_NHWC, _SMALL_BLOCK)
    side = blocks.block_side(*gray_NHW.shape[1:])
    worst_row: tuple[float, int, blocks.Ratio, blocks.Ratio] | None = None
    rows = []
    for i in range(1 if n == 2 else n):
        difference_HW = gray_NHW[i] - np.delete(gray_NHW, i, axis=0).mean(axis=0)
        sigma = float(np.std(_without_local_mean(difference_HW)))
        if sigma == 0:
            continue
        mean = blocks.ratio(
            blocks.block_sums(difference_HW / sigma, side),
            blocks.block_sums(np.ones_like(difference_HW), side),
        )
        others_HW = np.delete(means_NHW, i, axis=0).mean(axis=0)
        left_HW = (means_NHW[i] - others_HW) / sigma
        left_HW = left_HW - left_HW.mean()
        signal_HW = (means_NHW[i] + others_HW) / 2
        signal_HW = signal_HW - signal_HW.mean()
        follows = left_HW[:, 1:] * signal_HW[:, :-1] + left_HW[:, :-1] * signal_HW[:, 1:]
        of_signal = 2 * signal_HW[:, 1:] * signal_HW[:, :-1]
        coarse = max(1, min(left_HW.shape) // 6)
        slope = blocks.ratio(
            blocks.block_sums(follows, coarse), blocks.block_sums(of_signal, coarse)
        )
        spread = np.sqrt(max(float(of_signal.mean()) / 2, 0.0))
        signal = slope.times(spread)
        rows.append({'capture': i + 1, 'mean': mean.value, 'signal': signal.value})
        size = max(
            (abs(part.value) for part in (mean, signal) if part.beyond(_MOST_BIAS)), default=0.0
        )
        if worst_row is None or size > worst_row[0]:
            worst_row = (size, i + 1, mean, signal)
    if worst_row is None:
        return _finding('residual', 0.0, 'no difference', FINE)
    size, i, mean, signal = worst_row
    text = f'capture {i}: mean {mean.value:+.2f} σ, with the signal {signal.value:+.2f} σ'
    value = max(mean.value, signal.value, key=abs)
    if not size:
        return _finding('residual', value, text, FINE, numbers={'captures': rows})
    advice = (
        'a capture is brighter or darker than the others by a part of the noise that matters'
        + (', the more so where the scene is bright' if signal.beyond(_MOST_BIAS) else '')
        + ': lamp, exposure or bleaching. Match brightness before training'
    )
    return _finding('residual', value, text, WARNING, advice, {'captures': rows})


def _without_local_mean(image_HW: np.ndarray) -> np.ndarray:
    return image_HW - ndimage.uniform_filter(
        image_HW, (_LOCAL, _LOCAL) + (0,) * (image_HW.ndim - 2)
    )


def correlation(captures_NHWC: np.ndarray) -> Finding:
    """The larger correlation of the noise of a pixel with that of the next, down or right."""
    d = _noise(captures_NHWC)
    side = blocks.block_side(*d.shape[:2])
    down, right = (_lag_ratio(d, lag, side) for lag in ((1, 0), (0, 1)))
    if not d.any():
        return _finding('correlation', float('nan'), 'no noise', FINE)
    larger = max(down, right, key=lambda one: abs(one.value))
    numbers = {'down': down.value, 'right': right.value, 'standard_error': larger.error}
    text = f'{larger.value:+.2f} at 1 px'
    if not (down.beyond(_MOST_CORRELATION) or right.beyond(_MOST_CORRELATION)):
        return _finding('correlation', larger.value, text, FINE, numbers=numbers)
    if larger.value > 0:
        cause = 'blotches, as from a blur in the camera, resampling, demosaicking or JPEG'
    else:
        cause = 'it alternates, as after sharpening'
    advice = (
        f'noise is shared by neighbouring pixels ({cause}). Training on pairs is made for that; '
        'methods for single images are not and keep the blotches, and averaging neighbours gains '
        'less than it seems'
    )
    return _finding('correlation', larger.value, text, WARNING, advice, numbers)


def _noise(captures_NHWC: np.ndarray) -> np.ndarray:
    """The difference of two captures without slow changes, (H, W, C)."""
    i, j = typical_pair(captures_NHWC)
    return _without_local_mean(captures_NHWC[i].astype(np.float64) - captures_NHWC[j])


def _lagged(d_HWC: np.ndarray, lag: tuple[int, int]) -> np.ndarray:
    """Products of values that are a lag apart; of lags to the left too."""
    down, right = lag
    h, w, _ = d_HWC.shape
    ahead = d_HWC[down:, max(right, 0) : w + min(right, 0)]
    return ahead * d_HWC[: h - down, max(-right, 0) : w - max(right, 0)]


def _lag_ratio(d_HWC: np.ndarray, lag: tuple[int, int], side: int) -> blocks.Ratio:
    products_HW = _lagged(d_HWC, lag).sum(axis=-1)
    squares_HW = np.square(d_HWC[: products_HW.shape[0], : products_HW.shape[1]]).sum(axis=-1)
    return blocks.ratio(blocks.block_sums(products_HW, side), blocks.block_sums(squares_HW, side))


def autocorrelation(captures_NHWC: np.ndarray) -> np.ndarray:
    """Of the noise with itself up to five pixels away, (L, L) with L = 11; 1 in the middle."""
    d = _noise(captures_NHWC)
    variance = float(np.mean(d**2)) or 1.0
    size = min(_LAGS, *(side - 1 for side in d.shape[:2]))
    map_LL = np.zeros((2 * size + 1, 2 * size + 1))
    for down in range(size + 1):
        for right in range(-size, size + 1):
            value = float(np.mean(_lagged(d, (down, right)))) / variance
            map_LL[size + down, size + right] = map_LL[size - down, size - right] = value
    return map_LL


def channels(captures_NHWC: np.ndarray) -> Finding:
    """The largest correlation of the noise of a colour with that of another."""
    num = captures_NHWC.shape[-1]
    if num == 1:
        return _finding('channels', float('nan'), 'gray', FINE)
    d = _noise(captures_NHWC)
    side = blocks.block_side(*d.shape[:2])
    # Each colour in units of its own noise, so that the mean of squares is that of both.
    d = d / np.maximum(d.std(axis=(0, 1)), 1e-300)
    found = {}
    for i, j in itertools.combinations(range(num), 2):
        both = (d[..., i] ** 2 + d[..., j] ** 2) / 2
        found[f'{i + 1}-{j + 1}'] = blocks.ratio(
            blocks.block_sums(d[..., i] * d[..., j], side), blocks.block_sums(both, side)
        )
    larger = max(found.values(), key=lambda one: abs(one.value))
    text = f'{larger.value:+.2f} between colours'
    numbers = {pair: one.value for pair, one in found.items()}
    verdict = WARNING if any(one.beyond(_MOST_CORRELATION) for one in found.values()) else FINE
    advice = (
        'noise is shared by the colours, as after demosaicking or a change of colour space. '
        'Training on pairs is made for that; methods for single images leave gray grain'
        if verdict == WARNING
        else ''
    )
    return _finding('channels', larger.value, text, verdict, advice, numbers)


def saturation(captures_NHWC: np.ndarray) -> Finding:
    """The share of values piled up at an end of their range, whatever number that end is.

    Noise runs out towards its ends; where it is cut off, values pile up. Photon counts pile up at 0
    as well, and rightly so: there their variance goes to 0 in proportion to the signal, which that
    of clipped noise does not.
    """
    values, counts = np.unique(captures_NHWC, return_counts=True)
    total = captures_NHWC.size
    numbers, worst_end = {}, (0.0, '', '')
    notes = []
    for name, k, beside in (('lowest', 0, 1), ('highest', -1, -2)):
        share = float(counts[k] / total)
        numbers[name] = {'value': float(values[k]), 'share': share}
        if len(values) < 3 or share < _MOST_CLIPPED or counts[k] <= _PILE * counts[beside]:
            continue
        if name == 'lowest':
            everywhere = np.all(captures_NHWC == values[0], axis=0).mean()
            if everywhere > 0.9 * share:
                notes.append(f'{share:.1%} are {values[0]:g} in all captures, a border or mask')
                continue
            if _counts_photons(captures_NHWC, values):
                notes.append(f'{share:.1%} are {values[0]:g}, as counts of few photons are')
                continue
        worst_end = max(worst_end, (share, name, f'{values[k]:g}'))
    share, name, number = worst_end
    value = max(end['share'] for end in numbers.values()) if not name else share
    if not name:
        return _finding('saturation', value, '; '.join(notes) or 'none', FINE, numbers=numbers)
    verdict = UNUSABLE if share >= _LOST[name] else WARNING
    way_out = (
        'expose less, or shorter'
        if name == 'highest'
        else "raise the camera's offset, or save without cutting off what is below black"
    )
    advice = (
        f'values are cut off at the {name} there is, so their noise has no mean of 0, and what is '
        f'learned there is wrong: {way_out}'
    )
    return _finding('saturation', share, f'{share:.1%} at {number}', verdict, advice, numbers)


def _counts_photons(captures_NHWC: np.ndarray, values: np.ndarray) -> bool:
    """Whether variance is proportional to what is above the lowest value."""
    low = float(values[0])
    model = noise_model(captures_NHWC)
    signal, variance = model.signal_B - low, model.variance_B
    seen = signal > 0
    signal, variance = signal[seen], variance[seen]
    if len(signal) and signal.max() > 3 * signal.min():
        line = signal * np.median(variance / signal)
        allowed = line / 3 + 4 * model.error_B[seen] + 1e-3 * line.max()
        return bool(np.all(np.abs(variance - line) < allowed))
    if captures_NHWC.dtype.kind not in 'iu' or not len(signal):
        return False
    # A flat scene has one signal only; but counts are multiples of the gain.
    step = float(np.gcd.reduce((values - values[0]).astype(np.int64)))
    return bool(abs(variance.mean() / (step * signal.mean()) - 1) < 0.1)


def outliers(captures_NHWC: np.ndarray) -> Finding:
    """How much more a capture differs from the one most like it than the others do."""
    num = len(captures_NHWC)
    if num < 3:
        return _finding('outlier', float('nan'), 'needs three captures', FINE)
    between_NN = np.full((num, num), np.inf)
    for i, j in itertools.combinations(range(num), 2):
        between_NN[i, j] = between_NN[j, i] = mean_square(captures_NHWC[i], captures_NHWC[j])
    between_NN[between_NN == 0] = np.inf  # copies are told elsewhere
    nearest_N = between_NN.min(axis=1)
    usual = float(np.median(nearest_N))
    if not np.isfinite(usual):
        return _finding('outlier', float('nan'), 'needs three captures', FINE)
    nearest_N[~np.isfinite(nearest_N)] = usual
    ratios_N = nearest_N / usual
    i = int(np.argmax(ratios_N))
    value = float(ratios_N[i])
    verdict = FINE if value < _OUTLIER else WARNING
    advice = (
        ''
        if verdict == FINE
        else f'capture {i + 1} is unlike the others (noisier, moved, or of something else): look '
        'at it'
    )
    text = f'{value:.2f} (capture {i + 1})'
    return _finding('outlier', value, text, verdict, advice, {'ratios': ratios_N.tolist()})


def noise(captures_NHWC: np.ndarray) -> Finding:
    """The noise itself: never a fault, unless there is none."""
    return _noise_finding(noise_model(captures_NHWC))


def _noise_finding(model: NoiseModel) -> Finding:
    dark, bright = model.sigmas()
    sigma = float(np.sqrt(model.variance_B.mean()))
    if sigma == 0:
        advice = 'captures do not differ at all: there is nothing to learn from'
        return _finding('noise', 0.0, 'none', UNUSABLE, advice)
    text = f'σ {dark:.3g} (dark) to {bright:.3g} (bright)'
    return _finding('noise', sigma, text, FINE)


Check = Callable[[np.ndarray], Finding]
CHECKS: dict[str, Check] = {
    'duplicates': duplicates,
    'same scene': same_scene,
    'shift': shift,
    'brightness': brightness,
    'residual': residual,
    'correlation': correlation,
    'channels': channels,
    'saturation': saturation,
    'outlier': outliers,
    'noise': noise,
}


@dataclasses.dataclass(frozen=True)
class SceneAudit:
    """What was found out about one scene.

    Attributes:
      name: of the scene.
      shape: captures, height, width, channels; empty if it could not be read.
      kind: of the numbers, such as 'uint8'.
      findings: of all checks.
      noise: the line of its variance; None if it could not be read.
      autocorrelation_LL: of the noise.
      sampled: whether it is so large that only regions of it were looked at.
      digests: one per capture, equal for equal pixels.
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    findings: tuple[Finding, ...]
    noise: NoiseModel | None = None
    autocorrelation_LL: np.ndarray | None = None
    sampled: bool = False
    digests: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """The worst of its findings."""
        return max((finding.verdict for finding in self.findings), key=ORDER.index)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        noise = None
        if self.noise is not None:
            noise = {
                'gain': self.noise.gain,
                'read': self.noise.read,
                'r2': self.noise.r2,
                'misfit': self.noise.misfit,
                'signal': self.noise.signal_B.tolist(),
                'variance': self.noise.variance_B.tolist(),
                'standard_error': self.noise.error_B.tolist(),
                'used': self.noise.used_B.tolist(),
            }
        lags = self.autocorrelation_LL
        return _without_nan(
            {
                'scene': self.name,
                'verdict': self.verdict,
                'shape': list(self.shape),
                'type': self.kind,
                'sampled': self.sampled,
                'findings': [finding.as_dict() for finding in self.findings],
                'noise': noise,
                'autocorrelation': None if lags is None else lags.tolist(),
            }
        )


def audit_scene(scene: SceneCaptures) -> SceneAudit:
    """All checks on one scene; of a very large one on a grid of regions."""
    captures_NHWC = scene.captures_NHWC
    sample_NHWC = regions.sample(captures_NHWC)
    model = noise_model(sample_NHWC)
    findings = []
    for name, check in CHECKS.items():
        if check is noise:
            finding = _noise_finding(model)
        else:  # a seam between regions would hold a shift
            finding = check(captures_NHWC if check is shift else sample_NHWC)
        findings.append(dataclasses.replace(finding, scene=scene.name, check=name))
    if any(finding.check == 'shift' and finding.verdict != FINE for finding in findings):
        findings = [_perhaps_by_shift(finding) for finding in findings]
    return SceneAudit(
        name=scene.name,
        shape=captures_NHWC.shape,
        kind=str(captures_NHWC.dtype),
        findings=tuple(findings),
        noise=model,
        autocorrelation_LL=autocorrelation(sample_NHWC),
        sampled=regions.is_sampled(captures_NHWC),
        digests=tuple(_digest(capture) for capture in captures_NHWC),
    )


def _perhaps_by_shift(finding: Finding) -> Finding:
    """Edges that do not cancel in a difference are alike in neighbouring pixels and in colours."""
    if finding.verdict == FINE or finding.check not in ('correlation', 'channels', 'outlier'):
        return finding
    words = f'{finding.advice}. The shift may be all there is to it: mend that first'
    return dataclasses.replace(finding, advice=words)


def _digest(capture_HWC: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(capture_HWC).data).hexdigest()


def read(scene: Scene, like: SceneCaptures | None) -> SceneCaptures | SceneAudit:
    """The captures of a scene, or why they cannot be trained on.

    Args:
      scene: where they are.
      like: a scene that was read before: all must have its channels and type.
    """
    try:
        captures_NHWC = read_scene(scene)
    except UserError as error:
        return _unusable(scene.name, str(error), (), '')
    shape, kind = captures_NHWC.shape, captures_NHWC.dtype
    why = ''
    if not np.isfinite(captures_NHWC).all():
        why = 'It holds NaN or infinite pixels: leave it out.'
    elif shape[-1] not in (1, 3):
        why = f'It has {shape[-1]} channels: gray (1) and colour (3) are read.'
    elif like is not None:
        first = like.captures_NHWC
        if shape[-1] != first.shape[-1]:
            why = f'It has {shape[-1]} channels, {like.name} has {first.shape[-1]}.'
        elif kind != first.dtype:
            why = f'It holds {kind} numbers, {like.name} {first.dtype}.'
        why += ' One model is trained on scenes of one kind: convert it, or leave it out.' * bool(
            why
        )
    if why:
        return _unusable(scene.name, why, shape, str(kind))
    return SceneCaptures(scene.name, captures_NHWC)


def _unusable(name: str, why: str, shape: tuple[int, ...], kind: str) -> SceneAudit:
    finding = Finding(name, 'files', float('nan'), 'not usable', UNUSABLE, why.rstrip('.'))
    return SceneAudit(name, shape, kind, (finding,))


def with_copies_between(scenes: Sequence[SceneAudit]) -> list[SceneAudit]:
    """Adds a warning to scenes that hold a capture of an earlier scene.

    What is held out would have been trained on.
    """
    first_with: dict[str, str] = {}
    marked = []
    for scene in scenes:
        others = list(dict.fromkeys(first_with[d] for d in scene.digests if d in first_with))
        for digest in scene.digests:
            first_with.setdefault(digest, scene.name)
        if others:
            finding = Finding(
                scene.name,
                'between scenes',
                len(others),
                f'as in {others[0]}',
                WARNING,
                f'a capture of it is also one of {", ".join(others)}: what is held out to score a '
                'model would have been trained on. Leave one out',
            )
            scene = dataclasses.replace(scene, findings=(*scene.findings, finding))
        marked.append(scene)
    return marked


def audit(scenes: Sequence[SceneCaptures]) -> list[Finding]:
    """All checks on all scenes."""
    audited = with_copies_between([audit_scene(scene) for scene in scenes])
    return [finding for scene in audited for finding in scene.findings]


def worst(findings: Sequence[Finding]) -> str:
    """The verdict of the set: unusable only if every scene is."""
    by_scene: dict[str, str] = {}
    for finding in findings:
        before = by_scene.get(finding.scene, FINE)
        by_scene[finding.scene] = max(before, finding.verdict, key=ORDER.index)
    verdicts = list(by_scene.values())
    if all(verdict == FINE for verdict in verdicts):
        return FINE
    return UNUSABLE if all(verdict == UNUSABLE for verdict in verdicts) else WARNING


def advice_by_scene(findings: Sequence[Finding]) -> list[tuple[str, str, list[str]]]:
    """Verdict, advice and the scenes it is for, the worst first."""
    scenes: dict[tuple[str, str], list[str]] = {}
    for finding in findings:
        if finding.advice:
            scenes.setdefault((finding.verdict, finding.advice), []).append(finding.scene)
    rows = [(verdict, text, names) for (verdict, text), names in scenes.items()]
    return sorted(rows, key=lambda row: -ORDER.index(row[0]))


def markdown(findings: Sequence[Finding]) -> str:
    """A row per scene, and the advice below."""
    scenes: dict[str, dict[str, Finding]] = {}
    for finding in findings:
        scenes.setdefault(finding.scene, {})[finding.check] = finding
    marks = {FINE: '', WARNING: ' (!)', UNUSABLE: ' (!!)'}
    table = [['scene', 'verdict', *CHECKS]]
    for name, cells in scenes.items():
        row = [_escaped(name), max((f.verdict for f in cells.values()), key=ORDER.index)]
        for check in CHECKS:
            finding = cells.get(check)
            row.append(f'{finding.text}{marks[finding.verdict]}' if finding else '-')
        table.append(row)
    widths = [max(len(row[k]) for row in table) for k in range(len(table[0]))]
    lines = [
        '| ' + ' | '.join(f'{cell:{width}}' for cell, width in zip(row, widths, strict=True)) + ' |'
        for row in table
    ]
    lines.insert(1, '|' + '|'.join('-' * (width + 2) for width in widths) + '|')
    lines.append('')
    for verdict, text, names in advice_by_scene(findings):
        listed = ', '.join(names[:5]) + (f' and {len(names) - 5} more' if len(names) > 5 else '')
        lines.append(f'{verdict}: {listed}: {text}.')
    lines.append(f'Verdict: {worst(findings)}.')
    return '\n'.join(lines)


def _escaped(name: str) -> str:
    return name.replace('|', '\\|')


def _captures(numbers: Sequence[int]) -> str:
    if len(numbers) == 1:
        return f'capture {numbers[0]}'
    return 'captures ' + ' and '.join(map(str, numbers))


def _finding(
    check: str,
    value: float,
    text: str,
    verdict: str,
    advice: str = '',
    numbers: dict[str, Any] | None = None,
) -> Finding:
    return Finding('', check, float(value), text, verdict, advice, numbers or {})


def _without_nan(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_without_nan(value) for value in content]
    return None if isinstance(content, float) and not np.isfinite(content) else content


def _means(captures_NHWC: np.ndarray, side: int) -> np.ndarray:
    """Means over blocks and channels; what does not fill a block is left out."""
    n, h, w, _ = captures_NHWC.shape
    side = max(1, min(side, h // 4, w // 4))
    x = captures_NHWC[:, : h // side * side, : w // side * side].mean(axis=-1, dtype=np.float64)
    return x.reshape(n, h // side, side, w // side, side).mean(axis=(2, 4))


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
