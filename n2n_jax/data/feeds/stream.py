"""Clean images that are read, decoded and cut by Grain's threads, ahead of the step.

K steps of a dispatch, B batch, H height, W width, C channels, N images.
"""

import functools
from collections.abc import Iterator
from typing import Any

import grain
import jax
import numpy as np

from n2n_jax.data.feeds import sampler
from n2n_jax.data.feeds.base import Batch, crops_of_step, unit_range
from n2n_jax.data.sources.source import ImageSource, to_float, with_channels
from n2n_jax.runtime.config import DataConfig
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.parallel import Layout

_PREFETCHED = 256  # crops that are read ahead


class StreamFeed:
    """Images are read, decoded and cut by Grain's threads, ahead of the step that needs them."""

    def __init__(
        self, source: ImageSource, config: DataConfig, *, channels: int, seed: int, layout: Layout
    ):
        self._source, self._config, self._channels = source, config, channels
        self._seed, self._layout = seed, layout
        self._sizes_N2 = np.array([source.size(i) for i in range(len(source.names))])
        self._dtype = source.read(0).dtype
        self._rows = layout.local_rows(config.batch_size)
        # Each crop asks for the plan of its step; the threads are at work on a few steps at a time.
        self._plan = functools.lru_cache(maxsize=_PREFETCHED)(self._crops_at)
        self._stream: Iterator[np.ndarray] = iter(())
        self._next_step = -1
        self.constants = ()
        self.description = f'{len(source.names)} images streamed'

    def _crops_at(self, step: int) -> sampler.Crops:
        return crops_of_step(step, self._sizes_N2, self._config, seed=self._seed)

    def _crop(self, j: int) -> np.ndarray:
        """Crop j of this process's endless list of crops."""
        step, slot = divmod(j, len(self._rows))
        crops, row = self._plan(step), self._rows[slot]
        i, top, left = crops.image_B[row], crops.top_B[row], crops.left_B[row]
        side = self._config.crop
        image_HWC = with_channels(self._source.read(i), self._channels)
        cut_HWC = image_HWC[top : top + side, left : left + side]
        if self._dtype != np.uint8:
            cut_HWC = to_float(cut_HWC)
        elif cut_HWC.dtype != np.uint8:
            raise UserError(
                f'{self._source.names[i]} has more than 8 bits, {self._source.names[0]} has 8: '
                'streamed sets need one depth. Write data.feed=device, or train on one of them.'
            )
        return np.ascontiguousarray(sampler.transform_crop(cut_HWC, crops.transform_B[row]))

    def _start(self, step: int) -> Iterator[np.ndarray]:
        first, stop = step * len(self._rows), np.iinfo(np.int64).max
        return iter(
            grain.MapDataset.range(first, stop)
            .map(self._crop)
            .to_iter_dataset(grain.ReadOptions(num_threads=16, prefetch_buffer_size=_PREFETCHED))
            .batch(len(self._rows))
        )

    def inputs(self, first_step: int, num_steps: int) -> Any:
        """The crops themselves, (K, B, H, W, C), as they were stored."""
        if first_step != self._next_step:
            self._stream = self._start(first_step)
        self._next_step = first_step + num_steps
        local_KBHWC = np.stack([next(self._stream) for _ in range(num_steps)])
        shape = (num_steps, self._config.batch_size, *local_KBHWC.shape[2:])

        def part(index: tuple[slice, ...]) -> np.ndarray:
            start, stop, _ = index[1].indices(shape[1])
            return local_KBHWC[:, np.searchsorted(self._rows, np.arange(start, stop))]

        return self._layout.place_parts(shape, part, batch_axis=1)

    def abstract_inputs(self, num_steps: int, batch_size: int) -> Any:
        """Shapes and types of `inputs` with a batch of this size."""
        dtype = np.uint8 if self._dtype == np.uint8 else np.float32
        shape_HWC = (self._config.crop, self._config.crop, self._channels)
        return jax.ShapeDtypeStruct((num_steps, batch_size, *shape_HWC), dtype)

    def batch(self, constants: Any, inputs: Any) -> Batch:
        """The clean crops of one step; they are the inputs, so `constants` is empty."""
        clean_BHWI = unit_range(inputs)
        return Batch(clean_BHWI, clean_BHWI)
