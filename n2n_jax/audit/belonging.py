"""Checks whether captures belong together: copies, other scenes, odd ones out.

N captures of a scene, H height, W width, C channels.
"""

import itertools
from collections.abc import Sequence

import numpy as np

from n2n_jax.audit.block_means import means
from n2n_jax.audit.findings import FINE, UNUSABLE, WARNING, Finding, finding_of
from n2n_jax.noise_model import mean_square

_SMALL_BLOCK = 8  # likewise where neighbouring blocks are held against each other
_COPY = 0.1  # of the noise: two captures that differ by less in variance are one
_FEWEST_LEVELS = 16  # of integers, for a step of one to be no more than rounding
_ROUNDING = 1e-4  # of the range of floats: what saving again may change
_LEAST_ALIKE = 0.5  # correlation of the scene in two captures of it, noise apart
_OUTLIER = 1.5  # times the usual difference: twice the noise of the others


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
    return finding_of('duplicates', len(alike), text, verdict, advice, numbers)


def _noise_by_itself(capture_HWC: np.ndarray) -> float:
    """Variance of the noise by what neighbours disagree about; fine texture makes it larger.

    Of differences of 2x2 pixels that a slope leaves at 0, by their median (Donoho 1995).
    """
    x = capture_HWC.astype(np.float64)
    corners = (x[1:, 1:] - x[1:, :-1] - x[:-1, 1:] + x[:-1, :-1]) / 2
    return float((np.median(np.abs(corners)) / 0.6745) ** 2)


def _differ_by_rounding(a_HWC: np.ndarray, b_HWC: np.ndarray) -> bool:
    difference = np.abs(a_HWC.astype(np.float64) - b_HWC)
    step = 1.0
    if a_HWC.dtype.kind == 'f':
        step = _ROUNDING * float(np.ptp(a_HWC))
    elif np.ptp(a_HWC) < _FEWEST_LEVELS:  # counts of single photons, which are noise
        return False
    return bool(np.mean(difference <= step) > 0.999)


def same_scene(captures_NHWC: np.ndarray) -> Finding:
    """How much of what a capture shows the others show as well.

    The covariance of blocks of a capture with the same blocks of the others, over that of
    neighbouring blocks of the same image: noise has no part in either.
    """
    side = _SMALL_BLOCK if min(captures_NHWC.shape[1:3]) >= 16 * _SMALL_BLOCK else _SMALL_BLOCK // 2
    means_NHW = means(captures_NHWC, side)
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
        return finding_of('same scene', float('nan'), 'not measurable', FINE)
    value = min(alike for _, alike in found)
    text = f'{value:.2f} alike'
    bad = [i for i, alike in found if alike < _LEAST_ALIKE]
    if not bad:
        return finding_of('same scene', value, text, FINE)
    if len(captures_NHWC) == 2:
        verdict, who = UNUSABLE, 'the captures show different things, or moved far'
    else:
        verdict = UNUSABLE if len(captures_NHWC) - len(bad) < 2 else WARNING
        who = (
            f'{_captures(bad)} {"shows" if len(bad) == 1 else "show"} something else, or moved far'
        )
    advice = f'{who}: were the files paired rightly?'
    return finding_of('same scene', value, text, verdict, advice, {'captures': bad})


def outliers(captures_NHWC: np.ndarray) -> Finding:
    """How much more a capture differs from the one most like it than the others do."""
    num = len(captures_NHWC)
    if num < 3:
        return finding_of('outlier', float('nan'), 'needs three captures', FINE)
    between_NN = np.full((num, num), np.inf)
    for i, j in itertools.combinations(range(num), 2):
        between_NN[i, j] = between_NN[j, i] = mean_square(captures_NHWC[i], captures_NHWC[j])
    between_NN[between_NN == 0] = np.inf  # copies are told elsewhere
    nearest_N = between_NN.min(axis=1)
    usual = float(np.median(nearest_N))
    if not np.isfinite(usual):
        return finding_of('outlier', float('nan'), 'needs three captures', FINE)
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
    return finding_of('outlier', value, text, verdict, advice, {'ratios': ratios_N.tolist()})


def _captures(numbers: Sequence[int]) -> str:
    if len(numbers) == 1:
        return f'capture {numbers[0]}'
    return 'captures ' + ' and '.join(map(str, numbers))
