"""Noisy images of which there is no second capture: whether they may be trained on, and how.

H height, W width, C channels.
"""

from collections.abc import Sequence

import numpy as np

from n2n_jax.captures.find import listed
from n2n_jax.captures.measure import noise_correlation
from n2n_jax.captures.measure.measured_part import measured_part
from n2n_jax.captures.measure.noise_correlation import CORRELATED, UNCLEAR
from n2n_jax.captures.scene_captures import SceneCaptures
from n2n_jax.runtime.config import CapturesConfig
from n2n_jax.runtime.errors import UserError

ASSUMPTION = (
    'Single images: pairs are made of neighboring pixels (Neighbor2Neighbor). This assumes noise '
    'of mean 0 that is independent between neighboring pixels; detail as fine as one pixel is '
    'lost. No PSNR without a second capture: take two captures if you can.'
)
_WAYS_OUT = (
    'What is trained on neighboring pixels would keep that noise. Take two captures and leave '
    '--single out; or use the raw data, before demosaicing, resizing, filtering or JPEG; or bin '
    'the pixels 2x2. If it is no noise but fine texture: --allow-correlated-noise '
    '(captures.allow_correlated_noise=True).'
)


def check(images: Sequence[SceneCaptures], config: CapturesConfig, *, crop: int) -> list[str]:
    """Looks whether pairs of neighboring pixels can be made of these images.

    Returns:
      Warnings.

    Raises:
      UserError: the crop is odd or larger than an image; or the noise of neighboring pixels is
        correlated in any of them, and the config does not allow it.
    """
    if crop % 2:
        raise UserError(f'data.crop={crop} must be even with captures.single.')
    for image in images:
        h, w = image.captures_NHWC.shape[1:3]
        if min(h, w) < crop:
            raise UserError(
                f'data.crop={crop} is larger than {image.name} ({w}x{h}). Write data.crop='
                f'{min(h, w) // 2 * 2} or less, or leave that image out.'
            )
    correlated, unclear = [], []
    for image in images:
        # Without a border: what it is filled with repeats its neighbors.
        part = measured_part(image.captures_NHWC, image.measured_HWC)
        found = noise_correlation.neighbor_correlation(part.captures_NHWC[0])
        words = image.name if np.isnan(found.value) else f'{image.name} ({found.value:+.2f})'
        if found.verdict == CORRELATED:
            correlated.append(words)
        elif found.verdict == UNCLEAR:
            unclear.append(words)
    warnings = []
    if correlated:
        measured = (
            f'The noise of neighboring pixels is correlated in {len(correlated)} of '
            f'{len(images)} images: {listed(correlated)}.'
        )
        if not config.allow_correlated_noise:
            raise UserError(f'{measured} {_WAYS_OUT}')
        warnings.append(f'{measured} It will stay in the results.')
    if unclear:
        warnings.append(
            f'Whether the noise of neighboring pixels is independent cannot be told in '
            f'{len(unclear)} of {len(images)} images, which are too small or whose noise is too '
            f'weak beside fine texture: {listed(unclear)}. If it is not, it will stay in the '
            'results.'
        )
    return warnings
