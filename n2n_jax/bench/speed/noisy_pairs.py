"""The usual PyTorch data set for Noise2Noise: read a file, cut a crop, add noise twice.

A module of its own, because the processes of a DataLoader import it, and PyTorch with it.

H height, W width, C channels.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image


class NoisyPairs(torch.utils.data.IterableDataset):
    """Endless pairs of (C, H, W) tensors, two captures of one crop.

    Args:
      folder: of 8-bit pictures in color, larger than the crop.
      crop: side of the crops.
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
