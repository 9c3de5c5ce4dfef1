"""Row noise: stripes, as sensors leave them that read out a row or a column at a time.

H height, W width, C channels.
"""

import dataclasses
import math
from typing import Literal

import jax

from n2n_jax.corruptions import draws
from n2n_jax.corruptions.base import Corruption


@dataclasses.dataclass(frozen=True)
class Options:
    """Attributes: axis, what shares an offset: the values of a row, or of a column."""

    axis: Literal['rows', 'columns'] = 'rows'


def sample_image(
    key: jax.Array, image_HWC: jax.Array, sigma: jax.Array, options: Options
) -> tuple[jax.Array, jax.Array | None]:
    """Draws x + n, one n ~ N(0, (sigma / 255)^2) for all values of a row or a column."""
    h, w, _ = image_HWC.shape
    shape = (h, 1, 1) if options.axis == 'rows' else (1, w, 1)
    offsets = draws.rounded(sigma / 255.0 * draws.normal(key, max(shape)))
    return image_HWC + offsets.reshape(shape), None


ROWS = Corruption(
    name='rows',
    level='standard deviation of the offset of a row, in 8-bit units',
    bounds=(0.0, math.inf),
    sample_image=sample_image,
    statistics=('mean', 'median', 'mode'),
    options=Options(),
)
