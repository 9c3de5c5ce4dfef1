"""Pictures of denoised single images, for runs without anything to measure the error against.

H height, W width, C channels.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from n2n_jax import models
from n2n_jax.captures.scene_captures import SceneCaptures
from n2n_jax.evaluate.report import Report
from n2n_jax.evaluate.shown_values import DIFFERENCE, ShownValues
from n2n_jax.images import pictures
from n2n_jax.runtime.config import ModelConfig

_MOST_PICTURES = 3
_LARGEST_SIDE = 512  # pixels; of larger images the center is shown


class SingleImageEvaluator:
    """Draws the noisy image, the denoised image and the residual of the first few images.

    Outlines in the residual are detail that was lost.

    Args:
      model: the network to evaluate.
      images: scenes of one capture, in the range of the network.
    """

    def __init__(self, model: ModelConfig, images: Sequence[SceneCaptures]) -> None:
        self.scenes = center_crops(images)
        self._apply = jax.jit(models.build(model).apply)
        self._shown = ShownValues.of(model)

    def __call__(self, variables: Any, step: int) -> Report:
        """Returns a report of pictures only, as no score can be measured."""
        del step
        drawn = {}
        for k, scene in enumerate(self.scenes):
            noisy_HWC = scene.captures_NHWC[0]
            denoised_HWC = np.asarray(self._apply(variables, noisy_HWC[None])[0])
            row = [
                (scene.name, self._shown.image(noisy_HWC)),
                ('denoised', self._shown.image(denoised_HWC)),
                (DIFFERENCE, self._shown.difference(noisy_HWC, denoised_HWC)),
            ]
            drawn[f'image_{k + 1}.png'] = pictures.grid([row])
        return Report([], [], drawn)


def center_crops(images: Sequence[SceneCaptures]) -> list[SceneCaptures]:
    """Crops the first few images to the center that is shown."""
    shown = []
    for scene in images[:_MOST_PICTURES]:
        h, w = scene.captures_NHWC.shape[1:3]
        top, left = max(h - _LARGEST_SIDE, 0) // 2, max(w - _LARGEST_SIDE, 0) // 2
        rows, columns = slice(top, top + _LARGEST_SIDE), slice(left, left + _LARGEST_SIDE)
        shown.append(scene.region(rows, columns, num_captures=1))
    return shown
