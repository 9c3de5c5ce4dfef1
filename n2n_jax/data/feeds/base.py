"""What every feed of a training step shares: its interface, and crops cut on the device.

K steps of a dispatch, B batch, H height, W width, C channels, I channels with auxiliary planes (see
`n2n_jax.models.planes`), N images, P pixels of all images.
"""

import abc
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from n2n_jax.data.feeds import sampler
from n2n_jax.runtime.config import DataConfig
from n2n_jax.runtime.parallel import Layout

MAX_DEVICE_PIXELS = 2**31 - 1  # positions are int32
DEVICE_SHARE = 0.25  # of the device's memory that a data set may take


class Batch(NamedTuple):
    """The crops of one step, as a feed hands them to the task, and as the task hands them on.

    Attributes:
      input_BHWI: what the network sees, float32. From a feed of clean images: the clean crop, and
        its planes.
      target_BHWC: what its answer is compared with. From a feed of clean images: as `input_BHWI`.
      mask_BHWC: 1 where the target was observed, else 0; None: everywhere.
    """

    input_BHWI: jax.Array
    target_BHWC: jax.Array
    mask_BHWC: jax.Array | None = None


class Feed(Protocol):
    """Hands out the batches of a run.

    The host makes the inputs of a dispatch, a pytree with leading axes (K, B); `batch` turns those
    of one step into crops, inside the jitted step.

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

    def batch(self, constants: Any, inputs: Any) -> Batch:
        """The crops of one step; pure and jittable."""


# Each of the 256 values once, by a product as in `to_float`.
_UNIT_RANGE = np.arange(256, dtype=np.float32) * np.float32(1 / 255)


def unit_range(image: jax.Array) -> jax.Array:
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


def crops_of_step(
    step: int, sizes_N2: np.ndarray, config: DataConfig, *, seed: int
) -> sampler.Crops:
    """Which image each crop of a step is cut from, where, and how it is turned."""
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

    @abc.abstractmethod
    def batch(self, constants: Any, inputs: Any) -> Batch:
        """The crops of one step; pure and jittable."""

    def _crops(self, step: int) -> sampler.Crops:
        return crops_of_step(step, self._sizes_N2, self._config, seed=self._seed)

    @abc.abstractmethod
    def _plan(self, step: int) -> np.ndarray:
        """The integers of each crop of a step, (B, plan_length)."""
