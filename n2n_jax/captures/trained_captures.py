"""Records which captures a run was trained on, and finds that out for older runs.

Paths are unreliable: they are relative; files are moved, copied, renamed and converted; and a
subset of the captures is split differently from the whole. So a run stores hashes of a few squares
of each capture in a small JSON file, see `n2n_jax.captures.recognition`.
"""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from n2n_jax.captures import hold_out, loading
from n2n_jax.captures.recognition import (
    Anchor,
    Record,
    TrainedScene,
    anchors_of,
    without_graphics,
)
from n2n_jax.models import zoo
from n2n_jax.runtime import json_files, path_list
from n2n_jax.runtime.atomic_files import write_text
from n2n_jax.runtime.checkpoint import open_for_reading
from n2n_jax.runtime.config import CapturesConfig, Config
from n2n_jax.runtime.errors import UserError

FILE = 'captures.json'  # in the folder of a run


def record(loaded: loading.Loaded, config: Config) -> list[TrainedScene]:
    """Returns the anchors of the captures that a run with this config trains on.

    Args:
      loaded: all captures of the config.
      config: config of the run, which decides what is held out.
    """
    if config.captures.single:
        trained = {scene.name: scene.captures_NHWC.shape[2] for scene in loaded.fixed}
    else:
        parts, _ = hold_out.split(loaded.fixed, config.captures.held_out, crop=config.data.crop)
        trained = {part.name: part.captures_NHWC.shape[2] for part in parts}
    scenes = []
    for raw, fixed in zip(loaded.raw, loaded.fixed, strict=True):
        columns, width = trained.get(raw.name, 0), raw.captures_NHWC.shape[2]
        if columns == fixed.captures_NHWC.shape[2]:
            columns = width
        elif columns:  # undoing shifts has cropped a border on both sides
            columns += (width - fixed.captures_NHWC.shape[2]) // 2
        anchors = tuple(anchors_of(capture) for capture in raw.captures_NHWC)
        scenes.append(TrainedScene(raw.name, columns, anchors))
    return without_graphics(scenes)


def write(run: Path, scenes: Sequence[TrainedScene], config: Config) -> None:
    """Adds scenes to the record in the folder of a run.

    Args:
      run: folder of the run.
      scenes: what it is trained on now, see `record`.
      config: config of the run.
    """
    before = _stored(run)
    if before is None:
        before = _of_initial_weights(run, config)
    scenes = [*scenes, *(scene for scene in before.scenes if scene not in scenes)]
    content = {
        'folder': os.getcwd(),  # the base of relative paths in the config
        'doubt': before.doubt,
        'scenes': [
            {
                'name': scene.name,
                'trained_columns': scene.columns,
                'captures': [
                    [[f'{a.hash:016x}', a.row, a.column, a.values] for a in anchors]
                    for anchors in scene.captures
                ],
            }
            for scene in scenes
        ],
    }
    write_text(run / FILE, json_files.dumps(content))


def changed(run: Path, scenes: Sequence[TrainedScene]) -> list[str]:
    """Returns the names of scenes that share no pixels with what the run was trained on.

    Args:
      run: folder of the run; without a record in it the result is empty.
      scenes: the scenes as they are now, see `record`.
    """
    stored: dict[str, set[int]] = {}
    before = _stored(run) or Record([])
    for scene in before.scenes:
        stored.setdefault(scene.name, set()).update(_hashes(scene))
    return [
        scene.name
        for scene in scenes
        if stored.get(scene.name) and _hashes(scene) and not stored[scene.name] & _hashes(scene)
    ]


def _hashes(scene: TrainedScene) -> set[int]:
    return {anchor.hash for anchors in scene.captures for anchor in anchors}


def of_run(run: Path, config: Config) -> Record:
    """Returns what a run was trained on: as recorded, or for older runs from its paths.

    Args:
      run: folder of the run.
      config: config of the run.

    Raises:
      UserError: the record is damaged.
    """
    return _of_run(run, config, ())


def _of_run(run: Path, config: Config, after: tuple[Path, ...]) -> Record:
    """Implements `of_run`; `after` are the runs started from it, to end a circular chain."""
    stored = _stored(run)
    if stored is not None:
        return stored
    started = _of_initial_weights(run, config, after)
    paths = config.captures.paths
    if not paths:  # trained on clean images
        return started
    try:
        found = record(loading.load(located(run, config.captures)), config)
    except UserError:
        found = []
        doubt = (
            f'It is unknown whether {run} was trained on these captures: it was made by an older '
            f'version, which stored only their paths, and {paths} is no longer there. (Relative '
            'paths start from the folder in which the run was started: run this command there.)'
        )
    else:
        doubt = (
            f'{run} was made by an older version, which stored only the paths of its captures: '
            f'this assumes that it was trained on what is in {paths} now.'
        )
    return Record([*found, *started.scenes], ' '.join(filter(None, (doubt, started.doubt))))


def _of_initial_weights(run: Path, config: Config, after: tuple[Path, ...] = ()) -> Record:
    """Returns the record of the run whose weights this one started from; empty without one."""
    after = (*after, run.absolute())
    start = Path(config.model.init_from)
    if not config.model.init_from or start.absolute() in after:
        return Record([])
    if not start.is_dir() and config.model.init_from in zoo.RECIPES:
        return Record([])  # trained on photographs with drawn noise
    unknown = (
        f'It is unknown what the weights of {start}, from which {run} started, were trained on.'
    )
    if start.is_file():  # of n2n export, which does not tell
        return Record([], unknown)
    stored = _stored(start)
    if stored is not None:
        return stored
    try:
        with open_for_reading(start) as checkpoints:
            theirs = checkpoints.config(checkpoints.newest_step)
    except UserError:
        return Record([], unknown)
    return _of_run(start, theirs, after)


def located(run: Path, captures: CapturesConfig) -> CapturesConfig:
    """Returns the captures config with absolute paths, valid in any working directory.

    Args:
      run: folder of the run.
      captures: its captures config, whose paths may be relative.
    """
    folder = _content(run).get('folder')
    if not isinstance(folder, str):
        return captures
    # Paths of older configs may have spaces at their ends, which splitting the list removes.
    given = path_list.parted(captures.paths)
    as_written = captures.paths.split(',')
    if len(as_written) == len(given):
        given = [
            Path(text) if Path(folder, text).exists() else path
            for text, path in zip(as_written, given, strict=True)
        ]
    paths = path_list.joined([Path(folder, path) for path in given])
    return dataclasses.replace(captures, paths=paths)


def _content(run: Path) -> dict[str, Any]:
    file = run / FILE
    try:
        content = json_files.loads(file.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise _damaged(file)
    return content


def _stored(run: Path) -> Record | None:
    """Returns the record in the folder of a run; None if there is none."""
    content = _content(run)
    if not content:
        return None
    try:
        scenes = [
            TrainedScene(
                str(scene['name']),
                int(scene['trained_columns']),
                tuple(
                    tuple(Anchor(int(text, 16), *map(int, rest)) for text, *rest in anchors)
                    for anchors in scene['captures']
                ),
            )
            for scene in content['scenes']
        ]
        return Record(without_graphics(scenes), str(content.get('doubt', '')))
    except (ValueError, KeyError, TypeError):
        raise _damaged(run / FILE) from None


def _damaged(file: Path) -> UserError:
    return UserError(
        f'{file} is damaged: remove it, and the captures of the run will be read again.'
    )
