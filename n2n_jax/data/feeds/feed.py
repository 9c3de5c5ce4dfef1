"""Two ways to feed one training step with the same batches.

K steps of a dispatch, B batch, H height, W width, C channels, N images, P pixels of all images.

`DeviceFeed` keeps a small set on every device and cuts it there; `StreamFeed` reads a large one
through Grain. Both hand the step a pytree with leading axes (K, B), which `clean` turns into the
clean crops of one step, inside the jitted step.
"""

import abc
import functools
import logging
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any, Protocol

import grain
import jax
import jax.numpy as jnp
import numpy as np

from n2n_jax.data.feeds import sampler
from n2n_jax.data.sources.source import ImageSource, to_float, with_channels
from n2n_jax.runtime import memory
from n2n_jax.runtime.config import DataConfig
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.progress import ProgressLine

_log = logging.getLogger(__name__)

MAX_DEVICE_PIXELS = 2**31 - 1  # places are int32
_PREFETCHED = 256  # crops that are read ahead
DEVICE_SHARE = 0.25  # of the device's memory that a set may take in `feed=auto`


class Layout(Protocol):
    """Puts host arrays where the step wants them (`n2n_jax.runtime.parallel.Layout`)."""

    def local_rows(self, batch_size: int) -> np.ndarray:
        """The rows of a batch that this process's devices hold, ascending."""

    def place(self, host_array: np.ndarray, *, batch_axis: int | None) -> jax.Array:
        """Places an array that every process holds whole."""

    def place_parts(
        self, shape: tuple[int, ...], part: Callable[[Any], np.ndarray], *, batch_axis: int
    ) -> jax.Array:
        """Places an array whose devices ask `part(index)` for what they hold."""


class Feed(Protocol):
    """Hands out the batches of a run.

    Attributes:
      constants: arrays on the device that every step reads.
      description: how the data is fed, for the log.
    """

    constants: Any
    description: str

    def inputs(self, first_step: int, num_steps: int) -> Any:
        """What the steps first_step, ... need, placed, with leading axes (K, B)."""

    def abstract_inputs(self, num_steps: int, batch_size: int) -> Any:
        """Shapes and types of `inputs` with a batch of this size."""

    def clean(self, constants: Any, inputs: Any) -> jax.Array:
        """The clean crops of one step, (B, H, W, C) float32 in [0, 1]; pure and jittable."""


# Each of the 256 values once, by a product as in `to_float`.
_UNIT_RANGE = np.arange(256, dtype=np.float32) * np.float32(1 / 255)


def _unit_range(image: jax.Array) -> jax.Array:
    """8 bits as float32 in [0, 1]; anything else as it is.

    Looked up, not multiplied: XLA would contract the product with the sum of noise behind it into
    one rounding in some programs only, and both feeds have to give the same images bit for bit.
    """
    if image.dtype != jnp.uint8:
        return image
    return jnp.asarray(_UNIT_RANGE).at[image].get(mode='promise_in_bounds')


def cut_crops(pixels_PC: jax.Array, plan_B3: jax.Array, *, crop: int) -> jax.Array:
    """Square crops out of images that lie one after the other, (B, H, W, C).

    Args:
      pixels_PC: all images' pixels.
      plan_B3: first pixel, image width and transform (see `sampler.Crops`) of each crop.
      crop: side in pixels.
    """

    def cut(plan_3: jax.Array) -> jax.Array:
        first, width, transform = plan_3
        rows = first + width * jnp.arange(crop)
        image_HWC = jax.vmap(
            lambda row: jax.lax.dynamic_slice(pixels_PC, (row, 0), (crop, pixels_PC.shape[-1]))
        )(rows)
        image_HWC = jnp.where(transform & 1, image_HWC[:, ::-1], image_HWC)
        image_HWC = jnp.where(transform & 2, image_HWC[::-1], image_HWC)
        return jnp.where(transform & 4, image_HWC.swapaxes(0, 1), image_HWC)

    return jax.vmap(cut)(plan_B3)


def _crops_of_step(
    step: int, sizes_N2: np.ndarray, config: DataConfig, *, seed: int
) -> sampler.Crops:
    return sampler.crops_of_step(
        step,
        sizes_N2,
        seed=seed,
        batch_size=config.batch_size,
        crop=config.crop,
        augment=config.augment,
    )


class PlannedFeed(abc.ABC):
    """Hands out a plan of each crop, a few integers: the pixels lie on the device already.

    Args:
      sizes_N2: (H, W) of each image or scene.
      config: crop, batch and augmentation.
      plan_length: integers per crop.
      seed: of the run.
      layout: where arrays go.
    """

    def __init__(
        self, sizes_N2: np.ndarray, config: DataConfig, *, plan_length: int, seed: int,
        layout: Layout,
    ):  # fmt: skip
        self._sizes_N2, self._config, self._plan_length = sizes_N2, config, plan_length
        self._seed, self._layout = seed, layout

    def inputs(self, first_step: int, num_steps: int) -> Any:
        """The plans of the steps first_step, ...: (K, B, plan_length) int32."""
        plan_KBn = np.stack([self._plan(first_step + k) for k in range(num_steps)])
        return self._layout.place(plan_KBn.astype(np.int32), batch_axis=1)

    def abstract_inputs(self, num_steps: int, batch_size: int) -> Any:
        """Shapes and types of `inputs` with a batch of this size."""
        return jax.ShapeDtypeStruct((num_steps, batch_size, self._plan_length), np.int32)

    def _crops(self, step: int) -> sampler.Crops:
        return _crops_of_step(step, self._sizes_N2, self._config, seed=self._seed)

    @abc.abstractmethod
    def _plan(self, step: int) -> np.ndarray:
        """The integers of each crop of a step, (B, plan_length)."""


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

    def clean(self, constants: Any, inputs: Any) -> jax.Array:
        """Cuts the crops of one step, (B, H, W, C), out of the pixels on the device."""
        return _unit_range(cut_crops(constants, inputs, crop=self._config.crop))


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
        return _crops_of_step(step, self._sizes_N2, self._config, seed=self._seed)

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

    def clean(self, constants: Any, inputs: Any) -> jax.Array:
        """The crops of one step in [0, 1], (B, H, W, C)."""
        del constants
        return _unit_range(inputs)


def _all_8_bit(source: ImageSource) -> bool:
    with futures.ThreadPoolExecutor() as pool:
        types = pool.map(lambda i: source.read(i).dtype, range(len(source.names)))
        found = all(dtype == np.uint8 for dtype in types)
        pool.shutdown(cancel_futures=True)
    return found


def make_feed(
    source: ImageSource, config: DataConfig, *, channels: int, seed: int, layout: Layout
) -> Feed:
    """The feed that `config.feed` names; 'auto' chooses by size."""
    num_pixels = sum(int(np.prod(source.size(i))) for i in range(len(source.names)))
    kind = config.feed
    if kind == 'auto':
        limit = DEVICE_SHARE * memory.device_bytes()
        num_values = num_pixels * channels
        # The whole set is float32 if one image is: they are looked at where that would be too much.
        fits = 4 * num_values <= limit or (num_values <= limit and _all_8_bit(source))
        kind = 'device' if fits and num_pixels <= MAX_DEVICE_PIXELS else 'stream'
    elif kind == 'device' and num_pixels > MAX_DEVICE_PIXELS:
        raise UserError(
            f'The {num_pixels} pixels of data.train are too many to keep on a device (at most '
            f'{MAX_DEVICE_PIXELS}): write data.feed=stream.'
        )
    return {'device': DeviceFeed, 'stream': StreamFeed}[kind](
        source, config, channels=channels, seed=seed, layout=layout
    )
