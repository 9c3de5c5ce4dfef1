"""Samples the crops of a batch as a pure function of (seed, step).

No state is carried from step to step, so a run resumes at step k from k alone, and the order does
not depend on the number of processes or devices. B batch, N images.
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
      image_B: index of the image.
      top_B, left_B: first row and column, in pixels.
      transform_B: bit 0 flips left-right, bit 1 flips upside down, bit 2 then transposes.
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
    """Samples the crops of one step.

    Every image occurs once per epoch, in a new order each epoch; every position where the crop fits
    is equally likely.

    Args:
      step: number of updates before this batch.
      sizes_N2: (H, W) of each image, neither less than `crop`.
      seed: seed of the run.
      batch_size: crops in the batch, over all devices.
      crop: side of a crop in pixels.
      augment: flip or rotate each crop at random.
    """
    epochs, offsets = np.divmod(step * batch_size + np.arange(batch_size), len(sizes_N2))
    image_B = np.array(
        [
            _epoch_order(seed, epoch, len(sizes_N2))[offset]
            for epoch, offset in zip(epochs.tolist(), offsets.tolist(), strict=True)
        ]
    )
    rng = np.random.default_rng([seed, zlib.crc32(b'crops'), step])
    corners_B2 = np.floor(rng.random((batch_size, 2)) * (sizes_N2[image_B] - crop + 1)).astype(int)
    transform_B = rng.integers(NUM_TRANSFORMS, size=batch_size)
    return Crops(image_B, corners_B2[:, 0], corners_B2[:, 1], transform_B * augment)


def transform_crop(crop_HWC: np.ndarray, transform: int) -> np.ndarray:
    """Flips or rotates a square crop as specified by `Crops.transform_B`."""
    if transform & 1:
        crop_HWC = crop_HWC[:, ::-1]
    if transform & 2:
        crop_HWC = crop_HWC[::-1]
    return crop_HWC.swapaxes(0, 1) if transform & 4 else crop_HWC
