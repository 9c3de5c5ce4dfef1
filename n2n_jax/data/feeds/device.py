"""A small set of clean images, kept on every device and cut there.

B batch, H height, W width, C channels, N images, P pixels of all images.
"""

from concurrent import futures
from typing import Any

import numpy as np

from n2n_jax.data.feeds.base import Batch, PlannedFeed, cut_crops, unit_range
from n2n_jax.data.sources.source import ImageSource, to_float, with_channels
from n2n_jax.runtime.config import DataConfig
from n2n_jax.runtime.parallel import Layout
from n2n_jax.runtime.progress import ProgressLine


class DeviceFeed(PlannedFeed):
    """The whole set lies on every device, all images' pixels one after the other."""

    def __init__(
        self, source: ImageSource, config: DataConfig, *, channels: int, seed: int, layout: Layout
    ):
        num_images = len(source.names)
        with futures.ThreadPoolExecutor() as pool, ProgressLine('reading', num_images) as progress:
            images = []
            for image in pool.map(source.read, range(num_images)):
                images.append(with_channels(image, channels))
                progress.update(len(images))
        if any(image.dtype != np.uint8 for image in images):
            images = [to_float(image) for image in images]
        sizes_N2 = np.array([image.shape[:2] for image in images])
        super().__init__(sizes_N2, config, plan_length=3, seed=seed, layout=layout)
        areas_N = sizes_N2.prod(axis=1)
        self._first_pixel_N = np.cumsum(areas_N) - areas_N
        pixels_PC = np.concatenate([image.reshape(-1, channels) for image in images])
        self.constants = layout.place(pixels_PC, batch_axis=None)
        self.description = (
            f'{num_images} images on the device, {pixels_PC.nbytes / 2**20:.0f} MiB '
            f'{pixels_PC.dtype}'
        )

    def _plan(self, step: int) -> np.ndarray:
        """First pixel, image width and transform of each crop, (B, 3)."""
        crops = self._crops(step)
        width_B = self._sizes_N2[crops.image_B, 1]
        first_B = self._first_pixel_N[crops.image_B] + crops.top_B * width_B + crops.left_B
        return np.stack([first_B, width_B, crops.transform_B], axis=1)

    def batch(self, constants: Any, inputs: Any) -> Batch:
        """Clean crops, cut out of the pixels on the device."""
        clean_BHWI = unit_range(cut_crops(constants, inputs, crop=self._config.crop))
        return Batch(clean_BHWI, clean_BHWI)
