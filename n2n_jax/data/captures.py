"""Which files are captures of the same scene.

N captures of a scene, H height, W width, C channels.

A capture is one noisy image of something that was imaged more than once. `find_scenes` takes what
people have:

    n2n ... a.png b.png            two files, or more: captures of one scene. Stacks of the same
                                   length: image k of each are captures of scene k
    n2n ... first/ second/         folders: files of the same name are captures of one scene
    n2n ... stack.tif              the images of a stack are captures of one scene; with
                                   --interleaved 2, images 1 and 2 are of one scene, 3 and 4 of the
                                   next
    n2n ... cells/                 a folder per scene inside; or files whose names end in a number,
                                   _a/_b, _even/_odd or _EVN/_ODD, the rest naming the scene; or
                                   one stack per scene
    n2n ... cells/ --pattern 't{capture}/{scene}.tif'
    n2n ... captures.csv           columns scene and path; or .json: {"scene": ["path", ...]}
"""

import collections
import csv
import dataclasses
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from n2n_jax import stacks
from n2n_jax.errors import UserError
from n2n_jax.natural_sort import natural_key

_CAPTURE_NAME = re.compile(
    r'(?P<scene>.*?)(?:(?:^|[ _.-])(?P<word>[a-d]|even|evn|odd)|[ _.-]*(?P<number>\d+))'
    r'(?P<rest>_vol)?',
    re.IGNORECASE,
)
_MOST_LISTED = 5

FORMS = (
    'Name the captures of a scene alike but for a number, _a/_b or _even/_odd at the end '
    '(cell1_1.tif, cell1_2.tif), put them into a folder per scene, give two folders with the same '
    "file names, or say how with --pattern '{scene}_{capture}.tif'."
)


@dataclasses.dataclass(frozen=True)
class Capture:
    """Where the pixels of a capture are.

    Attributes:
      path: the file.
      frame: which image of a stack, from 0.
    """

    path: Path
    frame: int = 0


@dataclasses.dataclass(frozen=True)
class Scene:
    """Two or more captures of one thing.

    Attributes:
      name: unique within a set.
      captures: in natural order.
    """

    name: str
    captures: tuple[Capture, ...]


def find_scenes(
    paths: Sequence[Path], *, pattern: str | None = None, interleaved: int = 0
) -> list[Scene]:
    """The scenes that the paths hold, in natural order; see the head of this file.

    Args:
      paths: files or folders.
      pattern: of the files inside the one folder, with {scene} and {capture}; * stands for
        anything but a slash.
      interleaved: how many images of a stack in a row are of one scene; 0: all.

    Raises:
      UserError: nothing there, a capture without its partner (lists those), or an arrangement that
        is not understood.
    """
    for path in paths:
        if not path.exists():
            raise UserError(f'{path}: no such file or folder.')
    if pattern is not None:
        if len(paths) != 1 or not paths[0].is_dir():
            raise UserError('--pattern goes with one folder.')
        return _by_pattern(paths[0], pattern)
    if len(paths) > 1:
        if all(path.is_dir() for path in paths):
            return _same_names(paths)
        if any(path.is_dir() for path in paths):
            raise UserError('Give either files or folders, not both.')
        return _same_places(paths)
    path = paths[0]
    if path.is_dir():
        return _in_folder(path)
    if path.suffix.lower() in ('.csv', '.json'):
        return _in_manifest(path)
    return _in_stack(path, interleaved)


def read_scene(scene: Scene) -> np.ndarray:
    """The captures of a scene, (N, H, W, C), in the type of the files.

    Raises:
      UserError: a file is not read, or captures differ in size, channels or type.
    """
    opened: dict[Path, np.ndarray] = {}
    images = []
    for capture in scene.captures:
        if capture.path not in opened:
            opened[capture.path] = stacks.read_stack(capture.path)
        images.append(opened[capture.path][capture.frame])
    first = images[0]
    for capture, image in zip(scene.captures, images, strict=True):
        if (image.shape, image.dtype) != (first.shape, first.dtype):
            raise UserError(
                f'Captures of one scene differ: {scene.captures[0].path} is {_kind(first)}, '
                f'{capture.path} is {_kind(image)}.'
            )
    return np.stack(images)


def _kind(image_HWC: np.ndarray) -> str:
    h, w, c = image_HWC.shape
    return f'{w}x{h} with {c} channel{"s" * (c > 1)} of {image_HWC.dtype}'


def _files_in(folder: Path) -> list[Path]:
    """Image and array files in a folder and below, in natural order, no hidden ones."""
    found = [
        path
        for path in folder.rglob('*')
        if path.suffix.lower() in stacks.SUFFIXES
        and path.is_file()
        and not any(part.startswith('.') for part in path.relative_to(folder).parts)
    ]
    if not found:
        raise UserError(f'{folder} holds no image: {", ".join(sorted(stacks.SUFFIXES))} are read.')
    return sorted(found, key=lambda path: _natural(path.relative_to(folder).as_posix()))


def _natural(name: str) -> tuple[list[list[str | int]], str]:
    return [natural_key(part) for part in name.split('/')], name


def _in_stack(path: Path, interleaved: int) -> list[Scene]:
    num_frames = stacks.num_images(path)
    if num_frames < 2:
        raise UserError(f'{path} holds one capture, and two of a scene are needed. {FORMS}')
    group = interleaved or num_frames
    if group < 2 or num_frames % group:
        raise UserError(
            f'{path} holds {num_frames} images, which are not groups of {group}: '
            '--interleaved must be 2 or more and divide their number.'
        )
    starts = range(0, num_frames, group)
    names = [path.stem if len(starts) == 1 else f'{path.stem}_{k + 1}' for k in range(len(starts))]
    return [
        Scene(name, tuple(Capture(path, start + i) for i in range(group)))
        for name, start in zip(names, starts, strict=True)
    ]


def _same_places(paths: Sequence[Path]) -> list[Scene]:
    if len(set(paths)) < len(paths):
        raise UserError('The same file is given twice: captures have to be different files.')
    counts = {path: stacks.num_images(path) for path in paths}
    if len(set(counts.values())) > 1:
        listed = ', '.join(f'{path} ({count})' for path, count in counts.items())
        raise UserError(f'Stacks of captures must be of one length, not: {listed}.')
    count = counts[paths[0]]
    name = paths[0].stem
    return [
        Scene(name if count == 1 else f'{name}_{k + 1}', tuple(Capture(path, k) for path in paths))
        for k in range(count)
    ]


def _same_names(folders: Sequence[Path]) -> list[Scene]:
    by_folder = []
    for folder in folders:
        files = {
            path.relative_to(folder).with_suffix('').as_posix(): path for path in _files_in(folder)
        }
        by_folder.append(files)
    names = sorted(set().union(*by_folder), key=_natural)
    for folder, files in zip(folders, by_folder, strict=True):
        missing = [name for name in names if name not in files]
        if missing:
            raise UserError(
                f'{folder} lacks {_listed(missing)}: every file needs its partner of the same '
                'name in the other folder.'
            )
    return [Scene(name, tuple(Capture(files[name]) for files in by_folder)) for name in names]


def _in_folder(folder: Path) -> list[Scene]:
    files = _files_in(folder)
    groups: dict[str, list[Capture]] = collections.defaultdict(list)
    for path in files:
        parent = path.parent.relative_to(folder).as_posix()
        if parent != '.':
            groups[parent].append(Capture(path))
    if not groups:
        return _by_ending(folder, files)
    loose = [path.name for path in files if path.parent == folder]
    if loose:
        raise UserError(
            f'{folder} holds both folders of scenes and files beside them ({_listed(loose)}): '
            'move the files away, or give one folder.'
        )
    return _scenes(groups, folder)


def _by_ending(folder: Path, files: Sequence[Path]) -> list[Scene]:
    groups: dict[str, list[Capture]] = collections.defaultdict(list)
    for path in files:
        match = _CAPTURE_NAME.fullmatch(path.stem)
        name = path.stem if match is None else match['scene'].rstrip(' _.-')
        groups[name or folder.resolve().name].append(Capture(path))
    alone = [group[0].path for group in groups.values() if len(group) == 1]
    if len(alone) == len(files):  # perhaps one stack per scene
        frames = {path: stacks.num_images(path) for path in files}
        if min(frames.values()) > 1:
            return [
                Scene(path.stem, tuple(Capture(path, k) for k in range(count)))
                for path, count in frames.items()
            ]
    return _scenes(groups, folder)


def _by_pattern(folder: Path, pattern: str) -> list[Scene]:
    if '{scene}' not in pattern or '{capture}' not in pattern:
        raise UserError(f"--pattern '{pattern}' needs {{scene}} and {{capture}} in it.")
    expression = re.escape(pattern).replace(re.escape('*'), '[^/]*')
    expression = expression.replace(re.escape('{scene}'), '(?P<scene>.+)', 1)
    expression = expression.replace(re.escape('{scene}'), '(?P=scene)')
    expression = expression.replace(re.escape('{capture}'), '(?P<capture>[^/]+?)', 1)
    expression = expression.replace(re.escape('{capture}'), '(?P=capture)')
    groups: dict[str, list[Capture]] = collections.defaultdict(list)
    for path in _files_in(folder):
        match = re.fullmatch(expression, path.relative_to(folder).as_posix())
        if match is not None:
            groups[match['scene']].append(Capture(path))
    if not groups:
        raise UserError(f"No file in {folder} is named as --pattern '{pattern}' says.")
    return _scenes(groups, folder)


def _in_manifest(path: Path) -> list[Scene]:
    groups: dict[str, list[Capture]] = collections.defaultdict(list)
    try:
        text = path.read_text(encoding='utf-8-sig')
        if path.suffix.lower() == '.csv':
            for row in csv.DictReader(text.splitlines()):
                groups[row['scene']].append(Capture(path.parent / row['path']))
        else:
            for name, files in json.loads(text).items():
                groups[name] = [Capture(path.parent / file) for file in files]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(
            f'{path} is not understood ({error!r}): a CSV file has the columns scene and path, a '
            'JSON file reads {"scene": ["path", ...], ...}.'
        ) from None
    missing = [c.path for group in groups.values() for c in group if not c.path.is_file()]
    if missing:
        raise UserError(f'{path} names files that are not there: {_listed(missing)}.')
    if not groups:
        raise UserError(f'{path} names no capture.')
    return _scenes(groups, path, sort=False)


def _scenes(
    groups: Mapping[str, Sequence[Capture]], where: Path, *, sort: bool = True
) -> list[Scene]:
    """Groups as scenes, if every capture has a partner."""
    alone = [group[0].path.name for group in groups.values() if len(group) < 2]
    if alone:
        raise UserError(
            f'{len(alone)} of {len(groups)} scenes in {where} have one capture only: '
            f'{_listed(alone)}. {FORMS}'
        )
    for name, group in groups.items():
        if len(set(group)) < len(group):
            raise UserError(f"{where} names a file of scene '{name}' twice.")
    order = sorted(groups, key=_natural) if sort else groups
    return [Scene(name, tuple(groups[name])) for name in order]


def _listed(things: Iterable[object]) -> str:
    words = [str(thing) for thing in things]
    more = len(words) - _MOST_LISTED
    return ', '.join(words[:_MOST_LISTED]) + (f' and {more} more' if more > 0 else '')
