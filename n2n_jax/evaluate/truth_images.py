"""Clean images beside captures, to tell an estimate from the truth.

H height, W width, C channels.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from n2n_jax.captures.measure.measured_part import fill
from n2n_jax.captures.scene_captures import SceneCaptures
from n2n_jax.images import image_io, stacks
from n2n_jax.runtime.errors import UserError


def read(folder: Path, scenes: Sequence[SceneCaptures]) -> dict[str, np.ndarray]:
    """Clean images by scene: a file named as the scene, or as its first capture.

    Where the captures hold a constant in place of a measurement, so may they, NaN too; they get
    values from beside it, as the captures have.

    Raises:
      UserError: one is missing or there are several, it is of another size or number of channels,
        a stack of several images, or holds NaN where there are measurements.
    """
    files: dict[str, list[Path]] = {}
    for path in image_io.find_images(folder, also=stacks.OTHER_SUFFIXES):
        files.setdefault(path.relative_to(folder).with_suffix('').as_posix(), []).append(path)
    truth = {}
    for scene in scenes:
        file = _truth_of(scene.name, files, folder)
        stack = stacks.open_stack(file)
        if stack.num_images != 1:
            raise UserError(f'{file} holds {stack.num_images} images, and one clean one is needed.')
        clean_HWC = stack.read([0])[0]
        size, wanted = clean_HWC.shape, scene.captures_NHWC.shape[1:]
        if size[:2] != wanted[:2]:
            raise UserError(
                f'{file} is of another size than the captures of {scene.name}: {size[1]}x{size[0]} '
                f'pixels, not {wanted[1]}x{wanted[0]}.'
            )
        if size[2] != wanted[2]:
            raise UserError(
                f'{file} has {size[2]} channels, and the captures of {scene.name} have {wanted[2]}.'
            )
        if scene.measured_HWC is not None:
            clean_HWC = fill(clean_HWC[None], ~scene.measured_HWC)[0]
        if not np.isfinite(clean_HWC).all():
            raise UserError(f'{file} holds NaN or infinite pixels: no error can be told from it.')
        truth[scene.name] = clean_HWC
    return truth


def _truth_of(scene: str, files: Mapping[str, list[Path]], folder: Path) -> Path:
    """The clean image of a scene among files by path without suffix, else by name alone."""
    by_name: dict[str, list[Path]] = {}
    for name, paths in files.items():
        by_name.setdefault(name.rpartition('/')[2], []).extend(paths)
    for ending in ('', '_1', '_a'):
        for known in (files, by_name):
            found = known.get(f'{scene}{ending}', [])
            if len(found) > 1:
                raise UserError(
                    f'{folder} holds more than one clean image for {scene}: '
                    f'{", ".join(str(path.relative_to(folder)) for path in found[:3])}. Leave one.'
                )
            if found:
                return found[0]
    raise UserError(f'{folder} holds no clean image for {scene}: name it {scene}, any suffix.')
