"""Feeds a training with pairs of captures that lie on the device.

K steps of a dispatch, B batch, S scenes, N captures of a scene, H height, W width, C channels,
P pixels of all captures.
"""

import zlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from n2n_jax import memory
from n2n_jax.config import DataConfig
from n2n_jax.data.feed import MAX_DEVICE_PIXELS, Layout, PlannedFeed, cut_crops
from n2n_jax.errors import UserError


class CaptureFeed(PlannedFeed):
    """Two captures of one scene, cut at the same place.

    Every ordered pair of captures is equally likely, so each is input and target in turn.

    Args:
      scenes: captures of each scene, (N, H, W, C) float32 in the network's range, sides at least
        the crop.
      config: crop, batch and augmentation.
      pairing: '1:1', '1:X' (the target is the mean of the other captures) or 'X:1'.
      seed: of the run.
      layout: where arrays go.
      num_inputs: how many captures of each scene, the first ones, are inputs, the rest being
        targets; 0: all are both. With '1:1' alone.
      masks: of the scenes, 1 where a value was observed, else 0; uint8 in the shapes of `scenes`.

    Raises:
      UserError: they do not fit on a device.
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
    ):
        sizes_S2 = np.array([scene.shape[1:3] for scene in scenes])
        super().__init__(sizes_S2, config, plan_length=4, seed=seed, layout=layout)
        self._pairing, self._num_inputs = pairing, num_inputs
        self._num_captures_S = np.array([len(scene) for scene in scenes])
        channels = scenes[0].shape[-1]
        sizes_S = self._num_captures_S * sizes_S2.prod(axis=1)
        self._first_pixel_S = np.cumsum(sizes_S) - sizes_S
        self._offset_of_means = int(sizes_S.sum())
        num_pixels = self._offset_of_means * (1 if pairing == '1:1' else 2)
        num_bytes = num_pixels * channels * 4
        if num_pixels > MAX_DEVICE_PIXELS or num_bytes > memory.device_bytes():
            raise UserError(
                f'The captures take {memory.readable(num_bytes)} in {num_pixels} pixels; a device '
                f'has {memory.readable(memory.device_bytes())} and holds at most '
                f'{MAX_DEVICE_PIXELS} pixels: train on a part of them.'
            )
        images = [scene.reshape(-1, channels) for scene in scenes]
        if pairing != '1:1':
            # The mean of the others of capture i lies as far behind it as all captures are long.
            images += [_means_of_others(scene).reshape(-1, channels) for scene in scenes]
        self.constants = {'pixels': layout.place(np.concatenate(images), batch_axis=None)}
        if masks is not None:
            masks_PC = np.concatenate([mask.reshape(-1, channels) for mask in masks])
            self.constants['masks'] = layout.place(masks_PC, batch_axis=None)
        self.description = (
            f'{len(scenes)} scene{"s" * (len(scenes) > 1)} of {_span(self._num_captures_S)} '
            'captures on the device, '
            f'{memory.readable(num_bytes)}'
        )

    def _plan(self, step: int) -> np.ndarray:
        """First pixels of input and target, image width and transform of each crop, (B, 4)."""
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
            # One of the others lies 1 to N - 1 places further on, around the end.
            further_B = 1 + np.floor(draws_2B[1] * (num_B - 1)).astype(int)
            target_B = (input_B + further_B) % num_B
        height_B, width_B = self._sizes_N2[crops.image_B].T
        place_B = self._first_pixel_S[crops.image_B] + crops.top_B * width_B + crops.left_B
        if self._pairing != '1:1':
            target_B = input_B
        first_B = place_B + input_B * height_B * width_B
        second_B = place_B + target_B * height_B * width_B
        if self._pairing == '1:X':
            second_B = second_B + self._offset_of_means
        elif self._pairing == 'X:1':
            first_B = first_B + self._offset_of_means
        return np.stack([first_B, second_B, width_B, crops.transform_B], axis=1)

    def captures(self, constants: Any, inputs: Any) -> jax.Array:
        """The noisy inputs of one step alone, (B, H, W, C)."""
        first_B, _, *rest = inputs.T
        return self._cut(constants['pixels'], first_B, *rest)

    def pair(self, constants: Any, inputs: Any) -> tuple[jax.Array, jax.Array]:
        """The noisy inputs and the noisy targets of one step, both (B, H, W, C)."""
        first_B, second_B, *rest = inputs.T
        return tuple(
            self._cut(constants['pixels'], place_B, *rest) for place_B in (first_B, second_B)
        )

    def target_mask(self, constants: Any, inputs: Any) -> jax.Array | None:
        """The masks of the targets of one step, (B, H, W, C); None if there are none."""
        if 'masks' not in constants:
            return None
        _, second_B, *rest = inputs.T
        return self._cut(constants['masks'], second_B, *rest).astype(jnp.float32)

    def _cut(
        self, pixels_PC: jax.Array, first_B: jax.Array, width_B: jax.Array, transform_B: jax.Array
    ) -> jax.Array:
        plan_B3 = jnp.stack([first_B, width_B, transform_B], axis=1)
        return cut_crops(pixels_PC, plan_B3, crop=self._config.crop)


def _means_of_others(captures_NHWC: np.ndarray) -> np.ndarray:
    num = len(captures_NHWC)
    return (captures_NHWC.sum(axis=0) - captures_NHWC) / (num - 1)


def _span(numbers: np.ndarray) -> str:
    low, high = numbers.min(), numbers.max()
    return str(low) if low == high else f'{low} to {high}'
