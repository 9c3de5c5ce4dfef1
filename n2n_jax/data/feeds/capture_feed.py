"""Feeds pairs of captures from the device's memory.

K steps of a dispatch, B batch, S scenes, N captures of a scene, H height, W width, C channels,
P pixels of all captures, Q pixels of one capture of each scene.
"""

import zlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from n2n_jax.data.feeds.base import MAX_DEVICE_PIXELS, Batch, PlannedFeed, cut_crops
from n2n_jax.runtime import device_memory
from n2n_jax.runtime.config import DataConfig
from n2n_jax.runtime.device_memory import readable
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.parallel import Layout

_ALIGNED = 64  # bytes; an array aligned to this is used by a CPU device without a copy


class CaptureFeed(PlannedFeed):
    """Pairs of captures of one scene, both cropped at the same position.

    Every ordered pair of captures is equally likely, so each capture serves as input and as target.

    Args:
      scenes: captures of each scene, (N, H, W, C), with sides of at least the crop; float32 in the
        network's range, or of any type if `write` is given.
      config: settings of crops, batch and augmentation.
      pairing: '1:1', '1:X' (the target is the mean of the other captures) or 'X:1' (the input is).
      seed: seed of the run.
      layout: how arrays are placed on devices.
      num_inputs: the first `num_inputs` captures of each scene serve as inputs only, the others as
        targets only; 0: all captures are both. For '1:1' only.
      masks: uint8, 1 where a value was observed, else 0: (H, W, C) for each scene, or (N, H, W, C)
        with one mask for each capture.
      write: called with s and an array (N, H, W, C), fills it with scene s in the network's range;
        avoids a second float32 copy of the captures in memory.

    Raises:
      UserError: the captures do not fit on a device.
    """

    def __init__(
        self,
        scenes: Sequence[np.ndarray],
        config: DataConfig,
        *,
        pairing: str,
        seed: int,
        layout: Layout,
        num_inputs: int = 0,
        masks: Sequence[np.ndarray] | None = None,
        write: Callable[[int, np.ndarray], object] | None = None,
    ) -> None:
        sizes_S2 = np.array([scene.shape[1:3] for scene in scenes])
        self._mask_of_scene = masks is not None and masks[0].ndim == 3
        short = pairing == '1:1' and not self._mask_of_scene
        super().__init__(sizes_S2, config, plan_length=4 if short else 5, seed=seed, layout=layout)
        self._pairing, self._num_inputs = pairing, num_inputs
        self._num_captures_S = np.array([len(scene) for scene in scenes])
        areas_S = sizes_S2.prod(axis=1)
        pixels_S = self._num_captures_S * areas_S
        self._first_pixel_S = np.cumsum(pixels_S) - pixels_S
        self._first_of_sum_S = np.cumsum(areas_S) - areas_S
        channels = scenes[0].shape[-1]
        num_pixels, num_sums = int(pixels_S.sum()), 0 if pairing == '1:1' else int(areas_S.sum())
        if masks is not None and num_sums and not self._mask_of_scene:
            # A mean is observed where all captures are.
            masks = [mask.min(axis=0) for mask in masks]
        num_bytes = (num_pixels + num_sums) * channels * 4 + sum(m.size for m in masks or ())
        if num_pixels > MAX_DEVICE_PIXELS or num_bytes > device_memory.device_bytes():
            raise UserError(
                f'The captures take {readable(num_bytes)} for {num_pixels} pixels; a device '
                f'has {readable(device_memory.device_bytes())} and holds at most '
                f'{MAX_DEVICE_PIXELS} pixels: train on part of them.'
            )
        pixels_PC = _aligned((num_pixels, channels))
        sums_QC = _aligned((num_sums, channels))
        firsts = zip(self._first_pixel_S, self._first_of_sum_S, strict=True)
        for s, (scene, (first, first_of_sum)) in enumerate(zip(scenes, firsts, strict=True)):
            captures_NHWC = pixels_PC[first:][: scene.size // channels].reshape(scene.shape)
            if write is None:
                np.copyto(captures_NHWC, scene)
            else:
                write(s, captures_NHWC)
            if num_sums:
                _, h, w, _ = scene.shape
                sum_HWC = sums_QC[first_of_sum:][: h * w].reshape(h, w, channels)
                captures_NHWC.sum(axis=0, out=sum_HWC)
        self.constants = {'pixels': layout.place(pixels_PC, batch_axis=None)}
        if num_sums:
            self.constants['sums'] = layout.place(sums_QC, batch_axis=None)
        if masks is not None:
            masks_PC = np.concatenate([mask.reshape(-1, channels) for mask in masks])
            self.constants['masks'] = layout.place(masks_PC, batch_axis=None)
        self.description = (
            f'{len(scenes)} scene{"s" * (len(scenes) > 1)} of {_range_text(self._num_captures_S)} '
            'captures on the device, '
            f'{readable(num_bytes)}'
        )

    def _plan(self, step: int) -> np.ndarray:
        """Returns where each crop is: (B, 4), or (B, 5) with masks per scene or with means.

        Without means: first pixel of the input, first pixel of the target, image width, transform,
        and with masks per scene the first pixel of the mask. With means: first pixel of the single
        capture, first pixel of the sum of all captures, image width, transform, and the number of
        other captures.
        """
        crops = self._crops(step)
        rng = np.random.default_rng([self._seed, zlib.crc32(b'captures'), step])
        num_B = self._num_captures_S[crops.image_B]
        draws_2B = rng.random(len(num_B)), rng.random(len(num_B))
        if self._num_inputs:
            input_B = np.floor(draws_2B[0] * self._num_inputs).astype(int)
            others_B = np.floor(draws_2B[1] * (num_B - self._num_inputs)).astype(int)
            target_B = self._num_inputs + others_B
        else:
            input_B = np.floor(draws_2B[0] * num_B).astype(int)
            # Picks another capture: an offset of 1 to N - 1, modulo N.
            offset_B = 1 + np.floor(draws_2B[1] * (num_B - 1)).astype(int)
            target_B = (input_B + offset_B) % num_B
        height_B, width_B = self._sizes_N2[crops.image_B].T
        corner_B = crops.top_B * width_B + crops.left_B
        scene_B = self._first_pixel_S[crops.image_B] + corner_B
        first_B = scene_B + input_B * height_B * width_B
        sum_B = self._first_of_sum_S[crops.image_B] + corner_B
        if self._pairing == '1:1':
            second_B = scene_B + target_B * height_B * width_B
            plan = [first_B, second_B, width_B, crops.transform_B]
            return np.stack([*plan, sum_B] if self._mask_of_scene else plan, axis=1)
        return np.stack([first_B, sum_B, width_B, crops.transform_B, num_B - 1], axis=1)

    def batch(self, constants: Any, inputs: Any) -> Batch:
        """The noisy inputs and targets of one step, and the masks of the targets if there are any.

        What a step does not use of it, XLA does not compute.
        """
        input_BHWC, target_BHWC = self._pair(constants, inputs)
        return Batch(input_BHWC, target_BHWC, self._target_mask(constants, inputs))

    def _pair(self, constants: Any, inputs: Any) -> tuple[jax.Array, jax.Array]:
        first_B, second_B, width_B, transform_B, *others = inputs.T
        one_BHWC = self._cut(constants['pixels'], first_B, width_B, transform_B)
        if self._pairing == '1:1':
            return one_BHWC, self._cut(constants['pixels'], second_B, width_B, transform_B)
        # The mean of the others from the sum of all: storing all means would double the memory.
        sum_BHWC = self._cut(constants['sums'], second_B, width_B, transform_B)
        mean_BHWC = (sum_BHWC - one_BHWC) / others[0][:, None, None, None]
        return (one_BHWC, mean_BHWC) if self._pairing == '1:X' else (mean_BHWC, one_BHWC)

    def _target_mask(self, constants: Any, inputs: Any) -> jax.Array | None:
        if 'masks' not in constants:
            return None
        _, corner_B, width_B, transform_B, *others = inputs.T
        if self._pairing == '1:1' and self._mask_of_scene:
            (corner_B,) = others
        masks_BHWC = self._cut(constants['masks'], corner_B, width_B, transform_B)
        return masks_BHWC.astype(jnp.float32)

    def _cut(
        self, pixels_PC: jax.Array, first_B: jax.Array, width_B: jax.Array, transform_B: jax.Array
    ) -> jax.Array:
        plan_B3 = jnp.stack([first_B, width_B, transform_B], axis=1)
        return cut_crops(pixels_PC, plan_B3, crop=self._config.crop)


def _aligned(shape: tuple[int, int]) -> np.ndarray:
    """Returns uninitialized float32 aligned for a CPU device; NumPy aligns only to 16 bytes."""
    num_bytes = 4 * shape[0] * shape[1]
    raw = np.empty(num_bytes + _ALIGNED, np.uint8)
    start = -raw.ctypes.data % _ALIGNED
    return raw[start : start + num_bytes].view(np.float32).reshape(shape)


def _range_text(numbers: np.ndarray) -> str:
    low, high = numbers.min(), numbers.max()
    return str(low) if low == high else f'{low} to {high}'
