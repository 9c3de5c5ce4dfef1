"""The user's captures in memory, as they are read from files.

N captures of a scene, H height, W width, C channels.
"""

import dataclasses
import logging

import numpy as np

from n2n_jax.captures.grouping import find_scenes, find_single_images
from n2n_jax.captures.measure import measured_part
from n2n_jax.captures.scene_files import Scene, read_scenes
from n2n_jax.images import constant_areas
from n2n_jax.runtime import path_list
from n2n_jax.runtime.config import MOST_CHANNELS, CapturesConfig
from n2n_jax.runtime.errors import UserError

_log = logging.getLogger(__name__)


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
        return self.region(slice(None), slice(start, stop))

    def region(
        self, rows: slice, columns: slice, *, num_captures: int | None = None
    ) -> 'SceneCaptures':
        """Returns a region of the first captures, as views; None: of all."""
        mask_HWC = self.measured_HWC
        return dataclasses.replace(
            self,
            captures_NHWC=self.captures_NHWC[:num_captures, rows, columns],
            measured_HWC=None if mask_HWC is None else mask_HWC[rows, columns],
        )


def find(config: CapturesConfig) -> list[Scene]:
    """Finds the scenes of a config without reading them.

    Raises:
      UserError: as `n2n_jax.captures.grouping`; or options are mutually exclusive.
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
      UserError: as `n2n_jax.captures.grouping`; scenes differ in channels or type; values are not
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
