"""Loads the captures of a config: read, freed of copies, and corrected."""

import dataclasses

from n2n_jax.captures import corrections, deduplication, scene_captures
from n2n_jax.captures.scene_captures import SceneCaptures
from n2n_jax.runtime.config import CapturesConfig


@dataclasses.dataclass(frozen=True)
class Loaded:
    """The captures of a config.

    Attributes:
      raw: as read, without copies.
      fixed: with the corrections of the config.
      notes: sentences for the log: what was removed, what was corrected, warnings.
    """

    raw: list[SceneCaptures]
    fixed: list[SceneCaptures]
    notes: list[str]


def load(config: CapturesConfig) -> Loaded:
    """Reads captures, removes copies and near copies, and applies the corrections of the config.

    Raises:
      UserError: as `scene_captures.load`; all captures of a scene are copies; an unknown fix.
    """
    corrections.parse(config.fix)
    read = scene_captures.load(config)
    pairs_by_scene, warnings = deduplication.find_near_copies(read)
    removed: list[str] = []
    if pairs_by_scene:
        read, removed = deduplication.remove_near_copies(
            read, pairs_by_scene, scene_captures.find(config)
        )
    raw, copies = deduplication.without_copies(read)
    fixed, changed = corrections.fix(raw, config.fix)
    removed += [f'Not used: {copy}.' for copy in copies]
    return Loaded(raw, fixed, removed + warnings + changed)
