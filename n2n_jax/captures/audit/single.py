"""The check of images that are alone, of which pairs would be made of neighboring pixels.

N captures of a scene, one here, H height, W width, C channels.
"""

import numpy as np

from n2n_jax.captures.audit.findings import FINE, UNUSABLE, WARNING, Finding
from n2n_jax.captures.audit.scenes import NEIGHBORS, SceneAudit, digest
from n2n_jax.captures.measure import noise_correlation
from n2n_jax.captures.measure.measured_part import measured_part
from n2n_jax.captures.scene_captures import SceneCaptures

_VERDICTS = {
    noise_correlation.INDEPENDENT: (FINE, 'independent', ''),
    noise_correlation.UNCLEAR: (
        WARNING,
        'cannot be told',
        'whether the noise of neighboring pixels is independent cannot be told: the image is too '
        'small, or its noise too weak beside fine texture. If it is not, it stays in the result',
    ),
    noise_correlation.CORRELATED: (
        UNUSABLE,
        'correlated',
        'the noise of neighboring pixels is correlated, and what is trained on them would keep '
        'it: take two captures; or use the raw data, before demosaicing, resizing, filtering or '
        'JPEG; or bin the pixels 2x2',
    ),
}


def neighbors(scene: SceneCaptures) -> Finding:
    """Whether noise is independent between neighboring pixels, as `n2n train --single` needs."""
    part = measured_part(scene.captures_NHWC)  # without a border that holds no data
    found = noise_correlation.neighbor_correlation(part.captures_NHWC[0])
    verdict, words, advice = _VERDICTS[found.verdict]
    text = words if np.isnan(found.value) else f'{words} ({found.value:+.2f})'
    return Finding(scene.name, NEIGHBORS, found.value, text, verdict, advice)


def audit_single(scene: SceneCaptures) -> SceneAudit:
    """What can be said of an image without another capture of its scene."""
    image_NHWC = scene.captures_NHWC
    return SceneAudit(
        name=scene.name,
        shape=image_NHWC.shape,
        kind=str(image_NHWC.dtype),
        findings=(neighbors(scene),),
        digests=(digest(image_NHWC[0]),),
    )
