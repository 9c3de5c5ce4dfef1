"""Checks captures before training: can a network be trained on pairs of them?

Each check gives a number and a verdict. Most examine the difference of captures, in which the scene
cancels and the noise does not.

A check warns only if its number exceeds two limits: a practical one, given next to the check, and
the significance threshold of `n2n_jax.captures.measure.block_statistics`, which noise alone exceeds
in one of a million clean scenes. Quantities for which a scene is too small, too empty or too noisy
are reported as not measurable, without a warning.

The practical limits share a scale: a denoiser that gains 10 dB leaves a tenth of the noise
variance. An error in the targets of a tenth of the noise standard deviation adds a hundredth of the
noise variance, so a tenth of the remaining error: 0.4 dB.
"""

from n2n_jax.captures.audit.alignment import brightness, residual, shift
from n2n_jax.captures.audit.clipping import counting_channels, saturation
from n2n_jax.captures.audit.consistency import duplicates, outliers, same_scene, shares_noise
from n2n_jax.captures.audit.findings import (
    FINE,
    ORDER,
    UNUSABLE,
    WARNING,
    Finding,
    advice_by_scene,
    worst,
)
from n2n_jax.captures.audit.noise import autocorrelation, channels, correlation
from n2n_jax.captures.audit.scenes import (
    CHECKS,
    NEIGHBORS,
    SceneAudit,
    audit,
    audit_scene,
    columns,
    markdown,
    read,
    with_copies_between,
)
from n2n_jax.captures.audit.single import audit_single

__all__ = [
    'CHECKS',
    'FINE',
    'NEIGHBORS',
    'ORDER',
    'UNUSABLE',
    'WARNING',
    'Finding',
    'SceneAudit',
    'advice_by_scene',
    'audit',
    'audit_scene',
    'audit_single',
    'autocorrelation',
    'brightness',
    'channels',
    'columns',
    'correlation',
    'counting_channels',
    'duplicates',
    'markdown',
    'outliers',
    'read',
    'residual',
    'same_scene',
    'saturation',
    'shares_noise',
    'shift',
    'with_copies_between',
    'worst',
]
