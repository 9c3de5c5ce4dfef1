"""A typical PyTorch data set for Noise2Noise: reads a file, crops it and adds noise twice.

A separate module, because the worker processes of a DataLoader import it.

H height, W width, C channels.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image


class NoisyPairs(torch.utils.data.IterableDataset):
    """An endless stream of pairs of (C, H, W) tensors: two noisy versions of one crop.

    Args:
      folder: folder of 8-bit color images, larger than the crop.
      crop: side of the crops, in pixels.
    """

    def __init__(self, folder: Path, crop: int):
        self._files, self._crop = sorted(folder.iterdir()), crop

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        rng = np.random.default_rng(torch.initial_seed() % 2**32)
        while True:
            image_HWC = np.asarray(Image.open(self._files[rng.integers(len(self._files))]))
            top, left = (rng.integers(side - self._crop + 1) for side in image_HWC.shape[:2])
            crop_HWC = image_HWC[top : top + self._crop, left : left + self._crop]
            clean = torch.tensor(crop_HWC).permute(2, 0, 1) / 255
            noisy, target = (
                clean + rng.uniform(0, 50 / 255) * torch.randn_like(clean) for _ in range(2)
            )
            yield noisy, target
