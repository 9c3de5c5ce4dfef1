"""Checks, with the audit, whether an estimate from captures is valid.

N captures of a scene, H height, W width, C channels.
"""

from collections.abc import Sequence

from n2n_jax.captures import audit
from n2n_jax.captures.audit.view import View
from n2n_jax.captures.scene_captures import SceneCaptures

_SHARED = 'shared noise'
# Audit checks whose failure invalidates the estimate, and why. Noise correlated between neighboring
# pixels does not: it only widens the interval. Nor does one capture with more noise.
BREAKING = {
    'duplicates': 'copies of one image share their noise',
    'same scene': 'differences between scenes count as noise',
    'shift': 'motion between captures counts as noise',
    'brightness': 'brightness changes between captures count as noise',
    'residual': 'changes between captures count as noise',
    'saturation': 'clipped noise does not have mean 0',
    _SHARED: 'noise that captures share counts as signal',
}
_OF_FILES = ('duplicates', 'saturation')


def why_not_trusted(scene: SceneCaptures, *, raw: SceneCaptures | None = None) -> str:
    """Returns why the estimate is invalid; '' if no reason is known.

    Args:
      scene: captures as they are scored.
      raw: the captures as read, in the data type of the files; None if `scene` was not corrected.
    """
    view = View(scene.captures_NHWC, scene.measured_HWC)
    # Clipping is visible only in the data type of the files.
    of_files = view if raw is None or raw is scene else View(raw.captures_NHWC, raw.measured_HWC)
    reasons = []
    for name in BREAKING:  # a whole audit would also run irrelevant checks
        finding = audit.CHECKS[name](of_files if name in _OF_FILES else view)
        if finding.verdict != audit.FINE:
            reasons.append(f'{name} {"of " * (name == _SHARED)}{finding.text}')
    return '; '.join(reasons)


def explanations(whys: Sequence[str]) -> list[str]:
    """Explains each kind of reason that `why_not_trusted` returned, one line each."""
    reasons = [reason for why in whys for reason in why.split('; ')]
    return [
        f'{check}: {reason_text}.'
        for check, reason_text in BREAKING.items()
        if any(reason.startswith(f'{check} ') for reason in reasons)
    ]
