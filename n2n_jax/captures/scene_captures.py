"""The user's captures in memory: value range and train/held-out split.

N captures of a scene, H height, W width, C channels.
"""

import dataclasses
import hashlib
import logging
from collections.abc import Sequence

import numpy as np

from n2n_jax import models
from n2n_jax.captures.find import find_scenes, find_single_images
from n2n_jax.captures.measure import capture_values, measured_part
from n2n_jax.captures.scene_files import Scene, read_scenes
from n2n_jax.images import constant_areas
from n2n_jax.images.pixel_range import constants_text
from n2n_jax.runtime import path_list
from n2n_jax.runtime.config import MOST_CHANNELS, NOT_MEASURED, CapturesConfig, Config, ModelConfig
from n2n_jax.runtime.errors import UserError

_log = logging.getLogger(__name__)

SCENES_TO_SPLIT = 20  # with this many scenes or more, whole scenes are held out
_BLOCK_VALUES = 2**20  # converted to float64 at a time


@dataclasses.dataclass(frozen=True)
class SceneCaptures:
    """The captures of a scene, or of a region of it.

    Attributes:
      name: name of the scene.
      captures_NHWC: as read, or float32 in the range of the network; constant areas are filled with
        neighboring values.
      measured_HWC: False in areas that held a constant instead of measurements, see
        `n2n_jax.images.constant_areas`; None: there are none.
      constants: the values that the files hold there.
    """

    name: str
    captures_NHWC: np.ndarray
    measured_HWC: np.ndarray | None = None
    constants: tuple[float, ...] = ()

    def columns(self, start: int, stop: int) -> 'SceneCaptures':
        """Returns columns `start` to `stop` of the scene."""
        mask_HWC = self.measured_HWC
        return dataclasses.replace(
            self,
            captures_NHWC=self.captures_NHWC[:, :, start:stop],
            measured_HWC=None if mask_HWC is None else mask_HWC[:, start:stop],
        )


def find(config: CapturesConfig) -> list[Scene]:
    """Finds the scenes of a config without reading them.

    Raises:
      UserError: as `n2n_jax.captures.find`; or options are mutually exclusive.
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
                    f'--single and --{name} are mutually exclusive: --single trains on each image '
                    'separately.'
                )
        return find_single_images(paths)
    return find_scenes(paths, pattern=config.pattern or None, interleaved=config.interleaved)


def load(config: CapturesConfig) -> list[SceneCaptures]:
    """Reads all captures of a config.

    Raises:
      UserError: as `n2n_jax.captures.find`; scenes differ in channels or type; values are not
        finite or all the same; too many channels.
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
                    f'All scenes must have the same channels and type: {first.name} has {what} '
                    f'{of_first}, but {scene.name} has {of_scene}.'
                )
        finite = [bool(np.isfinite(x).all()) for x in scene.captures_NHWC]
        if not all(finite):
            bad = finite.index(False)
            raise UserError(f'{files.captures[bad].path} holds NaN or infinite pixels: remove it.')
    channels = first.captures_NHWC.shape[-1]
    if channels > MOST_CHANNELS:
        raise UserError(
            f'{first.name} has {channels} channels, but a network takes at most {MOST_CHANNELS}: '
            'save some of them as separate files; or if they are captures, as a stack (in a TIFF '
            'file, along the axis T).'
        )
    low = min(scene.captures_NHWC.min() for scene in scenes)
    high = max(scene.captures_NHWC.max() for scene in scenes)
    if low == high:
        raise UserError(f'All pixels of all captures are {low}: there is nothing to learn.')
    return scenes


def without_constants(scene: SceneCaptures) -> SceneCaptures:
    """Masks borders, "no data" and the like, and fills them with neighboring values."""
    mask_HWC, areas = constant_areas.find(scene.captures_NHWC)
    if not areas or mask_HWC.all():
        return scene
    constants = tuple(sorted({area.value for area in areas}, key=str))
    _log.info(
        '%s: ignoring %.1f %% of the values, which are %s in all captures (a border or no data).',
        scene.name,
        100 * mask_HWC.mean(),
        ' or '.join(f'{value:g}' for value in constants),
    )
    filled_NHWC = measured_part.fill(scene.captures_NHWC, mask_HWC)
    return SceneCaptures(scene.name, filled_NHWC, ~mask_HWC, constants)


def without_copies(
    scenes: Sequence[SceneCaptures],
) -> tuple[list[SceneCaptures], list[str]]:
    """Removes captures identical to another, as a network would learn to copy their noise.

    Returns:
      The scenes, and a clause per removed capture.

    Raises:
      UserError: all captures of a scene are identical.
    """
    remaining, removed = [], []
    for scene in scenes:
        captures_NHWC = scene.captures_NHWC
        first_of: dict[bytes, int] = {}
        for i, capture in enumerate(captures_NHWC):
            first = first_of.setdefault(hashlib.sha256(capture.tobytes()).digest(), i)
            if first != i:
                removed.append(f'capture {i + 1} of {scene.name} is a copy of capture {first + 1}')
        if len(first_of) == 1 < len(captures_NHWC):
            raise UserError(
                f'All captures of {scene.name} are the same image, so a network would learn to '
                'copy their noise: remove the scene, or find the other captures.'
            )
        if len(first_of) < len(captures_NHWC):
            scene = dataclasses.replace(scene, captures_NHWC=captures_NHWC[list(first_of.values())])
        remaining.append(scene)
    return remaining, removed


def resolve(config: Config, scenes: Sequence[SceneCaptures]) -> Config:
    """Returns the config with channels, value range and noise level of the captures.

    8-bit values keep their range. Other types may be only partly used, such as 12-bit counts in
    16 bits: there 0 and 1 map to the 0.1th and 99.9th percentile. Noise, center and contrast are
    measured for all types. Constant areas are ignored.
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
        _log.info('Pixel values from %g to %g are mapped to [0, 1].', black, white)
    constants = constants_text(value for scene in scenes for value in scene.constants)
    model = dataclasses.replace(model, constants=constants)
    if not model.noise and max(values.noise) > 0:
        model = _with_noise(model, values)
        _log.info('The noise has a standard deviation of %s.', _format(values.noise))
    elif not model.noise:
        model = dataclasses.replace(model, noise=NOT_MEASURED)
    return dataclasses.replace(config, model=model)


def _with_noise(model: ModelConfig, values: capture_values.Values) -> ModelConfig:
    low_C, high_C = np.array(values.middle).T
    noise_C = np.array(values.noise)
    noise_C[noise_C == 0] = noise_C.max()  # for an empty channel, any value will do
    extent = model.white - model.black
    return dataclasses.replace(
        model,
        noise=_joined(noise_C / abs(extent)),
        center=_joined(((low_C + high_C) / 2 - model.black) / extent),
        contrast=_joined((high_C - low_C) / abs(extent)),
    )


def _joined(numbers_C: np.ndarray) -> str:
    return ','.join(f'{number:.6g}' for number in numbers_C)


def _format(numbers: Sequence[float]) -> str:
    return ', '.join(f'{number:.3g}' for number in numbers)


def to_network(
    captures: np.ndarray, black: float, white: float, *, out: np.ndarray | None = None
) -> np.ndarray:
    """Maps pixel values to float32, `black` to 0 and `white` to 1, without clipping.

    Computed in float64 block by block, to avoid a float64 copy of a scene.

    Args:
      captures: pixels of any type, (..., H, W, C).
      black: the value that becomes 0.
      white: the value that becomes 1.
      out: float32 array of the same shape to write to; None: a new array.
    """
    out = np.empty(captures.shape, np.float32) if out is None else out
    for index in np.ndindex(captures.shape[:-3]):
        image, image_out = captures[index], out[index]
        rows = max(1, _BLOCK_VALUES // max(1, image[:1].size))
        for start in range(0, len(image), rows):
            block = image[start : start + rows].astype(np.float64)
            image_out[start : start + rows] = (block - black) / (white - black)
    return out


def to_network_range(
    scene: SceneCaptures, model: ModelConfig, *, out: np.ndarray | None = None
) -> SceneCaptures:
    """Maps a scene to the range of the network; areas without measurements get a mid value.

    Args:
      scene: as read.
      model: config of the network.
      out: array to write the captures to, see `to_network`.
    """
    x_NHWC = to_network(scene.captures_NHWC, model.black, model.white, out=out)
    if scene.measured_HWC is not None:
        # Close to measured pixels the filled-in values are kept, as the network sees that far.
        far_HWC = measured_part.far(~scene.measured_HWC, models.STAND_IN_DISTANCE)
        np.copyto(x_NHWC, models.stand_in(model), where=far_HWC)
    return dataclasses.replace(scene, captures_NHWC=x_NHWC)


def masks(scenes: Sequence[SceneCaptures]) -> list[np.ndarray] | None:
    """Returns per scene 1 where a value was measured, else 0, uint8 (H, W, C); None if all were."""
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
