"""Which crops make the batch of a step: a pure function of (seed, step).

B batch, N images. Nothing is carried from step to step, so resuming at step k needs nothing but k,
and the order does not depend on how many processes or devices there are.
"""

import dataclasses
import functools
import zlib

import numpy as np

NUM_TRANSFORMS = 8  # the flips and rotations of the square


@dataclasses.dataclass(frozen=True)
class Crops:
    """The crops of one batch.

    Attributes:
      image_B: number of the image.
      top_B, left_B: first row and column, in pixels.
      transform_B: bit 0 mirrors left-right, bit 1 upside down, bit 2 swaps rows and columns last.
    """

    image_B: np.ndarray
    top_B: np.ndarray
    left_B: np.ndarray
    transform_B: np.ndarray


@functools.lru_cache(maxsize=2)
def _epoch_order(seed: int, epoch: int, num_images: int) -> np.ndarray:
    return np.random.default_rng([seed, zlib.crc32(b'order'), epoch]).permutation(num_images)


def crops_of_step(
    step: int, sizes_N2: np.ndarray, *, seed: int, batch_size: int, crop: int, augment: bool
) -> Crops:
    """The crops of the batch of `step`.

    Every image comes once per epoch, in an order of its own for each epoch; every place where the
    crop fits is equally likely.

    Args:
      step: number of updates done before this batch.
      sizes_N2: (H, W) of each image, neither less than `crop`.
      seed: of the run.
      batch_size: crops of the batch, over all devices.
      crop: side in pixels.
      augment: draw a flip or rotation for each crop.
    """
    epochs, offsets = np.divmod(step * batch_size + np.arange(batch_size), len(sizes_N2))
    image_B = np.array(
        [
            _epoch_order(seed, epoch, len(sizes_N2))[offset]
            for epoch, offset in zip(epochs.tolist(), offsets.tolist(), strict=True)
        ]
    )
    rng = np.random.default_rng([seed, zlib.crc32(b'crops'), step])
    places_B2 = np.floor(rng.random((batch_size, 2)) * (sizes_N2[image_B] - crop + 1)).astype(int)
    transform_B = rng.integers(NUM_TRANSFORMS, size=batch_size)
    return Crops(image_B, places_B2[:, 0], places_B2[:, 1], transform_B * augment)


def transform_crop(crop_HWC: np.ndarray, transform: int) -> np.ndarray:
    """The square crop, flipped or rotated as `Crops.transform_B` says."""
    if transform & 1:
        crop_HWC = crop_HWC[:, ::-1]
    if transform & 2:
        crop_HWC = crop_HWC[::-1]
    return crop_HWC.swapaxes(0, 1) if transform & 4 else crop_HWC
