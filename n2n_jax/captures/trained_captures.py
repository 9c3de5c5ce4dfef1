"""Which captures a run was trained on, recognized by their pixels wherever their files lie.

N captures of a scene, H height, W width, C channels, A anchors.

Paths tell little: they are relative, files are moved, copied, renamed and saved as another type,
and a subset of them is split in another way than the whole was. So a run keeps, in a small JSON
file, hashes of a few squares of each capture (anchors). A capture is recognized if it holds such
squares at the places where they were in relation to each other; whole, cut out or cut to pieces.
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

from n2n_jax.captures import corrections, scene_captures
from n2n_jax.runtime import json_files, path_list
from n2n_jax.runtime.checkpoint import open_for_reading
from n2n_jax.runtime.config import CapturesConfig, Config
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.workdir import write_text

FILE = 'captures.json'  # in the folder of a run
_SIDE = 8  # pixels a side of an anchor
_ANCHORS_A_SIDE = 8  # of a capture
# Values that anchors at one place must show in all, so that chance and plain background do not do.
_EVIDENCE = 12


@dataclasses.dataclass(frozen=True)
class Anchor:
    """A square of a capture.

    Attributes:
      hash: of its values.
      row: of its upper left pixel.
      column: likewise.
      values: how many different ones it holds.
    """

    hash: int
    row: int
    column: int
    values: int


@dataclasses.dataclass(frozen=True)
class TrainedScene:
    """A scene that a run had.

    Attributes:
      name: of the scene.
      columns: so many from the left were trained on, the rest was held out.
      captures: the anchors of each.
    """

    name: str
    columns: int
    captures: tuple[tuple[Anchor, ...], ...]


@dataclasses.dataclass(frozen=True)
class Recognized:
    """What a run had of a scene.

    Attributes:
      name: that the scene had in the run.
      columns: so many from the left of what is scored hold all that was trained on; 0: nothing was.
    """

    name: str
    columns: int


@dataclasses.dataclass(frozen=True)
class Record:
    """What a run was trained on.

    Attributes:
      scenes: of the run, and of the one whose weights it started from.
      doubt: why that may not be all, a sentence; '' if nothing speaks for that.
    """

    scenes: Sequence[TrainedScene]
    doubt: str = ''

    def recognize(self, captures_NHWC: np.ndarray) -> Recognized | None:
        """What of these captures the run had; None if it had nothing.

        Args:
          captures_NHWC: as they were read.
        """
        found = [match for capture in captures_NHWC for match in self._matches(capture)]
        return max(found, key=lambda match: match.columns, default=None)

    def _matches(self, capture_HWC: np.ndarray) -> list[Recognized]:
        hashes = _all_hashes(capture_HWC)
        if not hashes.size or not self._anchors:
            return []
        known = np.array(sorted(self._anchors), np.uint64)
        # Most are ruled out by 16 of their 64 bits.
        likely = np.zeros(1 << 16, bool)
        likely[known & np.uint64(0xFFFF)] = True
        rows, columns = np.nonzero(likely[hashes & np.uint64(0xFFFF)])
        same = np.isin(hashes[rows, columns], known)
        evidence: collections.Counter[tuple[int, int, int, int]] = collections.Counter()
        for row, column in zip(rows[same].tolist(), columns[same].tolist(), strict=True):
            for scene, capture, anchor in self._anchors[int(hashes[row, column])]:
                place = anchor.row - row, anchor.column - column
                evidence[(scene, capture, *place)] += anchor.values - 1
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
        """Scene, capture and anchor by hash."""
        found: dict[int, list[tuple[int, int, Anchor]]] = {}
        for i, scene in enumerate(self.scenes):
            for j, anchors in enumerate(scene.captures):
                for anchor in anchors:
                    found.setdefault(anchor.hash, []).append((i, j, anchor))
        return found


def record(loaded: corrections.Loaded, config: Config) -> list[TrainedScene]:
    """What a run of this config has of the captures that it reads.

    Args:
      loaded: all of them.
      config: of the run.
    """
    if config.captures.single:
        trained = {scene.name: scene.captures_NHWC.shape[2] for scene in loaded.fixed}
    else:
        parts, _ = scene_captures.split(
            loaded.fixed, config.captures.held_out, crop=config.data.crop
        )
        trained = {part.name: part.captures_NHWC.shape[2] for part in parts}
    scenes = []
    for raw, fixed in zip(loaded.raw, loaded.fixed, strict=True):
        columns, width = trained.get(raw.name, 0), raw.captures_NHWC.shape[2]
        if columns == fixed.captures_NHWC.shape[2]:
            columns = width
        elif columns:  # what was shifted has lost a border on both sides
            columns += (width - fixed.captures_NHWC.shape[2]) // 2
        anchors = tuple(_anchors_of(capture) for capture in raw.captures_NHWC)
        scenes.append(TrainedScene(raw.name, columns, anchors))
    return _without_graphics(scenes)


def _without_graphics(scenes: Sequence[TrainedScene]) -> list[TrainedScene]:
    """Without anchors that captures or scenes share: graphics burnt in, such as a scale bar.

    Captures of one scene have noise of their own, so nothing that was measured is equal in all.
    """
    times: collections.Counter[int] = collections.Counter()  # scenes that hold it
    graphics: set[int] = set()
    for scene in scenes:
        hashes = [{anchor.hash for anchor in anchors} for anchors in scene.captures]
        times.update(set().union(*hashes))
        if len(hashes) > 1:
            graphics |= set.intersection(*hashes)
    graphics |= {hash for hash, number in times.items() if number > 1}

    def of(anchors: tuple[Anchor, ...]) -> tuple[Anchor, ...]:
        left = tuple(anchor for anchor in anchors if anchor.hash not in graphics)
        # Nothing is left of a capture that is in two scenes: that is no graphic.
        return left if sum(anchor.values - 1 for anchor in left) >= _EVIDENCE else anchors

    return [
        dataclasses.replace(scene, captures=tuple(of(anchors) for anchors in scene.captures))
        for scene in scenes
    ]


def write(run: Path, scenes: Sequence[TrainedScene], config: Config) -> None:
    """Keeps in the folder of a run what it is trained on, beside what it was trained on before.

    Args:
      run: its folder.
      scenes: see `record`.
      config: of the run.
    """
    before = _kept(run)
    if before is None:
        before = _of_start(run, config)
    scenes = [*scenes, *(scene for scene in before.scenes if scene not in scenes)]
    content = {
        'folder': os.getcwd(),  # that relative paths of the config start from
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
    """The scenes of a run, by name, that hold nothing any more of what it was trained on.

    Args:
      run: its folder; one that kept nothing tells nothing.
      scenes: as they are now, see `record`.
    """
    kept: dict[str, set[int]] = {}
    before = _kept(run) or Record([])
    for scene in before.scenes:
        kept.setdefault(scene.name, set()).update(_hashes(scene))
    return [
        scene.name
        for scene in scenes
        if kept.get(scene.name) and _hashes(scene) and not kept[scene.name] & _hashes(scene)
    ]


def _hashes(scene: TrainedScene) -> set[int]:
    return {anchor.hash for anchors in scene.captures for anchor in anchors}


def of_run(run: Path, config: Config) -> Record:
    """What a run was trained on: as it is kept there; of older ones, what is read again.

    Args:
      run: its folder.
      config: of the run.

    Raises:
      UserError: the file is damaged.
    """
    return _of_run(run, config, ())


def _of_run(run: Path, config: Config, after: tuple[Path, ...]) -> Record:
    """The same, if it is not one of the runs that were started from it."""
    kept = _kept(run)
    if kept is not None:
        return kept
    started = _of_start(run, config, after)
    paths = config.captures.paths
    if not paths:  # on clean images
        return started
    try:
        found = record(corrections.load(located(run, config.captures)), config)
    except UserError:
        found = []
        doubt = (
            f'It cannot be told whether {run} was trained on these captures: it is of an older '
            f'version, which kept their paths alone, and {paths} is not there any more. (Relative '
            'paths start from where the training was started: run the command there.)'
        )
    else:
        doubt = (
            f'{run} is of an older version, which kept the paths of its captures alone: this takes '
            f'what is in {paths} now for what it was trained on.'
        )
    return Record([*found, *started.scenes], ' '.join(filter(None, (doubt, started.doubt))))


def _of_start(run: Path, config: Config, after: tuple[Path, ...] = ()) -> Record:
    """What the run was trained on whose weights this one started from; nothing without one."""
    after = (*after, run.absolute())
    start = Path(config.model.init_from)
    if not config.model.init_from or start.absolute() in after:
        return Record([])
    kept = _kept(start)
    if kept is not None:
        return kept
    try:
        with open_for_reading(start) as checkpoints:
            theirs = checkpoints.config(checkpoints.last_step)
    except UserError:
        return Record(
            [],
            f'It cannot be told what the weights of {start}, which {run} started from, were '
            'trained on.',
        )
    return _of_run(start, theirs, after)


def located(run: Path, captures: CapturesConfig) -> CapturesConfig:
    """Where the captures of a run are, whatever folder a command is run in.

    Args:
      run: its folder.
      captures: of its config, whose paths may be relative.
    """
    folder = _content(run).get('folder')
    if not isinstance(folder, str):
        return captures
    # A path of an older config may hold a space at an end, which the list of them does not keep.
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


def _kept(run: Path) -> Record | None:
    """What the file in the folder of a run says; None where no file is."""
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
        f'{file} is damaged: remove it, and the captures of the run are read again instead.'
    )


def _anchors_of(capture_HWC: np.ndarray) -> tuple[Anchor, ...]:
    h, w, _ = capture_HWC.shape
    if min(h, w) < _SIDE:
        return ()
    anchors = []
    for row in _places(h):
        for column in _places(w):
            square = capture_HWC[row : row + _SIDE, column : column + _SIDE]
            values = len(np.unique(square))
            if values > 1:  # plain ones are anywhere
                anchors.append(Anchor(int(_all_hashes(square)[0, 0]), row, column, values))
    return tuple(anchors)


def _places(length: int) -> list[int]:
    """Where anchors begin along a side: in the middle of equal parts."""
    num = min(_ANCHORS_A_SIDE, length // _SIDE)
    return [int((k + 0.5) * length / num) - _SIDE // 2 for k in range(num)]


def _constants(name: str, num: int) -> np.ndarray:
    """Odd numbers of 64 bits, the same everywhere and for ever."""
    texts = (hashlib.sha256(f'{name} {k}'.encode()).digest()[:8] for k in range(num))
    return np.array([int.from_bytes(text, 'little') | 1 for text in texts], np.uint64)


def _all_hashes(capture_HWC: np.ndarray) -> np.ndarray:
    """The hash of every square, by its upper left pixel: of the values, whatever their type."""
    values = np.ascontiguousarray(capture_HWC, np.float64) + 0.0  # no -0.0
    bits = values.view(np.uint64)
    bits = bits ^ (bits >> np.uint64(32))  # whole numbers have all their bits at the upper end
    bits = bits * np.uint64(0x9E3779B97F4A7C15)
    bits = bits ^ (bits >> np.uint64(29))
    pixels_HW = (bits * _constants('channel', bits.shape[-1])).sum(axis=-1, dtype=np.uint64)
    h, w = (max(side - _SIDE + 1, 0) for side in pixels_HW.shape)
    across, down = _constants('column', _SIDE), _constants('row', _SIDE)
    rows_HW = sum(pixels_HW[:, k : k + w] * across[k] for k in range(_SIDE))
    rows_HW = rows_HW ^ (rows_HW >> np.uint64(31))
    return sum(rows_HW[k : k + h] * down[k] for k in range(_SIDE))
