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

Files that belong together hold one image each, or are stacks of the same length, image k of each of
scene k. A file that is alone in its scene is a stack of captures.
"""

import collections
import contextlib
import csv
import dataclasses
import functools
import io
import json
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from n2n_jax import images
from n2n_jax.images import stacks
from n2n_jax.images.folders import natural_order, readable_files, why_no_file
from n2n_jax.images.open_files import OpenFiles
from n2n_jax.images.suffixes import either
from n2n_jax.runtime.errors import UserError

_log = logging.getLogger(__name__)

_CAPTURE_NAME = re.compile(
    r'(?P<scene>.*?)(?:(?:^|[ _.-])(?P<word>[a-d]|even|evn|odd)|[ _.-]*(?P<number>\d+))'
    r'(?P<rest>_vol)?',
    re.IGNORECASE,
)
_MOST_LISTED = 5

FORMS = (
    'Name the captures of a scene alike but for a number, _a/_b or _even/_odd at the end '
    '(cell1_1.tif, cell1_2.tif), put them into a folder per scene, give two folders with the same '
    "file names, or say how with --pattern '{scene}_{capture}.tif'. "
    'Unrelated images, of one capture each, can be trained on with n2n train --single.'
)


@dataclasses.dataclass(frozen=True)
class Capture:
    """Where the pixels of a capture are.

    Attributes:
      path: the file.
      frame: which image of a stack, from 0.
      channel: the one channel that is the capture; None: all of them.
    """

    path: Path
    frame: int = 0
    channel: int | None = None


@dataclasses.dataclass(frozen=True)
class Scene:
    """Two or more captures of one thing; a single one where no pairs are made of captures.

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
    _check_given(paths)
    if interleaved and (pattern is not None or len(paths) > 1 or paths[0].is_dir()):
        raise UserError('--interleaved goes with one stack.')
    if pattern is not None:
        if len(paths) != 1 or not paths[0].is_dir():
            raise UserError('--pattern goes with one folder.')
        return _by_pattern(paths[0], pattern)
    if len(paths) > 1:
        if all(path.is_dir() for path in paths):
            return _same_names(paths)
        if any(path.is_dir() for path in paths):
            raise UserError('Give either files or folders, not both.')
        if len(set(paths)) < len(paths):
            raise UserError('The same file is given twice: captures have to be different files.')
        return _side_by_side(paths[0].stem, paths)
    path = paths[0]
    if path.is_dir():
        return _in_folder(path)
    if path.suffix.lower() in ('.csv', '.json'):
        return _in_manifest(path)
    return _in_stack(path, interleaved)


def find_images(paths: Sequence[Path]) -> list[Scene]:
    """Every image of every file by itself: scenes of one capture each, in natural order.

    Args:
      paths: files, stacks, folders.

    Raises:
      UserError: nothing there, or no image.
    """
    _check_given(paths)
    scenes = []
    for given in paths:
        if not given.is_dir() and given.suffix.lower() not in stacks.SUFFIXES:
            raise UserError(f'{given} is not an image: {either(images.SUFFIXES)} files are read.')
        for path in _files_in(given) if given.is_dir() else [given]:
            count = stacks.open_stack(path).num_images
            scenes += [
                Scene(path.name if count == 1 else f'{path.name} {k + 1}', (Capture(path, k),))
                for k in range(count)
            ]
    return scenes


def _check_given(paths: Iterable[Path]) -> None:
    for path in paths:
        if not path.exists():
            raise UserError(f'{path}: no such file or folder.')
        if not path.is_dir() and (why := why_no_file(path)):
            raise UserError(f'{path} cannot be read: {why}.')


def read_scenes(scenes: Iterable[Scene]) -> Iterator[np.ndarray]:
    """The captures of one scene after the other, (N, H, W, C), in the type of the files.

    Raises:
      UserError: a file is not read, or captures differ in size, channels or type.
    """
    with OpenFiles() as files:
        for scene in scenes:
            places = [(capture.path, capture.frame) for capture in scene.captures]
            yield _one_kind(scene, files.read(places))


def read_scene(scene: Scene) -> np.ndarray:
    """The captures of one scene; see `read_scenes`."""
    with contextlib.closing(read_scenes([scene])) as found:
        return next(found)


def _one_kind(scene: Scene, images: Sequence[np.ndarray]) -> np.ndarray:
    images = [
        image if capture.channel is None else image[..., capture.channel : capture.channel + 1]
        for capture, image in zip(scene.captures, images, strict=True)
    ]
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
    found = readable_files(folder, stacks.SUFFIXES)
    if not found:
        raise UserError(f'{folder} holds no image: {either(images.SUFFIXES)} files are read.')
    return found


def _frames(path: Path) -> list[Capture]:
    """The captures of a file that holds all there are of a scene.

    A file of one image that has its channels on pages of their own is a stack, as some programs
    write none but the channel axis. Alone it would be of no use anyway.
    """
    stack = stacks.open_stack(path)
    if stack.num_images == 1 and stack.num_planes > 1:
        _log.info('%s: its %d channels are taken for captures.', path, stack.num_planes)
        return [Capture(path, 0, channel) for channel in range(stack.num_planes)]
    return [Capture(path, k) for k in range(stack.num_images)]


def _in_stack(path: Path, interleaved: int) -> list[Scene]:
    captures = _frames(path)
    num_frames = len(captures)
    if num_frames < 2:
        stack = stacks.open_stack(path)
        channels = stack.read([0]).shape[-1]
        seen = f' (it was read as one image of {channels} channels)' if channels > 1 else ''
        raise UserError(
            f'{path} holds one capture{seen}, and two of a scene are needed.{stack.doubt} {FORMS}'
        )
    group = interleaved or num_frames
    if group < 2 or num_frames % group:
        raise UserError(
            f'{path} holds {num_frames} images, which are not groups of {group}: '
            '--interleaved must be 2 or more and divide their number.'
        )
    starts = range(0, num_frames, group)
    names = [path.stem if len(starts) == 1 else f'{path.stem}_{k + 1}' for k in range(len(starts))]
    return [
        Scene(name, tuple(captures[start : start + group]))
        for name, start in zip(names, starts, strict=True)
    ]


def _side_by_side(name: str, paths: Sequence[Path]) -> list[Scene]:
    """Files of one scene; of stacks, image k of each is a capture of scene k."""
    counts = {path: stacks.open_stack(path).num_images for path in paths}
    if len(set(counts.values())) > 1:
        listed = ', '.join(f'{path} ({count})' for path, count in counts.items())
        raise UserError(f'Stacks of captures must be of one length, not: {listed}.')
    count = counts[paths[0]]
    return [
        Scene(name if count == 1 else f'{name}_{k + 1}', tuple(Capture(path, k) for path in paths))
        for k in range(count)
    ]


def _same_names(folders: Sequence[Path]) -> list[Scene]:
    by_folder = []
    for folder in folders:
        files: dict[str, Path] = {}
        for path in _files_in(folder):
            name = path.relative_to(folder).with_suffix('').as_posix()
            if name in files:
                raise UserError(f'{files[name]} and {path} have the same name: move one away.')
            files[name] = path
        by_folder.append(files)
    names = sorted(set().union(*by_folder), key=natural_order)
    lacking = []
    for folder, files in zip(folders, by_folder, strict=True):
        missing = [name for name in names if name not in files]
        if missing:
            lacking.append(f'{folder} lacks {listed(missing)}')
    if lacking:
        raise UserError(
            f'{"; ".join(lacking)}: every file needs its partner of the same name in the other '
            'folder.'
        )
    return _scenes({name: [files[name] for files in by_folder] for name in names}, folders[0])


def _in_folder(folder: Path) -> list[Scene]:
    files = _files_in(folder)
    groups: dict[str, list[Path]] = collections.defaultdict(list)
    for path in files:
        parent = path.parent.relative_to(folder).as_posix()
        if parent != '.':
            groups[parent].append(path)
    if not groups:
        return _by_ending(folder, files)
    loose = [path.name for path in files if path.parent == folder]
    if loose:
        raise UserError(
            f'{folder} holds both folders of scenes and files beside them ({listed(loose)}): '
            'move the files away, or give one folder.'
        )
    return _scenes(groups, folder)


def _by_ending(folder: Path, files: Sequence[Path]) -> list[Scene]:
    groups: dict[str, list[Path]] = collections.defaultdict(list)
    for path in files:
        match = _CAPTURE_NAME.fullmatch(path.stem)
        name = path.stem if match is None else match['scene'].rstrip(' _.-')
        groups[name or folder.resolve().name].append(path)
    for group in groups.values():
        numbered = len(group) > 1 and group[0].stem[-1].isdigit()
        if numbered and stacks.open_stack(group[0]).num_images > 1:
            raise UserError(
                f"{listed(group)} are stacks. If each is of one scene, write --pattern '{{scene}}"
                f"{group[0].suffix}'; if image k of each is of one scene, give the files "
                'themselves in place of the folder.'
            )
    return _scenes(groups, folder)


def _by_pattern(folder: Path, pattern: str) -> list[Scene]:
    if '{scene}' not in pattern:
        raise UserError(
            f"--pattern '{pattern}' needs {{scene}} in it, and {{capture}} unless the files are "
            'stacks.'
        )
    expression = re.escape(pattern).replace(re.escape('*'), '[^/]*')
    expression = expression.replace(re.escape('{scene}'), '(?P<scene>.+)', 1)
    expression = expression.replace(re.escape('{scene}'), '(?P=scene)')
    expression = expression.replace(re.escape('{capture}'), '(?P<capture>[^/]+?)', 1)
    expression = expression.replace(re.escape('{capture}'), '(?P=capture)')
    groups: dict[str, list[Path]] = collections.defaultdict(list)
    for path in _files_in(folder):
        match = re.fullmatch(expression, path.relative_to(folder).as_posix())
        if match is not None:
            groups[match['scene']].append(path)
    if not groups:
        raise UserError(f"No file in {folder} is named as --pattern '{pattern}' says.")
    return _scenes(groups, folder)


def _in_manifest(path: Path) -> list[Scene]:
    try:
        text = path.read_text(encoding='utf-8-sig')
    except UnicodeDecodeError:
        raise UserError(f'{path} is not text in UTF-8: save it as UTF-8.') from None
    listing = _in_csv(path, text) if path.suffix.lower() == '.csv' else _in_json(path, text)
    for name in listing:
        _check_name(path, name)
    groups = {name: [path.parent / file for file in files] for name, files in listing.items()}
    missing = [file for group in groups.values() for file in group if not os.path.isfile(file)]
    if missing:
        raise UserError(f'{path} names files that are not there: {listed(missing)}.')
    if not groups:
        raise UserError(f'{path} names no capture.')
    return _scenes(groups, path, sort=False)


def _check_name(manifest: Path, name: str) -> None:
    """Outputs are named after scenes, so a name must be one of a file, or of one in a folder.

    Raises:
      UserError: it is not.
    """
    path = PurePath(name)
    if path.anchor or '..' in path.parts:
        why = 'it leads out of the folder of the outputs'
    elif not path.name:
        why = 'it is empty'
    elif '\0' in name:
        why = 'it holds a zero byte'
    elif any(0xD800 <= ord(letter) < 0xE000 for letter in name):
        why = 'it holds half of a character'
    else:
        return
    raise UserError(f'{manifest}: {name!r} cannot be the name of a scene: {why}.')


def _in_csv(path: Path, text: str) -> dict[str, list[str]]:
    rows = csv.DictReader(io.StringIO(text, newline=''))
    groups: dict[str, list[str]] = collections.defaultdict(list)
    try:
        if not {'scene', 'path'} <= set(rows.fieldnames or ()):
            raise UserError(
                f'{path} is not understood: its first line must be scene,path (with a comma), and '
                'every other line name a scene and a file.'
            )
        for row in rows:
            if not (row['scene'] and row['path']):
                raise UserError(f'{path}, line {rows.line_num}: the scene or the path is missing.')
            groups[row['scene']].append(row['path'])
    except csv.Error as error:
        raise UserError(f'{path}, line {rows.line_num + 1}: this is not CSV ({error}).') from None
    return groups


def _in_json(path: Path, text: str) -> dict[str, list[str]]:
    try:
        content = json.loads(text, object_pairs_hook=functools.partial(_each_once, path))
    except UserError:
        raise
    except (ValueError, RecursionError) as error:
        raise UserError(f'{path} is not a JSON file ({error}).') from None
    if not isinstance(content, dict) or not all(
        isinstance(files, list) and all(isinstance(file, str) for file in files)
        for files in content.values()
    ):
        raise UserError(
            f'{path} is not understood: it must read {{"scene": ["path", ...], ...}}, with a list '
            'of paths for every scene.'
        )
    return content


def _each_once(path: Path, pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """JSON would keep the last of equal names, and lose the captures of the others unsaid."""
    counts = collections.Counter(name for name, _ in pairs)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise UserError(f'{path} names scenes twice: {listed(twice)}. Put their paths together.')
    return dict(pairs)


def _scenes(groups: Mapping[str, Sequence[Path]], where: Path, *, sort: bool = True) -> list[Scene]:
    """Groups of files as scenes, if every capture has a partner. One file can be a stack."""
    scenes, alone, doubt = [], [], ''
    for name in sorted(groups, key=natural_order) if sort else groups:
        files = groups[name]
        if len(set(files)) < len(files):
            raise UserError(f"{where} names a file of scene '{name}' twice.")
        if len(files) > 1:
            scenes += _side_by_side(name, files)
        elif len(captures := _frames(files[0])) > 1:
            scenes.append(Scene(name, tuple(captures)))
        else:
            alone.append(files[0].name)
            doubt = stacks.open_stack(files[0]).doubt
    if alone:
        raise UserError(
            f'{len(alone)} of {len(groups)} scenes in {where} have one capture only: '
            f'{listed(alone)}.{doubt} {FORMS}'
        )
    return scenes


def listed(things: Iterable[object]) -> str:
    """The first few, and how many more."""
    words = [str(thing) for thing in things]
    more = len(words) - _MOST_LISTED
    return ', '.join(words[:_MOST_LISTED]) + (f' and {more} more' if more > 0 else '')
