"""Selects the held-out regions that are evaluated during a run.

N captures of a scene, H height, W width, C channels.

A region is a whole scene or a tile of one; all tiles of a scene have the same shape, so that one
compiled program serves them. Their order depends only on the shapes and a seed: it is the same at
every evaluation, in a resumed run and in the calibration of its intervals.
"""

import dataclasses
import zlib
from collections.abc import Sequence

import numpy as np

from n2n_jax import models
from n2n_jax.captures import network_range
from n2n_jax.captures.scene_captures import SceneCaptures
from n2n_jax.runtime.config import Config

# A region is denoised without its surroundings, so most of it should not depend on them: twice the
# halo of the U-Net.
_SIDE = 256
_SIDE_OF_WHOLE = 512  # for networks with a global receptive field
_MOST_WHOLE_PIXELS = 512**2  # per capture: activations of larger ones take gigabytes
_LEAST_MEASURED = 0.05  # share of a region; the rest is border or no data
_MOST_CAPTURES = 4  # per tile: more tiles say more than more captures


def choose(held_out: Sequence[SceneCaptures], config: Config) -> list[SceneCaptures]:
    """Chooses regions of up to `eval.captures_area` pixels, at least one; 0: all scenes whole.

    Args:
      held_out: scenes, or parts of scenes, that are not trained on.
      config: supplies `eval.captures_area`, `eval.seed` and the network.

    Returns:
      Regions as views of `held_out`, in the order of the scenes, spread over them as evenly as
      their number allows. A larger area adds regions and drops none.
    """
    area = config.eval.captures_area
    if not area:
        return list(held_out)
    ordered = _ordered_with_scene(held_out, config)
    totals = np.cumsum([pixels(region) for _, region in ordered])
    chosen = ordered[: max(1, int(np.searchsorted(totals, area, side='right')))]
    return [region for _, region in sorted(chosen, key=lambda indexed: indexed[0])]


def in_order(held_out: Sequence[SceneCaptures], config: Config) -> list[SceneCaptures]:
    """Returns all regions, in the order in which they are chosen."""
    return [region for _, region in _ordered_with_scene(held_out, config)]


def _ordered_with_scene(
    held_out: Sequence[SceneCaptures], config: Config
) -> list[tuple[int, SceneCaptures]]:
    """Returns all regions in that order, each with the index of its scene."""
    side = _SIDE if models.geometry_of(config.model).halo else _SIDE_OF_WHOLE
    rng = np.random.default_rng([config.eval.seed, zlib.crc32(b'regions')])
    of_scenes = [_tiles(scene, side) for scene in held_out]
    measured = [[tile for tile in tiles if _is_measured(tile)] for tiles in of_scenes]
    of_scenes = measured if any(measured) else of_scenes
    for tiles in of_scenes:
        rng.shuffle(tiles)
    order = rng.permutation(len(of_scenes))
    most = max(len(tiles) for tiles in of_scenes)
    return [(int(s), of_scenes[s][k]) for k in range(most) for s in order if k < len(of_scenes[s])]


def pixels(scene: SceneCaptures) -> int:
    """Counts the pixels of all captures of a scene."""
    return int(np.prod(scene.captures_NHWC.shape[:3]))


def _is_measured(scene: SceneCaptures) -> bool:
    measured_HWC = scene.measured_HWC
    return measured_HWC is None or bool(measured_HWC.mean() >= _LEAST_MEASURED)


def _tiles(scene: SceneCaptures, side: int) -> list[SceneCaptures]:
    _, h, w, _ = scene.captures_NHWC.shape
    if h * w <= _MOST_WHOLE_PIXELS:
        return [scene]
    rows, columns = (max(1, round(length / side)) for length in (h, w))
    height, width = h // rows, w // columns
    found = []
    for i in range(rows):
        for j in range(columns):
            top, left = i * height, j * width
            tile = scene.region(
                slice(top, top + height),
                slice(left, left + width),
                num_captures=_MOST_CAPTURES,
            )
            found.append(dataclasses.replace(tile, name=f'{scene.name} ({left},{top})'))
    return found


def in_range(config: Config, held_out: Sequence[SceneCaptures]) -> list[SceneCaptures]:
    """Returns the chosen regions in the range of the network."""
    chosen = choose(held_out, config)
    return [network_range.to_network_range(scene, config.model) for scene in chosen]
