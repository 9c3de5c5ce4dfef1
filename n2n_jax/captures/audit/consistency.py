"""Checks whether captures belong together: copies, other scenes, odd ones out.

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

_SMALL_BLOCK = 8  # likewise where neighboring blocks are held against each other
_LEAST_ALIKE = 0.5  # correlation of the scene in two captures of it, noise apart
_MOST_CAPTURES, _LARGEST_PART = 16, 512  # and pixels a side, in which shared noise is looked for
_OUTLIER = 1.5  # times the usual difference: twice the noise of the others


def duplicates(scene: np.ndarray | View) -> Finding:
    """Captures that hold the same noise: the network would learn to copy it."""
    view = View.of(scene)
    num = len(view.captures_NHWC)
    alike = view.copies
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


def shares_noise(scene: np.ndarray | View) -> Finding:
    """Captures whose noise is alike, as of averages over frames that overlap; of three or more.

    See `n2n_jax.captures.measure.shared_noise`; of many captures or a large scene a part is looked
    at. One capture of something else, moved or out of focus makes all others look as if they shared
    something: so what other checks blame is left out, and what one capture explains has to be seen
      otherwise.
    """
    view = View.of(scene)
    x = view.captures_NHWC
    if len(x) < 3:
        return finding_of('shared noise', float('nan'), 'needs three captures', FINE)
    if view.copies:
        return finding_of('shared noise', float('nan'), 'that of duplicates', FINE)
    top, left = (max(0, (side - _LARGEST_PART) // 2) for side in x.shape[1:3])
    part_NHWC = x[:_MOST_CAPTURES, top : top + _LARGEST_PART, left : left + _LARGEST_PART]
    found = shared_noise.find(part_NHWC)
    if found is None:
        return finding_of('shared noise', 0.0, 'none', FINE)
    odd = _of_something_else(view)
    if odd:  # whatever lacks in one capture, all others have in common
        if len(part_NHWC) - len(odd) < 3:
            text = 'not measurable: see the other checks'
            return finding_of('shared noise', float('nan'), text, FINE)
        found = _among(part_NHWC, odd)
    if found is not None:
        unlike = _unlike(part_NHWC, found, odd)
        if unlike is not None:
            text = f'none, {_captures([unlike + 1])} apart'
            return finding_of('shared noise', 0.0, text, FINE)
    if found is None:
        return finding_of('shared noise', 0.0, 'none', FINE)
    advice = (
        f'{found.in_words()} share noise, as rolling means and windows that overlap do: a network '
        'learns to keep what they share. Train on the frames themselves, or on averages of '
        'frames that no other capture has'
    )
    pair = [k + 1 for k in found.pair]
    return finding_of(
        'shared noise', found.correlation, found.in_words(), WARNING, advice, {'pair': pair}
    )


def _among(captures_NHWC: np.ndarray, without: set[int]) -> shared_noise.SharedNoise | None:
    """Those that share noise among the captures that are left."""
    left = [k for k in range(len(captures_NHWC)) if k not in without]
    found = shared_noise.find(captures_NHWC[left])
    if found is None:
        return None
    return dataclasses.replace(found, pair=tuple(left[k] for k in found.pair))


def _of_something_else(view: View) -> set[int]:
    """Captures of another scene or from another place; of those that are looked at."""
    odd = {k - 1 for k in same_scene(view).numbers.get('captures', [])}
    moved = shift(view)
    if moved.verdict != FINE:
        shifts_N2 = np.nan_to_num(np.array(moved.numbers['shifts']))
        position_N2 = shifts_N2 * (1 - 1 / len(shifts_N2))  # they are against the mean of others
        far_N = np.linalg.norm(position_N2 - np.median(position_N2, axis=0), axis=1)
        odd |= set(np.flatnonzero(far_N > MOST_SHIFT).tolist())
    return {k for k in odd if k < _MOST_CAPTURES}


def _unlike(
    captures_NHWC: np.ndarray, found: shared_noise.SharedNoise, odd: set[int]
) -> int | None:
    """The one capture, such as one out of focus, without which no others seem to share noise.

    None if there is none such, or those that remain are more alike than their noise allows.
    """
    others = set(range(len(captures_NHWC))) - odd - set(found.pair)
    for k in sorted(others):
        explains = len(captures_NHWC) - len(odd) == 3 or _among(captures_NHWC, {*odd, k}) is None
        if explains and not _nearer_than_their_noise(captures_NHWC, found):
            return k
    return None


def _nearer_than_their_noise(captures_NHWC: np.ndarray, shared: shared_noise.SharedNoise) -> bool:
    """Whether two captures differ by less than the noise that each is seen to have by itself."""
    a_HWC, b_HWC = (captures_NHWC[k].astype(np.float64) for k in shared.pair)
    own = near_copies.single_capture_noise(a_HWC) + near_copies.single_capture_noise(b_HWC)
    return bool(np.mean((a_HWC - b_HWC) ** 2) < (1 - shared.correlation / 2) * own)


def same_scene(scene: np.ndarray | View) -> Finding:
    """How much of what a capture shows the others show as well.

    The covariance of blocks of a capture with the same blocks of the others, over that of
    neighboring blocks of the same image: noise has no part in either.
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
        # Were all of it noise, its covariances would scatter about 0 by so much.
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
        verdict, who = UNUSABLE, 'the captures show different things, or moved far'
    else:
        verdict = UNUSABLE if len(captures_NHWC) - len(bad) < 2 else WARNING
        who = (
            f'{_captures(bad)} {"shows" if len(bad) == 1 else "show"} something else, or moved far'
        )
    advice = f'{who}: were the files paired rightly?'
    return finding_of('same scene', value, text, verdict, advice, {'captures': bad})


def outliers(scene: np.ndarray | View) -> Finding:
    """How much more a capture differs from the one most like it than the others do."""
    view = View.of(scene)
    num = len(view.captures_NHWC)
    if num < 3:
        return finding_of('outlier', float('nan'), 'needs three captures', FINE)
    between_NN = view.differences_NN.copy()
    between_NN[between_NN == 0] = np.inf  # itself; and copies, which are told elsewhere
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
    text = f'{value:.2f} (capture {i + 1})' if value < 1e4 else f'{value:.1e} (capture {i + 1})'
    return finding_of('outlier', value, text, verdict, advice, {'ratios': ratios_N.tolist()})


def _captures(numbers: Sequence[int]) -> str:
    if len(numbers) == 1:
        return f'capture {numbers[0]}'
    return 'captures ' + ' and '.join(map(str, numbers))
