"""The eight flips and rotations of an image, for test-time augmentation (`--tta`).

H height, W width, C channels.

`Denoiser.bands` averages over them, tile by tile.
"""

import numpy as np

ORIENTATIONS = range(8)


def oriented(image: np.ndarray, orientation: int) -> np.ndarray:
    """Returns one of the 8 flips and rotations of (H, W, C); from 4 on the shape is (W, H, C)."""
    if orientation & 1:
        image = image[::-1]
    if orientation & 2:
        image = image[:, ::-1]
    return image.swapaxes(0, 1) if orientation & 4 else image


def oriented_back(image: np.ndarray, orientation: int) -> np.ndarray:
    """Inverts `oriented`."""
    if orientation & 4:
        image = image.swapaxes(0, 1)
    if orientation & 2:
        image = image[:, ::-1]
    return image[::-1] if orientation & 1 else image
