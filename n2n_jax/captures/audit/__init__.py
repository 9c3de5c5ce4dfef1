"""Whether captures are fit for training on each other, before any time goes into it.

N captures of a scene, H height, W width, C channels, B blocks, L lags.

Each check gives a number and a verdict. What they look at is the difference of captures, in which
the scene cancels and the noise does not.

A check has two limits: one says what matters, and is written beside it; the other is that of
chance, the same for all (`n2n_jax.captures.measure.block_statistics`): a number is held against a
scene only if it could not come about, by noise, once in a million clean scenes. What a scene is too
small, too empty or too noisy to tell is said to be not measurable, and is no warning.

As a common measure of what matters: a denoiser that gains 10 dB leaves a tenth of the noise's
variance. An error in the targets of a tenth of the noise's standard deviation adds a hundredth of
the variance, a tenth to what is left: 0.4 dB.
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
