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

from n2n_jax.config import DataConfig
from n2n_jax.data import sampler
from n2n_jax.data.feed import Layout, cut_crops


class CaptureFeed:
    """Two captures of one scene, cut at the same place.

    Every ordered pair of captures is equally likely, so each is input and target in turn.

    Args:
      scenes: captures of each scene, (N, H, W, C) float32 in the network's range, sides at least
        the crop.
      config: crop, batch and augmentation.
      pairing: '1:1', '1:X' (the target is the mean of the other captures) or 'X:1'.
      seed: of the run.
      layout: where arrays go.
    """

    def __init__(
        self,
        scenes: Sequence[np.ndarray],
        config: DataConfig,
        *,
        pairing: str,
        seed: int,
        layout: Layout,
    ):
        self._config, self._pairing = config, pairing
        self._seed, self._layout = seed, layout
        self._sizes_S2 = np.array([scene.shape[1:3] for scene in scenes])
        self._num_captures_S = np.array([len(scene) for scene in scenes])
        images = [scene.reshape(-1, scene.shape[-1]) for scene in scenes]
        if pairing != '1:1':
            # The mean of the others of capture i lies as far behind it as all captures are long.
            images += [_means_of_others(scene).reshape(-1, scene.shape[-1]) for scene in scenes]
        pixels_PC = np.concatenate(images)
        sizes_S = self._num_captures_S * self._sizes_S2.prod(axis=1)
        self._first_pixel_S = np.cumsum(sizes_S) - sizes_S
        self._offset_of_means = int(sizes_S.sum())
        self.constants = layout.place(pixels_PC, batch_axis=None)
        self.description = (
            f'{len(scenes)} scenes of {_span(self._num_captures_S)} captures on the device, '
            f'{pixels_PC.nbytes / 2**20:.0f} MiB'
        )

    def inputs(self, first_step: int, num_steps: int) -> Any:
        """First pixels of input and target, image width and transform: (K, B, 4) int32."""
        plan_KB4 = np.empty((num_steps, self._config.batch_size, 4), np.int32)
        for k in range(num_steps):
            plan_KB4[k] = self._plan(first_step + k)
        return self._layout.place(plan_KB4, batch_axis=1)

    def _plan(self, step: int) -> np.ndarray:
        crops = sampler.crops_of_step(
            step,
            self._sizes_S2,
            seed=self._seed,
            batch_size=self._config.batch_size,
            crop=self._config.crop,
            augment=self._config.augment,
        )
        rng = np.random.default_rng([self._seed, zlib.crc32(b'captures'), step])
        num_B = self._num_captures_S[crops.image_B]
        input_B = np.floor(rng.random(len(num_B)) * num_B).astype(int)
        # One of the others lies 1 to N - 1 places further on, around the end.
        further_B = 1 + np.floor(rng.random(len(num_B)) * (num_B - 1)).astype(int)
        target_B = (input_B + further_B) % num_B
        height_B, width_B = self._sizes_S2[crops.image_B].T
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

    def abstract_inputs(self, num_steps: int, batch_size: int) -> Any:
        """Shapes and types of `inputs` with a batch of this size."""
        return jax.ShapeDtypeStruct((num_steps, batch_size, 4), np.int32)

    def captures(self, constants: Any, inputs: Any) -> jax.Array:
        """The noisy inputs of one step alone, (B, H, W, C)."""
        first_B, _, width_B, transform_B = inputs.T
        plan_B3 = jnp.stack([first_B, width_B, transform_B], axis=1)
        return cut_crops(constants, plan_B3, crop=self._config.crop)

    def pair(self, constants: Any, inputs: Any) -> tuple[jax.Array, jax.Array]:
        """The noisy inputs and the noisy targets of one step, both (B, H, W, C)."""
        first_B, second_B, width_B, transform_B = inputs.T
        noisy_BHWC, target_BHWC = (
            cut_crops(
                constants,
                jnp.stack([place_B, width_B, transform_B], axis=1),
                crop=self._config.crop,
            )
            for place_B in (first_B, second_B)
        )
        return noisy_BHWC, target_BHWC


def _means_of_others(captures_NHWC: np.ndarray) -> np.ndarray:
    num = len(captures_NHWC)
    return (captures_NHWC.sum(axis=0) - captures_NHWC) / (num - 1)


def _span(numbers: np.ndarray) -> str:
    low, high = numbers.min(), numbers.max()
    return str(low) if low == high else f'{low} to {high}'
