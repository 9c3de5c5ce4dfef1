"""Feeds pairs of captures from the device's memory.

K steps of a dispatch, B batch, S scenes, H height, W width, C channels.
"""

import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from n2n_jax.data.feeds.base import Batch, PlannedFeed, cut_crops
from n2n_jax.data.feeds.placed_captures import PlacedCaptures
from n2n_jax.runtime.config import DataConfig
from n2n_jax.runtime.parallel import Layout


class CaptureFeed(PlannedFeed):
    """Pairs of captures of one scene, both cropped at the same position.

    Every ordered pair of captures is equally likely, so each capture serves as input and as target.

    Args:
      captures: the captures, whose pairing says which are averaged.
      config: settings of crops, batch and augmentation.
      seed: seed of the run.
      layout: how arrays are placed on devices.
      num_inputs: the first `num_inputs` captures of each scene serve as inputs only, the others as
        targets only; 0: all captures are both. For the pairing '1:1' only.
    """

    def __init__(
        self,
        captures: PlacedCaptures,
        config: DataConfig,
        *,
        seed: int,
        layout: Layout,
        num_inputs: int = 0,
    ) -> None:
        short = captures.pairing == '1:1' and not captures.mask_of_scene
        super().__init__(
            captures.sizes_S2, config, plan_length=4 if short else 5, seed=seed, layout=layout
        )
        self._captures, self._num_inputs = captures, num_inputs
        self.constants = captures.arrays
        self.description = f'{captures} on the device'

    def _plan(self, step: int) -> np.ndarray:
        """Returns where each crop is: (B, 4), or (B, 5) with masks per scene or with means.

        Without means: first pixel of the input, first pixel of the target, image width, transform,
        and with masks per scene the first pixel of the mask. With means: first pixel of the single
        capture, first pixel of the sum of all captures, image width, transform, and the number of
        other captures.
        """
        crops = self._crops(step)
        rng = np.random.default_rng([self._seed, zlib.crc32(b'captures'), step])
        num_B = self._captures.num_captures_S[crops.image_B]
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
        scene_B = self._captures.first_pixel_S[crops.image_B] + corner_B
        first_B = scene_B + input_B * height_B * width_B
        sum_B = self._captures.first_of_sum_S[crops.image_B] + corner_B
        if self._captures.pairing == '1:1':
            second_B = scene_B + target_B * height_B * width_B
            plan = [first_B, second_B, width_B, crops.transform_B]
            return np.stack([*plan, sum_B] if self._captures.mask_of_scene else plan, axis=1)
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
        if self._captures.pairing == '1:1':
            return one_BHWC, self._cut(constants['pixels'], second_B, width_B, transform_B)
        # The mean of the others from the sum of all: storing all means would double the memory.
        sum_BHWC = self._cut(constants['sums'], second_B, width_B, transform_B)
        mean_BHWC = (sum_BHWC - one_BHWC) / others[0][:, None, None, None]
        return (one_BHWC, mean_BHWC) if self._captures.pairing == '1:X' else (mean_BHWC, one_BHWC)

    def _target_mask(self, constants: Any, inputs: Any) -> jax.Array | None:
        if 'masks' not in constants:
            return None
        _, corner_B, width_B, transform_B, *others = inputs.T
        if self._captures.pairing == '1:1' and self._captures.mask_of_scene:
            (corner_B,) = others
        masks_BHWC = self._cut(constants['masks'], corner_B, width_B, transform_B)
        return masks_BHWC.astype(jnp.float32)

    def _cut(
        self, pixels_PC: jax.Array, first_B: jax.Array, width_B: jax.Array, transform_B: jax.Array
    ) -> jax.Array:
        plan_B3 = jnp.stack([first_B, width_B, transform_B], axis=1)
        return cut_crops(pixels_PC, plan_B3, crop=self._config.crop)
