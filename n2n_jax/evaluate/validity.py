"""Whether an estimate from captures means anything: what the audit found, in the score's terms.

N captures of a scene, H height, W width, C channels.
"""

from collections.abc import Sequence

from n2n_jax.captures import audit
from n2n_jax.captures.audit.view import View
from n2n_jax.captures.scene_captures import SceneCaptures

_SHARED = 'shared noise'
# What breaks the estimate, and why: checks of the audit that are not fine. Noise that
# neighboring pixels share does not: it widens the interval. Nor does one capture with more noise.
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


def why_not_trusted(scene: SceneCaptures, *, raw: SceneCaptures | None = None) -> str:
    """Why the estimate is invalid; '' if no reason is known.

    Args:
      scene: captures as they are scored.
      raw: the same as they were read, in the type of the files, if something was put right since.
    """
    view = View(scene.captures_NHWC, scene.measured_HWC)
    # What is clipped shows in the type of the files alone.
    of_files = view if raw is None or raw is scene else View(raw.captures_NHWC, raw.measured_HWC)
    reasons = []
    for name in BREAKING:  # the audit itself would run checks too that do not matter here
        finding = audit.CHECKS[name](of_files if name in _OF_FILES else view)
        if finding.verdict != audit.FINE:
            reasons.append(f'{name} {"of " * (name == _SHARED)}{finding.text}')
    return '; '.join(reasons)


def explanations(whys: Sequence[str]) -> list[str]:
    """A line for each kind of reason in what `why_not_trusted` gave."""
    reasons = [reason for why in whys for reason in why.split('; ')]
    return [
        f'{check}: {words}.'
        for check, words in BREAKING.items()
        if any(reason.startswith(f'{check} ') for reason in reasons)
    ]
