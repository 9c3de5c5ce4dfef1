"""Maps captures to the range of the network, which is measured from them.

N captures of a scene, H height, W width, C channels.
"""

import dataclasses
import logging
from collections.abc import Sequence

import numpy as np

from n2n_jax import models
from n2n_jax.captures.measure import capture_values, measured_part
from n2n_jax.captures.scene_captures import SceneCaptures
from n2n_jax.images.pixel_range import constants_text
from n2n_jax.runtime.config import NOT_MEASURED, Config, ModelConfig

_log = logging.getLogger(__name__)

_BLOCK_VALUES = 2**20  # converted to float64 at a time


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
