"""Records which captures a run was trained on, and recognizes them by their pixels.

N captures of a scene, H height, W width, C channels.

Paths are unreliable: they are relative; files are moved, copied, renamed and converted; and a
subset of the captures is split differently from the whole. So a run stores hashes of a few squares
of each capture (anchors) in a small JSON file. A capture is recognized, even cropped, if it
contains such squares in the same relative positions.
"""

import collections
import dataclasses
import functools
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from n2n_jax.captures import corrections, hold_out
from n2n_jax.runtime import json_files, path_list
from n2n_jax.runtime.atomic_files import write_text
from n2n_jax.runtime.checkpoint import open_for_reading
from n2n_jax.runtime.config import CapturesConfig, Config
from n2n_jax.runtime.errors import UserError

FILE = 'captures.json'  # in the folder of a run
_SIDE = 8  # pixels a side of an anchor
_ANCHORS_PER_SIDE = 8
# Distinct values, beyond one per anchor, that matching anchors must have in total: chance and plain
# background have fewer.
_EVIDENCE = 12


@dataclasses.dataclass(frozen=True)
class Anchor:
    """A square of a capture.

    Attributes:
      hash: hash of its values.
      row: row of its upper left pixel.
      column: column of its upper left pixel.
      values: number of distinct values.
    """

    hash: int
    row: int
    column: int
    values: int


@dataclasses.dataclass(frozen=True)
class TrainedScene:
    """A scene of a run.

    Attributes:
      name: name of the scene.
      columns: number of columns, from the left, that were trained on; the rest was held out.
      captures: the anchors of each capture.
    """

    name: str
    columns: int
    captures: tuple[tuple[Anchor, ...], ...]


@dataclasses.dataclass(frozen=True)
class Recognized:
    """A scene that was recognized as one of a run.

    Attributes:
      name: its name in the run.
      columns: number of columns, from the left of the given captures, that contain all that was
        trained on; 0: nothing was.
    """

    name: str
    columns: int


@dataclasses.dataclass(frozen=True)
class Record:
    """The captures that a run was trained on.

    Attributes:
      scenes: those of the run, and of the run whose weights it started from.
      doubt: why the list may be incomplete, as sentences; '' if it is complete.
    """

    scenes: Sequence[TrainedScene]
    doubt: str = ''

    def recognize(self, captures_NHWC: np.ndarray) -> Recognized | None:
        """Recognizes captures of the run; returns None if there are none.

        Args:
          captures_NHWC: as read.
        """
        found = [match for capture in captures_NHWC for match in self._matches(capture)]
        return max(found, key=lambda match: match.columns, default=None)

    def _matches(self, capture_HWC: np.ndarray) -> list[Recognized]:
        hashes = _all_hashes(capture_HWC)
        if not hashes.size or not self._anchors:
            return []
        known = np.array(sorted(self._anchors), np.uint64)
        # A lookup of 16 of the 64 bits rules out most.
        likely = np.zeros(1 << 16, bool)
        likely[known & np.uint64(0xFFFF)] = True
        rows, columns = np.nonzero(likely[hashes & np.uint64(0xFFFF)])
        same = np.isin(hashes[rows, columns], known)
        evidence: collections.Counter[tuple[int, int, int, int]] = collections.Counter()
        for row, column in zip(rows[same].tolist(), columns[same].tolist(), strict=True):
            for scene, capture, anchor in self._anchors[int(hashes[row, column])]:
                offset = anchor.row - row, anchor.column - column
                evidence[(scene, capture, *offset)] += anchor.values - 1
        width = capture_HWC.shape[1]
        return [
            Recognized(
                self.scenes[scene].name,
                int(np.clip(self.scenes[scene].columns - across, 0, width))
                if self.scenes[scene].columns
                else 0,
            )
            for (scene, _, _, across), values in evidence.items()
            if values >= _EVIDENCE
        ]

    @functools.cached_property
    def _anchors(self) -> dict[int, list[tuple[int, int, Anchor]]]:
        """Scene index, capture index and anchor, by hash."""
        found: dict[int, list[tuple[int, int, Anchor]]] = {}
        for i, scene in enumerate(self.scenes):
            for j, anchors in enumerate(scene.captures):
                for anchor in anchors:
                    found.setdefault(anchor.hash, []).append((i, j, anchor))
        return found


def record(loaded: corrections.Loaded, config: Config) -> list[TrainedScene]:
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
        anchors = tuple(_anchors_of(capture) for capture in raw.captures_NHWC)
        scenes.append(TrainedScene(raw.name, columns, anchors))
    return _without_graphics(scenes)


def _without_graphics(scenes: Sequence[TrainedScene]) -> list[TrainedScene]:
    """Removes anchors that captures or scenes share: burnt-in graphics, such as a scale bar.

    Captures of one scene have independent noise, so measured pixels are not the same in all.
    """
    times: collections.Counter[int] = collections.Counter()  # number of scenes with it
    graphics: set[int] = set()
    for scene in scenes:
        hashes = [{anchor.hash for anchor in anchors} for anchors in scene.captures]
        times.update(set().union(*hashes))
        if len(hashes) > 1:
            graphics |= set.intersection(*hashes)
    graphics |= {hash for hash, number in times.items() if number > 1}

    def kept(anchors: tuple[Anchor, ...]) -> tuple[Anchor, ...]:
        rest = tuple(anchor for anchor in anchors if anchor.hash not in graphics)
        # If almost nothing remains, the whole capture is in two scenes, and is not a graphic.
        return rest if sum(anchor.values - 1 for anchor in rest) >= _EVIDENCE else anchors

    return [
        dataclasses.replace(scene, captures=tuple(kept(anchors) for anchors in scene.captures))
        for scene in scenes
    ]


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
        found = record(corrections.load(located(run, config.captures)), config)
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
    stored = _stored(start)
    if stored is not None:
        return stored
    try:
        with open_for_reading(start) as checkpoints:
            theirs = checkpoints.config(checkpoints.last_step)
    except UserError:
        return Record(
            [],
            f'It is unknown what the weights of {start}, from which {run} started, were trained '
            'on.',
        )
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
        return Record(_without_graphics(scenes), str(content.get('doubt', '')))
    except (ValueError, KeyError, TypeError):
        raise _damaged(run / FILE) from None


def _damaged(file: Path) -> UserError:
    return UserError(
        f'{file} is damaged: remove it, and the captures of the run will be read again.'
    )


def _anchors_of(capture_HWC: np.ndarray) -> tuple[Anchor, ...]:
    h, w, _ = capture_HWC.shape
    if min(h, w) < _SIDE:
        return ()
    anchors = []
    for row in _anchor_positions(h):
        for column in _anchor_positions(w):
            square = capture_HWC[row : row + _SIDE, column : column + _SIDE]
            values = len(np.unique(square))
            if values > 1:  # plain squares occur anywhere
                anchors.append(Anchor(int(_all_hashes(square)[0, 0]), row, column, values))
    return tuple(anchors)


def _anchor_positions(length: int) -> list[int]:
    """Returns where anchors start along a side: each centered in one of equal parts."""
    num = min(_ANCHORS_PER_SIDE, length // _SIDE)
    return [int((k + 0.5) * length / num) - _SIDE // 2 for k in range(num)]


def _hash_multipliers(name: str, num: int) -> np.ndarray:
    """Returns odd 64-bit numbers; records depend on them, so they must never change."""
    texts = (hashlib.sha256(f'{name} {k}'.encode()).digest()[:8] for k in range(num))
    return np.array([int.from_bytes(text, 'little') | 1 for text in texts], np.uint64)


def _all_hashes(capture_HWC: np.ndarray) -> np.ndarray:
    """Returns the hash of every square, by its upper left pixel; independent of the pixel type."""
    values = np.ascontiguousarray(capture_HWC, np.float64) + 0.0  # turns -0.0 into 0.0
    bits = values.view(np.uint64)
    bits = bits ^ (bits >> np.uint64(32))  # integers only set the upper bits of a float64
    bits = bits * np.uint64(0x9E3779B97F4A7C15)
    bits = bits ^ (bits >> np.uint64(29))
    pixels_HW = (bits * _hash_multipliers('channel', bits.shape[-1])).sum(axis=-1, dtype=np.uint64)
    h, w = (max(side - _SIDE + 1, 0) for side in pixels_HW.shape)
    across, down = _hash_multipliers('column', _SIDE), _hash_multipliers('row', _SIDE)
    rows_HW = sum(pixels_HW[:, k : k + w] * across[k] for k in range(_SIDE))
    rows_HW = rows_HW ^ (rows_HW >> np.uint64(31))
    return sum(rows_HW[k : k + h] * down[k] for k in range(_SIDE))
