"""Recognizes captures by their pixels.

N captures of a scene, H height, W width, C channels.

Of each capture the hashes of a few squares (anchors) are kept. A capture is recognized, even
cropped, if it contains such squares in the same relative positions.
"""

import collections
import dataclasses
import functools
import hashlib
from collections.abc import Sequence

import numpy as np

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


def without_graphics(scenes: Sequence[TrainedScene]) -> list[TrainedScene]:
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


def anchors_of(capture_HWC: np.ndarray) -> tuple[Anchor, ...]:
    """Returns the anchors of a capture as read, spread over it; plain squares are left out."""
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
