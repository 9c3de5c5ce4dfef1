"""Block and local means of captures, for the checks.

N captures of a scene, H height, W width, C channels.
"""

import numpy as np
from scipy import ndimage

from n2n_jax.captures.measure import block_statistics

_LOCAL = 31  # pixels a side of the local mean


def means(captures_NHWC: np.ndarray, side: int) -> np.ndarray:
    """Returns means over complete blocks and channels, (N, blocks down, blocks across)."""
    _, h, w, _ = captures_NHWC.shape
    side = max(1, min(side, h // 4, w // 4))
    return block_statistics.block_means(captures_NHWC, side).mean(axis=-1)


def without_local_mean(image_HW: np.ndarray) -> np.ndarray:
    """Returns an image, (H, W) or (H, W, C), minus its local mean."""
    return image_HW - ndimage.uniform_filter(
        image_HW, (_LOCAL, _LOCAL) + (0,) * (image_HW.ndim - 2)
    )
