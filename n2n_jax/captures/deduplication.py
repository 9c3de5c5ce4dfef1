"""Leaves out captures that are copies or near copies of another: a network would learn their noise.

N captures of a scene, H height, W width, C channels.
"""

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np

from n2n_jax.captures.measure import regions
from n2n_jax.captures.measure.measured_part import measured_part
from n2n_jax.captures.measure.near_copies import near_copies, single_capture_noise
from n2n_jax.captures.measure.noise_model import mean_squares
from n2n_jax.captures.scene_captures import SceneCaptures
from n2n_jax.captures.scene_files import Scene
from n2n_jax.runtime.errors import UserError

_LOSSY = ('.jpg', '.jpeg', '.webp')  # formats that lose some of the noise


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


def find_near_copies(
    scenes: Sequence[SceneCaptures],
) -> tuple[dict[str, list[tuple[int, int]]], list[str]]:
    """Finds captures that were saved again with losses, such as a JPEG next to its TIFF.

    Returns:
      Pairs by scene, the capture with more of its noise first; and warnings about scenes in which
      fewer than two captures would remain.
    """
    found: dict[str, list[tuple[int, int]]] = {}
    warnings = []
    for scene in scenes:
        part_NHWC = regions.sample(
            measured_part(scene.captures_NHWC, scene.measured_HWC).captures_NHWC
        )
        num = len(part_NHWC)
        if num < 2:
            continue
        with np.errstate(over='ignore'):  # captures that differ so much are not copies
            differences_NN = mean_squares(part_NHWC)
        pairs = near_copies(part_NHWC, differences_NN)
        if pairs and num - len({j for _, j in pairs}) < 2:
            if any(differences_NN[pair] > 0 for pair in pairs):
                warnings.append(
                    f'All captures of {scene.name} are nearly the same image: a network would '
                    'mostly learn to copy their noise.'
                )
            continue
        pairs = [pair for pair in pairs if differences_NN[pair] > 0]
        if pairs:
            noise_N = [single_capture_noise(capture) for capture in part_NHWC]
            found[scene.name] = [(i, j) if noise_N[i] >= noise_N[j] else (j, i) for i, j in pairs]
    return found, warnings


def remove_near_copies(
    scenes: Sequence[SceneCaptures],
    pairs_by_scene: dict[str, list[tuple[int, int]]],
    files: Sequence[Scene],
) -> tuple[list[SceneCaptures], list[str]]:
    """Removes the second capture of each pair, or the first if only the first has a lossy format.

    Args:
      scenes: as read.
      pairs_by_scene: see `find_near_copies`.
      files: where the captures of each scene are.

    Returns:
      The scenes, and a sentence per removed capture.
    """
    remaining, sentences = [], []
    for scene, of_scene in zip(scenes, files, strict=True):
        removed: set[int] = set()
        for kept, copy in pairs_by_scene.get(scene.name, []):
            paths = [of_scene.captures[k].path for k in (kept, copy)]
            if paths[0].suffix.lower() in _LOSSY and paths[1].suffix.lower() not in _LOSSY:
                kept, copy = copy, kept
                paths.reverse()
            if copy in removed or kept in removed:
                continue
            removed.add(copy)
            names = [str(path) for path in paths]
            if paths[0] == paths[1]:
                names = [f'capture {k + 1} of {scene.name}' for k in (kept, copy)]
            sentences.append(f'Not used: {names[1]} is nearly the same image as {names[0]}.')
        if removed:
            kept_N = [k for k in range(len(scene.captures_NHWC)) if k not in removed]
            scene = dataclasses.replace(scene, captures_NHWC=scene.captures_NHWC[kept_N])
        remaining.append(scene)
    return remaining, sentences
