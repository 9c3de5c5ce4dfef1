"""Checks single images, for training on pairs of neighboring pixels.

N captures of a scene (here 1), H height, W width, C channels.
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
        'unknown',
        'whether the noise of neighboring pixels is independent cannot be determined: the image '
        'is too small, or its noise too weak compared with fine texture. Correlated noise would '
        'remain in the result',
    ),
    noise_correlation.CORRELATED: (
        UNUSABLE,
        'correlated',
        'the noise of neighboring pixels is correlated, and a network trained on them would keep '
        'it: take two captures; or use the raw data, before demosaicing, resizing, filtering or '
        'JPEG; or bin the pixels 2x2',
    ),
}


def neighbors(scene: SceneCaptures) -> Finding:
    """Checks that noise is independent between neighbors, as `n2n train --single` needs."""
    part = measured_part(scene.captures_NHWC)  # without borders
    found = noise_correlation.neighbor_correlation(part.captures_NHWC[0])
    verdict, label, advice = _VERDICTS[found.verdict]
    text = label if np.isnan(found.value) else f'{label} ({found.value:+.2f})'
    return Finding(scene.name, NEIGHBORS, found.value, text, verdict, advice)


def audit_single(scene: SceneCaptures) -> SceneAudit:
    """Audits a single image, of which there is no second capture."""
    image_NHWC = scene.captures_NHWC
    return SceneAudit(
        name=scene.name,
        shape=image_NHWC.shape,
        kind=str(image_NHWC.dtype),
        findings=(neighbors(scene),),
        digests=(digest(image_NHWC[0]),),
    )
