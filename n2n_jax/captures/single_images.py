"""Checks for training on single images, of which there is no second capture."""

from collections.abc import Sequence

import numpy as np

from n2n_jax.captures.measure import noise_correlation
from n2n_jax.captures.measure.measured_part import measured_part
from n2n_jax.captures.measure.noise_correlation import CORRELATED, UNCLEAR
from n2n_jax.captures.scene_captures import SceneCaptures
from n2n_jax.runtime.config import CapturesConfig
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.name_list import listed

ASSUMPTION = (
    'Single images: training on pairs of neighboring pixels (Neighbor2Neighbor). This assumes '
    'noise of mean 0 that is independent between neighboring pixels; detail as fine as one pixel '
    'is lost. PSNR cannot be measured without a second capture: take two captures if you can.'
)
_WAYS_OUT = (
    'A network trained on neighboring pixels would keep that noise. Take two captures and omit '
    '--single; or use the raw data, before demosaicing, resizing, filtering or JPEG; or bin '
    'the pixels 2x2. If this is fine texture rather than noise, use --allow-correlated-noise '
    '(captures.allow_correlated_noise=True).'
)


def check(images: Sequence[SceneCaptures], config: CapturesConfig, *, crop: int) -> list[str]:
    """Checks whether these images can be trained on by pairs of neighboring pixels.

    Args:
      images: scenes of one capture each.
      config: decides whether correlated noise is allowed.
      crop: side of the training crops.

    Returns:
      Warnings.

    Raises:
      UserError: the crop is odd or larger than an image; or noise is correlated between neighboring
        pixels, and the config does not allow it.
    """
    if crop % 2:
        raise UserError(f'data.crop={crop} must be even with captures.single.')
    for image in images:
        h, w = image.captures_NHWC.shape[1:3]
        if min(h, w) < crop:
            raise UserError(
                f'data.crop={crop} is larger than {image.name} ({w}x{h}): use data.crop='
                f'{min(h, w) // 2 * 2} or less, or remove that image.'
            )
    correlated, unclear = [], []
    for image in images:
        # Without borders: the values they are filled with repeat their neighbors.
        part = measured_part(image.captures_NHWC, image.measured_HWC)
        found = noise_correlation.neighbor_correlation(part.captures_NHWC[0])
        label = image.name if np.isnan(found.value) else f'{image.name} ({found.value:+.2f})'
        if found.verdict == CORRELATED:
            correlated.append(label)
        elif found.verdict == UNCLEAR:
            unclear.append(label)
    warnings = []
    if correlated:
        measured = (
            f'The noise of neighboring pixels is correlated in {len(correlated)} of '
            f'{len(images)} images: {listed(correlated)}.'
        )
        if not config.allow_correlated_noise:
            raise UserError(f'{measured} {_WAYS_OUT}')
        warnings.append(f'{measured} It will remain in the results.')
    if unclear:
        warnings.append(
            f'Whether the noise of neighboring pixels is independent cannot be determined in '
            f'{len(unclear)} of {len(images)} images, which are too small or whose noise is too '
            f'weak compared with fine texture: {listed(unclear)}. Correlated noise would remain '
            'in the results.'
        )
    return warnings
