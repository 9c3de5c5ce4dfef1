"""Whether an estimate from captures means anything: what the audit found, in the score's terms.

N captures of a scene, H height, W width, C channels.
"""

import itertools
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from n2n_jax import audit
from n2n_jax.data.own_captures import SceneCaptures

_SHARED = 'shared noise'  # found here, as it matters to estimates alone
# What breaks the estimate, and why: checks of the audit that are not fine. Noise that
# neighbouring pixels share does not: it widens the interval. Nor does one capture with more noise.
BREAKING = {
    'duplicates': 'captures that are one image share their noise',
    'same scene': 'what is not of the same scene counts as noise',
    'shift': 'what moved between captures counts as noise',
    'brightness': 'what changed between captures counts as noise',
    'residual': 'what changed between captures counts as noise',
    'saturation': 'clipped noise has a mean other than 0',
    _SHARED: 'noise that captures share counts as signal',
}
_OF_FILES = ('duplicates', 'saturation')
_MOST_SHARED = 0.1  # correlation of the noise of two captures beyond that of the others
_WINDOW = 5  # pixels a side of the mean that is taken off, to leave mostly noise
_BLOCK = 32  # pixels a side


def why_not_trusted(scene: SceneCaptures, *, raw: SceneCaptures | None = None) -> str:
    """What makes estimates from these captures worthless; '' if nothing is known to.

    Args:
      scene: captures as they are scored.
      raw: the same as they were read, in the type of the files, if something was put right since.
    """
    findings = audit.audit([scene])
    if raw is not None and raw is not scene:
        # What is clipped shows in the type of the files alone.
        findings = [finding for finding in findings if finding.check not in _OF_FILES]
        findings += [finding for finding in audit.audit([raw]) if finding.check in _OF_FILES]
    reasons = [
        f'{finding.check} {finding.text}'
        for finding in findings
        if finding.check in BREAKING and finding.verdict != audit.FINE
    ]
    if not any(reason.startswith('duplicates') for reason in reasons):
        reasons.append(_shared_noise(scene.captures_NHWC))
    return '; '.join(reason for reason in reasons if reason)


def explanations(whys: Sequence[str]) -> list[str]:
    """A line for each kind of reason in what `why_not_trusted` gave."""
    reasons = [reason for why in whys for reason in why.split('; ')]
    return [
        f'{check}: {words}.'
        for check, words in BREAKING.items()
        if any(reason.startswith(f'{check} ') for reason in reasons)
    ]


def _shared_noise(captures_NHWC: np.ndarray) -> str:
    """Two captures whose noise is more alike than that of the others, '' if there are none.

    Of two captures alone nothing can be said: what both share counts as signal. Of more, the fine
    structure that any two share is the scene's, and equal for all pairs.
    """
    num = len(captures_NHWC)
    if num < 3:
        return ''
    x = captures_NHWC.astype(np.float64)
    fine = x - ndimage.uniform_filter(x, (1, _WINDOW, _WINDOW, 1))
    noise = np.sqrt([np.mean((x[i] - np.delete(x, i, 0).mean(axis=0)) ** 2) for i in range(num)])
    products = {
        (i, j): _block_means(fine[i] * fine[j]) / max(noise[i] * noise[j], 1e-30)
        for i, j in itertools.combinations(range(num), 2)
    }
    typical_P = np.median(list(products.values()), axis=0)
    worst, value = max(
        ((pair, float((means_P - typical_P).mean())) for pair, means_P in products.items()),
        key=lambda item: item[1],
    )
    excess_P = products[worst] - typical_P
    error = excess_P.std() / np.sqrt(max(len(excess_P) - 1, 1))
    if value < max(_MOST_SHARED, 4 * error):
        return ''
    return f'{_SHARED} of captures {worst[0] + 1} and {worst[1] + 1} ({value:.2f})'


def _block_means(map_HWC: np.ndarray) -> np.ndarray:
    map_HW = map_HWC.mean(axis=-1)
    rows = range(0, map_HW.shape[0], _BLOCK)
    columns = range(0, map_HW.shape[1], _BLOCK)
    return np.array([map_HW[r : r + _BLOCK, c : c + _BLOCK].mean() for r in rows for c in columns])
