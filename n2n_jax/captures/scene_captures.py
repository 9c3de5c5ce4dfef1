"""Captures of one's own in memory: their range of values, and what is held out.

N captures of a scene, H height, W width, C channels.
"""

import dataclasses
import hashlib
import logging
from collections.abc import Sequence

import numpy as np

from n2n_jax import models
from n2n_jax.captures.find import Scene, find_images, find_scenes, read_scenes
from n2n_jax.captures.measure import capture_values, measured_part
from n2n_jax.images import constant_areas
from n2n_jax.images.pixel_range import constants_text
from n2n_jax.runtime import path_list
from n2n_jax.runtime.config import MOST_CHANNELS, NOT_MEASURED, CapturesConfig, Config, ModelConfig
from n2n_jax.runtime.errors import UserError

_log = logging.getLogger(__name__)

SCENES_TO_SPLIT = 20  # from as many on, whole scenes are held out
_BLOCK_VALUES = 2**20  # converted at a time


@dataclasses.dataclass(frozen=True)
class SceneCaptures:
    """The captures of a scene, or of a region of it.

    Attributes:
      name: of the scene.
      captures_NHWC: as they were read, or float32 in the range of the network.
      measured_HWC: False in areas that hold a constant in place of a measurement, see
        `n2n_jax.images.constant_areas`; None: there are none. The captures hold values from beside
        them.
      constants: what the files hold there.
    """

    name: str
    captures_NHWC: np.ndarray
    measured_HWC: np.ndarray | None = None
    constants: tuple[float, ...] = ()

    def columns(self, start: int, stop: int) -> 'SceneCaptures':
        """Some columns of the scene."""
        mask_HWC = self.measured_HWC
        return dataclasses.replace(
            self,
            captures_NHWC=self.captures_NHWC[:, :, start:stop],
            measured_HWC=None if mask_HWC is None else mask_HWC[:, start:stop],
        )


def find(config: CapturesConfig) -> list[Scene]:
    """The scenes that a config names, not read yet.

    Raises:
      UserError: see `n2n_jax.captures.find`; or keys that exclude each other.
    """
    paths = path_list.parted(config.paths)
    if config.single:
        for name, is_set in (
            ('pattern', config.pattern),
            ('interleaved', config.interleaved),
            ('pairing', config.pairing != '1:1'),
            ('fix', config.fix),
        ):
            if is_set:
                raise UserError(
                    f'--single takes every image by itself: leave out either it or --{name}.'
                )
        return find_images(paths)
    return find_scenes(paths, pattern=config.pattern or None, interleaved=config.interleaved)


def load(config: CapturesConfig) -> list[SceneCaptures]:
    """Reads all captures that a config names.

    Raises:
      UserError: see `n2n_jax.captures.find`; or scenes differ in channels or type.
    """
    found = find(config)
    scenes = [
        without_constants(SceneCaptures(scene.name, captures_NHWC))
        for scene, captures_NHWC in zip(found, read_scenes(found), strict=True)
    ]
    first = scenes[0]
    for scene, files in zip(scenes, found, strict=True):
        for what, of_first, of_scene in (
            ('channels', first.captures_NHWC.shape[-1], scene.captures_NHWC.shape[-1]),
            ('type', first.captures_NHWC.dtype, scene.captures_NHWC.dtype),
        ):
            if of_first != of_scene:
                raise UserError(
                    f'Scenes must be of one kind: {first.name} has {what} {of_first}, {scene.name} '
                    f'{of_scene}.'
                )
        finite = [bool(np.isfinite(x).all()) for x in scene.captures_NHWC]
        if not all(finite):
            bad = finite.index(False)
            raise UserError(
                f'{files.captures[bad].path} holds NaN or infinite pixels: leave it out.'
            )
    channels = first.captures_NHWC.shape[-1]
    if channels > MOST_CHANNELS:
        raise UserError(
            f'{first.name} has {channels} channels, and a network takes at most {MOST_CHANNELS}: '
            'save some of them as files of their own; or if they are captures, as a stack (of a '
            'TIFF file, along the axis T).'
        )
    low = min(scene.captures_NHWC.min() for scene in scenes)
    high = max(scene.captures_NHWC.max() for scene in scenes)
    if low == high:
        raise UserError(f'All pixels of all captures are {low}: there is nothing to learn.')
    return scenes


def without_constants(scene: SceneCaptures) -> SceneCaptures:
    """Marks borders, no data and the like, and puts values from beside them in their place."""
    mask_HWC, areas = constant_areas.find(scene.captures_NHWC)
    if not areas or mask_HWC.all():
        return scene
    constants = tuple(sorted({area.value for area in areas}, key=str))
    _log.info(
        '%s: %.1f %% of the values are %s in all captures, a border or no data: left out.',
        scene.name,
        100 * mask_HWC.mean(),
        ' or '.join(f'{value:g}' for value in constants),
    )
    filled_NHWC = measured_part.fill(scene.captures_NHWC, mask_HWC)
    return SceneCaptures(scene.name, filled_NHWC, ~mask_HWC, constants)


def without_copies(
    scenes: Sequence[SceneCaptures],
) -> tuple[list[SceneCaptures], list[str]]:
    """Leaves out captures that are the same image as another: a network would learn to copy it.

    Returns:
      The scenes, and what was left out, in words.

    Raises:
      UserError: a scene has nothing but copies of one capture.
    """
    left, words = [], []
    for scene in scenes:
        captures_NHWC = scene.captures_NHWC
        first_of: dict[bytes, int] = {}
        for i, capture in enumerate(captures_NHWC):
            first = first_of.setdefault(hashlib.sha256(capture.tobytes()).digest(), i)
            if first != i:
                words.append(f'capture {i + 1} of {scene.name} is a copy of capture {first + 1}')
        if len(first_of) == 1 < len(captures_NHWC):
            raise UserError(
                f'All captures of {scene.name} are the same image: there is nothing to learn from '
                'them but their noise. Leave the scene out, or find the other captures.'
            )
        if len(first_of) < len(captures_NHWC):
            scene = dataclasses.replace(scene, captures_NHWC=captures_NHWC[list(first_of.values())])
        left.append(scene)
    return left, words


def resolve(config: Config, scenes: Sequence[SceneCaptures]) -> Config:
    """The config with the channels of the captures, and what their values are to the network.

    Values of 8 bits keep their range. Others may fill a small part of their type, as 12-bit counts
    in 16 bits do: 0 and 1 become the values that a tenth of a percent lie below and above. The
    noise, the middle and the extent of the values are found for every type; areas that hold a
    constant in place of a measurement count for none of them.
    """
    model = dataclasses.replace(config.model, channels=scenes[0].captures_NHWC.shape[-1])
    if model.black != model.white and model.noise:
        return dataclasses.replace(config, model=model)
    values = capture_values.measure(
        [scene.captures_NHWC for scene in scenes], [scene.measured_HWC for scene in scenes]
    )
    if model.black == model.white:
        is_uint8 = scenes[0].captures_NHWC.dtype == np.uint8
        black, white = (0.0, 255.0) if is_uint8 else (min(values.low), max(values.high))
        model = dataclasses.replace(model, black=black, white=white)
        _log.info('Pixel values from %g (0 to the network) to %g (1).', black, white)
    constants = constants_text(value for scene in scenes for value in scene.constants)
    model = dataclasses.replace(model, constants=constants)
    if not model.noise and max(values.noise) > 0:
        model = _with_noise(model, values)
        _log.info('The noise has a standard deviation of %s.', _listed(values.noise))
    elif not model.noise:
        model = dataclasses.replace(model, noise=NOT_MEASURED)
    return dataclasses.replace(config, model=model)


def _with_noise(model: ModelConfig, values: capture_values.Values) -> ModelConfig:
    low_C, high_C = np.array(values.middle).T
    noise_C = np.array(values.noise)
    noise_C[noise_C == 0] = noise_C.max()  # an empty channel: any unit does
    extent = model.white - model.black
    return dataclasses.replace(
        model,
        noise=_joined(noise_C / abs(extent)),
        center=_joined(((low_C + high_C) / 2 - model.black) / extent),
        contrast=_joined((high_C - low_C) / abs(extent)),
    )


def _joined(numbers_C: np.ndarray) -> str:
    return ','.join(f'{number:.6g}' for number in numbers_C)


def _listed(numbers: Sequence[float]) -> str:
    return ', '.join(f'{number:.3g}' for number in numbers)


def to_network(
    captures: np.ndarray, black: float, white: float, *, out: np.ndarray | None = None
) -> np.ndarray:
    """Pixel values as float32, 0 for `black` and 1 for `white`; nothing is clipped.

    Computed in float64, a block at a time: no float64 copy of a scene is made.

    Args:
      captures: pixels of any shape and type.
      black: the value that becomes 0.
      white: the value that becomes 1.
      out: where to write, float32 of the same shape; None: a new array.
    """
    out = np.empty(captures.shape, np.float32) if out is None else out
    for index in np.ndindex(captures.shape[:-3]):
        image, image_out = captures[index], out[index]
        rows = max(1, _BLOCK_VALUES // max(1, image[:1].size))
        for start in range(0, len(image), rows):
            block = image[start : start + rows].astype(np.float64)
            image_out[start : start + rows] = (block - black) / (white - black)
    return out


def in_range(
    scene: SceneCaptures, model: ModelConfig, *, out: np.ndarray | None = None
) -> SceneCaptures:
    """A scene in the range of the network; where nothing was measured, the middle of the values.

    Args:
      scene: as it was read.
      model: the network's config.
      out: where to write the captures, see `to_network`.
    """
    x_NHWC = to_network(scene.captures_NHWC, model.black, model.white, out=out)
    if scene.measured_HWC is not None:
        # Beside what was measured the values from there stay, as the network sees that far.
        far_HWC = measured_part.far(~scene.measured_HWC, models.STAND_IN_DISTANCE)
        np.copyto(x_NHWC, models.stand_in(model), where=far_HWC)
    return dataclasses.replace(scene, captures_NHWC=x_NHWC)


def masks(scenes: Sequence[SceneCaptures]) -> list[np.ndarray] | None:
    """1 where a value was measured, else 0, uint8 (H, W, C) of each scene; None if all were."""
    if all(scene.measured_HWC is None for scene in scenes):
        return None
    return [
        np.ones(scene.captures_NHWC.shape[1:], np.uint8)
        if scene.measured_HWC is None
        else scene.measured_HWC.astype(np.uint8)
        for scene in scenes
    ]


def split(
    scenes: Sequence[SceneCaptures], held_out: float, *, crop: int
) -> tuple[list[SceneCaptures], list[SceneCaptures]]:
    """What is trained on, and what is not.

    Whole scenes are held out, evenly spread, where there are twenty or more; else the right side of
    each, see `trained_columns`.

    Args:
      scenes: all of them.
      held_out: share to hold out.
      crop: side that must fit into what is trained on.

    Raises:
      UserError: nothing is left, or it is smaller than the crop.
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
            'write a smaller share, such as 0.2.'
        )
    for scene in train:
        h, w = scene.captures_NHWC.shape[1:3]
        if min(h, w) < crop:
            raise UserError(
                f'data.crop={crop} is larger than what there is to train on of {scene.name} '
                f'({w}x{h}). Write data.crop={min(h, w)} or less.'
            )
    return train, held


def trained_columns(scene: SceneCaptures, held_out: float) -> int:
    """How many columns of a scene, from the left, are trained on where the rest is held out.

    The share is one of what was measured: a border without data at the right is nothing that a
    model could be judged by.

    Args:
      scene: as it was read.
      held_out: share to hold out; at least one column is.
    """
    width = scene.captures_NHWC.shape[2]
    if scene.measured_HWC is None:
        return width - max(1, round(held_out * width))
    measured_W = scene.measured_HWC.sum(axis=(0, 2))
    left_of_W = np.cumsum(measured_W) - measured_W  # the last column is held out in any case
    off_W = np.abs(left_of_W[: _measured_width(scene)] / measured_W.sum() - (1 - held_out))
    return int(np.argmin(off_W))


def _measured_width(scene: SceneCaptures) -> int:
    """The columns up to the last one that holds a measurement."""
    if scene.measured_HWC is None:
        return scene.captures_NHWC.shape[2]
    return int(np.flatnonzero(scene.measured_HWC.any(axis=(0, 2)))[-1]) + 1
