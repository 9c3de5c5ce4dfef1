"""Splits captures into a part that is trained on and a part that is held out.

H height, W width, C channels.
"""

from collections.abc import Sequence

import numpy as np

from n2n_jax.captures.scene_captures import SceneCaptures
from n2n_jax.runtime.errors import UserError

SCENES_TO_SPLIT = 20  # with this many scenes or more, whole scenes are held out


def split(
    scenes: Sequence[SceneCaptures], held_out: float, *, crop: int
) -> tuple[list[SceneCaptures], list[SceneCaptures]]:
    """Splits scenes into a training part and a held-out part.

    With twenty scenes or more, evenly spaced whole scenes are held out; otherwise the right side of
    each, see `trained_columns`.

    Args:
      scenes: all scenes.
      held_out: share to hold out.
      crop: side of the training crops, which must fit into every training part.

    Raises:
      UserError: nothing is left to train on, or it is smaller than the crop.
    """
    if len(scenes) >= SCENES_TO_SPLIT:
        count = max(1, round(held_out * len(scenes)))
        rows = {round((k + 0.5) * len(scenes) / count - 0.5) for k in range(count)}
        train = [scene for i, scene in enumerate(scenes) if i not in rows]
        held = [scene for i, scene in enumerate(scenes) if i in rows]
    else:
        train, held = [], []
        for scene in scenes:
            column = trained_columns(scene, held_out)
            train.append(scene.columns(0, column))
            held.append(scene.columns(column, _measured_width(scene)))
    if not train or min(scene.captures_NHWC.shape[2] for scene in train) == 0:
        raise UserError(
            f'captures.held_out={held_out:g} of {len(scenes)} scenes leaves nothing to train on: '
            'use a smaller share, such as 0.2.'
        )
    for scene in train:
        h, w = scene.captures_NHWC.shape[1:3]
        if min(h, w) < crop:
            raise UserError(
                f'data.crop={crop} is larger than the training part of {scene.name} ({w}x{h}): '
                f'use data.crop={min(h, w)} or less.'
            )
    return train, held


def trained_columns(scene: SceneCaptures, held_out: float) -> int:
    """Returns how many columns of a scene, from the left, are trained on; the rest is held out.

    The share is relative to the measured values: a border without data cannot serve to evaluate a
    model.

    Args:
      scene: as read.
      held_out: share to hold out, at least one column.
    """
    width = scene.captures_NHWC.shape[2]
    if scene.measured_HWC is None:
        return width - max(1, round(held_out * width))
    measured_W = scene.measured_HWC.sum(axis=(0, 2))
    left_of_W = np.cumsum(measured_W) - measured_W  # exclusive: the last column is always held out
    off_W = np.abs(left_of_W[: _measured_width(scene)] / measured_W.sum() - (1 - held_out))
    return int(np.argmin(off_W))


def _measured_width(scene: SceneCaptures) -> int:
    """Returns the number of columns up to the last one with a measurement."""
    if scene.measured_HWC is None:
        return scene.captures_NHWC.shape[2]
    return int(np.flatnonzero(scene.measured_HWC.any(axis=(0, 2)))[-1]) + 1
