"""Reads clean images of scenes, to measure the true error beside the estimate.

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
    """Reads the clean image of each scene: a file named like the scene or its first capture.

    Where the captures hold a constant in place of a measurement, the clean image may hold anything,
    even NaN: it is filled from its surroundings, as the captures were.

    Args:
      folder: the clean images, laid out like the captures.
      scenes: the captures.

    Returns:
      Clean images (H, W, C) by the name of the scene.

    Raises:
      UserError: a clean image is missing, ambiguous, of another size or number of channels, a stack
        of several images, or holds NaN where there are measurements.
    """
    files: dict[str, list[Path]] = {}
    for path in image_io.find_images(folder, also=stacks.OTHER_SUFFIXES):
        files.setdefault(path.relative_to(folder).with_suffix('').as_posix(), []).append(path)
    truth = {}
    for scene in scenes:
        file = _find_clean_image(scene.name, files, folder)
        stack = stacks.open_stack(file)
        if stack.num_images != 1:
            raise UserError(f'{file} holds {stack.num_images} images: save the clean one alone.')
        clean_HWC = stack.read([0])[0]
        size, wanted = clean_HWC.shape, scene.captures_NHWC.shape[1:]
        if size[:2] != wanted[:2]:
            raise UserError(
                f'{file} has {size[1]}x{size[0]} pixels, but the captures of {scene.name} have '
                f'{wanted[1]}x{wanted[0]}: crop it to the same field of view.'
            )
        if size[2] != wanted[2]:
            raise UserError(
                f'{file} has {size[2]} channels, but the captures of {scene.name} have '
                f'{wanted[2]}: '
                'save it with as many.'
            )
        if scene.measured_HWC is not None:
            clean_HWC = fill(clean_HWC[None], ~scene.measured_HWC)[0]
        if not np.isfinite(clean_HWC).all():
            raise UserError(f'{file} holds NaN or infinite pixels: replace them first.')
        truth[scene.name] = clean_HWC
    return truth


def _find_clean_image(scene: str, files: Mapping[str, list[Path]], folder: Path) -> Path:
    """Finds the clean image of a scene by path without suffix, else by name alone."""
    by_name: dict[str, list[Path]] = {}
    for name, paths in files.items():
        by_name.setdefault(name.rpartition('/')[2], []).extend(paths)
    for ending in ('', '_1', '_a'):
        for known in (files, by_name):
            found = known.get(f'{scene}{ending}', [])
            if len(found) > 1:
                raise UserError(
                    f'{folder} holds more than one clean image for {scene}: '
                    f'{", ".join(str(path.relative_to(folder)) for path in found[:3])}. Keep one.'
                )
            if found:
                return found[0]
    raise UserError(
        f'{folder} holds no clean image for {scene}: name the file {scene} plus its suffix.'
    )
