"""Checks the consistency of a scene: copies, shared noise, wrong scenes, outliers.

N captures of a scene, H height, W width, C channels.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from n2n_jax.captures.audit.alignment import MOST_SHIFT, shift
from n2n_jax.captures.audit.block_means import means
from n2n_jax.captures.audit.findings import FINE, UNUSABLE, WARNING, Finding, finding_of
from n2n_jax.captures.audit.view import View
from n2n_jax.captures.measure import near_copies, shared_noise

_SMALL_BLOCK = 8  # pixels a side, for comparing neighboring blocks
_LEAST_ALIKE = 0.5  # noise-free correlation of a capture with the others
_MOST_CAPTURES, _LARGEST_PART = 16, 512  # captures, and pixels a side, searched for shared noise
_OUTLIER = 1.5  # times the usual difference, as with twice the noise of the others


def duplicates(scene: np.ndarray | View) -> Finding:
    """Finds captures that are the same image, whose noise the network would learn to copy."""
    view = View.of(scene)
    num = len(view.captures_NHWC)
    alike = view.copies
    pairs = ', '.join(f'{i + 1} and {j + 1}' for i, j in alike)
    copies = {j for _, j in alike}
    verdict = FINE if not alike else UNUSABLE if num - len(copies) < 2 else WARNING
    advice = (
        f'captures {pairs} are the same image, and a network would learn to copy its noise: remove '
        'one'
        if alike
        else ''
    )
    text = f'{pairs} alike' if alike else 'none'
    numbers = {'pairs': [[i + 1, j + 1] for i, j in alike]}
    return finding_of('duplicates', len(alike), text, verdict, advice, numbers)


def shares_noise(scene: np.ndarray | View) -> Finding:
    """Finds captures with correlated noise, such as overlapping averages of frames.

    Needs three captures; see `n2n_jax.captures.measure.shared_noise`. Large scenes are searched in
    part. A single capture that shows something else, moved or is out of focus makes all others look
    as if they shared noise. So captures that other checks flag are excluded, and a finding that one
    odd capture could explain needs independent evidence (see `_odd_capture`).
    """
    view = View.of(scene)
    x = view.captures_NHWC
    if len(x) < 3:
        return finding_of('shared noise', float('nan'), 'needs three captures', FINE)
    if view.copies:
        return finding_of('shared noise', float('nan'), 'see duplicates', FINE)
    top, left = (max(0, (side - _LARGEST_PART) // 2) for side in x.shape[1:3])
    part_NHWC = x[:_MOST_CAPTURES, top : top + _LARGEST_PART, left : left + _LARGEST_PART]
    found = shared_noise.find(part_NHWC)
    if found is None:
        return finding_of('shared noise', 0.0, 'none', FINE)
    odd = _misplaced_captures(view)
    if odd:  # whatever one capture lacks, all others have in common
        if len(part_NHWC) - len(odd) < 3:
            text = 'not measurable: see the other checks'
            return finding_of('shared noise', float('nan'), text, FINE)
        found = _find_without(part_NHWC, odd)
    if found is not None:
        outlier = _odd_capture(part_NHWC, found, odd)
        if outlier is not None:
            text = f'none, except for {_captures([outlier + 1])}'
            return finding_of('shared noise', 0.0, text, FINE)
    if found is None:
        return finding_of('shared noise', 0.0, 'none', FINE)
    advice = (
        f'{found.in_words()} share noise, as rolling means and overlapping averages do, and a '
        'network learns to keep it: train on the individual frames, or on averages without '
        'common frames'
    )
    pair = [k + 1 for k in found.pair]
    return finding_of(
        'shared noise', found.correlation, found.in_words(), WARNING, advice, {'pair': pair}
    )


def _find_without(captures_NHWC: np.ndarray, excluded: set[int]) -> shared_noise.SharedNoise | None:
    """Searches for shared noise with some captures excluded."""
    kept = [k for k in range(len(captures_NHWC)) if k not in excluded]
    found = shared_noise.find(captures_NHWC[kept])
    if found is None:
        return None
    first, second = found.pair
    return dataclasses.replace(found, pair=(kept[first], kept[second]))


def _misplaced_captures(view: View) -> set[int]:
    """Returns the captures, of those searched, that show another scene or are shifted."""
    odd = {k - 1 for k in same_scene(view).numbers.get('captures', [])}
    moved = shift(view)
    if moved.verdict != FINE:
        shifts_N2 = np.nan_to_num(np.array(moved.numbers['shifts']))
        position_N2 = shifts_N2 * (1 - 1 / len(shifts_N2))  # shifts are relative to the others
        far_N = np.linalg.norm(position_N2 - np.median(position_N2, axis=0), axis=1)
        odd |= set(np.flatnonzero(far_N > MOST_SHIFT).tolist())
    return {k for k in odd if k < _MOST_CAPTURES}


def _odd_capture(
    captures_NHWC: np.ndarray, found: shared_noise.SharedNoise, odd: set[int]
) -> int | None:
    """Returns the capture, such as one out of focus, that makes the others seem to share noise.

    None if no single capture explains the finding, or if the pair is more similar than its noise
    allows.
    """
    others = set(range(len(captures_NHWC))) - odd - set(found.pair)
    for k in sorted(others):
        only_three = len(captures_NHWC) - len(odd) == 3
        explains = only_three or _find_without(captures_NHWC, {*odd, k}) is None
        if explains and not _closer_than_noise(captures_NHWC, found):
            return k
    return None


def _closer_than_noise(captures_NHWC: np.ndarray, shared: shared_noise.SharedNoise) -> bool:
    """Returns whether a pair differs by less than the noise measured in each capture alone."""
    a_HWC, b_HWC = (captures_NHWC[k].astype(np.float64) for k in shared.pair)
    own = near_copies.single_capture_noise(a_HWC) + near_copies.single_capture_noise(b_HWC)
    return bool(np.mean((a_HWC - b_HWC) ** 2) < (1 - shared.correlation / 2) * own)


def same_scene(scene: np.ndarray | View) -> Finding:
    """Measures how much of the content of a capture the others show too.

    The covariance of blocks of a capture with the same blocks of the others, relative to that of
    neighboring blocks of the same image. Noise enters neither.
    """
    captures_NHWC = View.of(scene).captures_NHWC
    side = _SMALL_BLOCK if min(captures_NHWC.shape[1:3]) >= 16 * _SMALL_BLOCK else _SMALL_BLOCK // 2
    means_NHW = means(captures_NHWC, side)
    found = []
    for i in range(len(means_NHW)):
        own_HW, others_HW = means_NHW[i], np.delete(means_NHW, i, axis=0).mean(axis=0)
        own_HW, others_HW = own_HW - own_HW.mean(), others_HW - others_HW.mean()
        together = float(np.mean(own_HW * others_HW))
        across_HW = own_HW[:, 1:] * own_HW[:, :-1] + others_HW[:, 1:] * others_HW[:, :-1]
        shared, total = float(across_HW.mean()) / 2, float(np.mean(own_HW**2 + others_HW**2)) / 2
        # For pure noise the covariance would scatter around 0 by this much.
        if shared > max(0.3, 6 / np.sqrt(across_HW.size)) * total:
            found.append((i + 1, min(1.0, together / shared)))
    if not found:
        return finding_of('same scene', float('nan'), 'not measurable', FINE)
    value = min(alike for _, alike in found)
    text = f'{value:.2f} alike'
    bad = [i for i, alike in found if alike < _LEAST_ALIKE]
    if not bad:
        return finding_of('same scene', value, text, FINE)
    if len(captures_NHWC) == 2:
        verdict, who = UNUSABLE, 'the captures show different scenes, or are far apart'
    else:
        verdict = UNUSABLE if len(captures_NHWC) - len(bad) < 2 else WARNING
        who = (
            f'{_captures(bad)} {"shows" if len(bad) == 1 else "show"} a different scene, or '
            f'{"is" if len(bad) == 1 else "are"} far off'
        )
    advice = f'{who}: check that the files are paired correctly'
    return finding_of('same scene', value, text, verdict, advice, {'captures': bad})


def outliers(scene: np.ndarray | View) -> Finding:
    """Finds the capture that differs most from the one closest to it, relative to the others."""
    view = View.of(scene)
    num = len(view.captures_NHWC)
    if num < 3:
        return finding_of('outlier', float('nan'), 'needs three captures', FINE)
    between_NN = view.differences_NN.copy()
    between_NN[between_NN == 0] = np.inf  # itself, and copies, which have their own check
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
        else f'capture {i + 1} differs from the others (noisier, moved, or a different scene): '
        'inspect it'
    )
    text = f'{value:.2f} (capture {i + 1})' if value < 1e4 else f'{value:.1e} (capture {i + 1})'
    return finding_of('outlier', value, text, verdict, advice, {'ratios': ratios_N.tolist()})


def _captures(numbers: Sequence[int]) -> str:
    if len(numbers) == 1:
        return f'capture {numbers[0]}'
    return 'captures ' + ' and '.join(map(str, numbers))
