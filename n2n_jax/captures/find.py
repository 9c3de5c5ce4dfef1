"""Finds captures on disk and groups them by scene.

N captures of a scene, H height, W width, C channels.

A capture is one noisy image of a scene that was imaged more than once. `find_scenes` accepts:

    n2n ... a.png b.png            two files, or more: captures of one scene. Stacks of the same
                                   length: image k of each are captures of scene k
    n2n ... first/ second/         folders: files of the same name are captures of one scene
    n2n ... stack.tif              the images of a stack are captures of one scene; with
                                   --interleaved 2, images 1 and 2 are of one scene, 3 and 4 of the
                                   next
    n2n ... cells/                 a subfolder per scene; or files named after the scene, followed
                                   by a number, _a/_b, _even/_odd or _EVN/_ODD; or one stack per
                                   scene
    n2n ... cells/ --pattern 't{capture}/{scene}.tif'
    n2n ... captures.csv           columns scene and path; or .json: {"scene": ["path", ...]}

Grouped files hold one image each, or are stacks of the same length, where image k of each is a
capture of scene k. The only file of a scene must be a stack of captures.
"""

import collections
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
    'Give captures of a scene the same name, followed by a number, _a/_b or _even/_odd '
    '(cell1_1.tif, cell1_2.tif), put them into a folder per scene, give two folders with the same '
    "file names, or describe the names with --pattern '{scene}_{capture}.tif'. "
    'For scenes with a single capture, use n2n train --single.'
)


@dataclasses.dataclass(frozen=True)
class Capture:
    """Location of a capture.

    Attributes:
      path: its file.
      frame: index of the image in the file.
      channel: the channel that is the capture; None: all channels.
    """

    path: Path
    frame: int = 0
    channel: int | None = None


@dataclasses.dataclass(frozen=True)
class Scene:
    """The captures of one scene: two or more, or one for training on single images.

    Attributes:
      name: unique in a set of scenes; outputs are named after it.
      captures: in natural order.
    """

    name: str
    captures: tuple[Capture, ...]


def find_scenes(
    paths: Sequence[Path], *, pattern: str | None = None, interleaved: int = 0
) -> list[Scene]:
    """Groups the captures in files or folders by scene, in natural order; see the module docstring.

    Args:
      paths: files or folders.
      pattern: names of files in the given folder, with {scene} and {capture}; * matches anything
        but a slash.
      interleaved: how many consecutive images of a stack form a scene; 0: all.

    Raises:
      UserError: nothing is there, captures lack a partner (they are listed), or the arrangement is
        not supported.
    """
    _check_given(paths)
    if interleaved and (pattern is not None or len(paths) > 1 or paths[0].is_dir()):
        raise UserError('--interleaved needs exactly one stack.')
    if pattern is not None:
        if len(paths) != 1 or not paths[0].is_dir():
            raise UserError('--pattern needs exactly one folder.')
        return _scenes_by_pattern(paths[0], pattern)
    if len(paths) > 1:
        if all(path.is_dir() for path in paths):
            return _scenes_across_folders(paths)
        if any(path.is_dir() for path in paths):
            raise UserError('Give either files or folders, not both.')
        if len(set(paths)) < len(paths):
            raise UserError('A file is given twice: captures must be different files.')
        return _scenes_across_files(paths[0].stem, paths)
    path = paths[0]
    if path.is_dir():
        return _scenes_in_folder(path)
    if path.suffix.lower() in ('.csv', '.json'):
        return _scenes_of_manifest(path)
    return _scenes_of_stack(path, interleaved)


def find_single_images(paths: Sequence[Path]) -> list[Scene]:
    """Makes a scene with one capture of every image in every file, in natural order.

    Args:
      paths: files, stacks or folders.

    Raises:
      UserError: nothing is there, or no image.
    """
    _check_given(paths)
    scenes = []
    for given in paths:
        if not given.is_dir() and given.suffix.lower() not in stacks.SUFFIXES:
            raise UserError(f'{given} is not an image: use {either(images.SUFFIXES)} files.')
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
    """Yields the captures of each scene, (N, H, W, C), in the type of the files.

    Raises:
      UserError: a file cannot be read, or captures differ in size, channels or type.
    """
    with OpenFiles() as files:
        for scene in scenes:
            locations = [(capture.path, capture.frame) for capture in scene.captures]
            yield _stack_captures(scene, files.read(locations))


def read_scene(scene: Scene) -> np.ndarray:
    """Reads the captures of one scene; see `read_scenes`."""
    (captures_NHWC,) = read_scenes([scene])
    return captures_NHWC


def _stack_captures(scene: Scene, images: Sequence[np.ndarray]) -> np.ndarray:
    images = [
        image if capture.channel is None else image[..., capture.channel : capture.channel + 1]
        for capture, image in zip(scene.captures, images, strict=True)
    ]
    first = images[0]
    for capture, image in zip(scene.captures, images, strict=True):
        if (image.shape, image.dtype) != (first.shape, first.dtype):
            raise UserError(
                f'Captures of one scene differ: {scene.captures[0].path} is {_describe(first)}, '
                f'{capture.path} is {_describe(image)}.'
            )
    return np.stack(images)


def _describe(image_HWC: np.ndarray) -> str:
    h, w, c = image_HWC.shape
    return f'{w}x{h} with {c} channel{"s" * (c > 1)} of {image_HWC.dtype}'


def _files_in(folder: Path) -> list[Path]:
    """Returns image and array files in a folder and its subfolders, in natural order."""
    found = readable_files(folder, stacks.SUFFIXES)
    if not found:
        raise UserError(f'{folder} contains no image: looked for {either(images.SUFFIXES)} files.')
    return found


def _captures_of_stack(path: Path) -> list[Capture]:
    """Returns the captures in the only file of a scene.

    If it holds a single image with one page per channel, the channels are the captures: some
    programs write stacks along the channel axis, and one capture would be useless anyway.
    """
    stack = stacks.open_stack(path)
    if stack.num_images == 1 and stack.num_planes > 1:
        _log.info('%s: taking its %d channels as captures.', path, stack.num_planes)
        return [Capture(path, 0, channel) for channel in range(stack.num_planes)]
    return [Capture(path, k) for k in range(stack.num_images)]


def _scenes_of_stack(path: Path, interleaved: int) -> list[Scene]:
    captures = _captures_of_stack(path)
    num_frames = len(captures)
    if num_frames < 2:
        stack = stacks.open_stack(path)
        channels = stack.read([0]).shape[-1]
        seen = f' (it was read as one image of {channels} channels)' if channels > 1 else ''
        raise UserError(
            f'{path} holds one capture{seen}, but two of a scene are needed.{stack.doubt} {FORMS}'
        )
    group = interleaved or num_frames
    if group < 2 or num_frames % group:
        raise UserError(
            f'{path} holds {num_frames} images, which cannot be divided into groups of {group}: '
            '--interleaved must be 2 or more and divide their number.'
        )
    starts = range(0, num_frames, group)
    names = [path.stem if len(starts) == 1 else f'{path.stem}_{k + 1}' for k in range(len(starts))]
    return [
        Scene(name, tuple(captures[start : start + group]))
        for name, start in zip(names, starts, strict=True)
    ]


def _scenes_across_files(name: str, paths: Sequence[Path]) -> list[Scene]:
    """Makes a scene of several files; for stacks, image k of each is a capture of scene k."""
    counts = {path: stacks.open_stack(path).num_images for path in paths}
    if len(set(counts.values())) > 1:
        listed = ', '.join(f'{path} ({count})' for path, count in counts.items())
        raise UserError(f'Stacks of captures must have the same length, not: {listed}.')
    count = counts[paths[0]]
    return [
        Scene(name if count == 1 else f'{name}_{k + 1}', tuple(Capture(path, k) for path in paths))
        for k in range(count)
    ]


def _scenes_across_folders(folders: Sequence[Path]) -> list[Scene]:
    """Makes a scene of the files of the same name in all folders."""
    by_folder = []
    for folder in folders:
        files: dict[str, Path] = {}
        for path in _files_in(folder):
            name = path.relative_to(folder).with_suffix('').as_posix()
            if name in files:
                raise UserError(f'{files[name]} and {path} have the same name: move one elsewhere.')
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
            f'{"; ".join(lacking)}: every file needs a partner of the same name in the other '
            'folder.'
        )
    return _make_scenes({name: [files[name] for files in by_folder] for name in names}, folders[0])


def _scenes_in_folder(folder: Path) -> list[Scene]:
    """Makes a scene of each subfolder, or if there are none, by the names of the files."""
    files = _files_in(folder)
    groups: dict[str, list[Path]] = collections.defaultdict(list)
    for path in files:
        parent = path.parent.relative_to(folder).as_posix()
        if parent != '.':
            groups[parent].append(path)
    if not groups:
        return _scenes_by_name(folder, files)
    loose = [path.name for path in files if path.parent == folder]
    if loose:
        raise UserError(
            f'{folder} contains both folders of scenes and other images ({listed(loose)}): '
            'move these images elsewhere, or give one of the folders.'
        )
    return _make_scenes(groups, folder)


def _scenes_by_name(folder: Path, files: Sequence[Path]) -> list[Scene]:
    """Makes scenes of files whose names differ only in their ending."""
    groups: dict[str, list[Path]] = collections.defaultdict(list)
    for path in files:
        match = _CAPTURE_NAME.fullmatch(path.stem)
        name = path.stem if match is None else match['scene'].rstrip(' _.-')
        groups[name or folder.resolve().name].append(path)
    for group in groups.values():
        numbered = len(group) > 1 and group[0].stem[-1].isdigit()
        if numbered and stacks.open_stack(group[0]).num_images > 1:
            raise UserError(
                f"{listed(group)} are stacks. If each holds one scene, use --pattern '{{scene}}"
                f"{group[0].suffix}'; if image k of all belongs to one scene, give the files "
                'themselves instead of the folder.'
            )
    return _make_scenes(groups, folder)


def _scenes_by_pattern(folder: Path, pattern: str) -> list[Scene]:
    if '{scene}' not in pattern:
        raise UserError(
            f"--pattern '{pattern}' must contain {{scene}}, and {{capture}} unless the files are "
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
        raise UserError(f"No file in {folder} matches --pattern '{pattern}'.")
    return _make_scenes(groups, folder)


def _scenes_of_manifest(path: Path) -> list[Scene]:
    try:
        text = path.read_text(encoding='utf-8-sig')
    except UnicodeDecodeError:
        raise UserError(f'{path} is not UTF-8 text: save it as UTF-8.') from None
    listing = _parse_csv(path, text) if path.suffix.lower() == '.csv' else _parse_json(path, text)
    for name in listing:
        _check_name(path, name)
    groups = {name: [path.parent / file for file in files] for name, files in listing.items()}
    missing = [file for group in groups.values() for file in group if not os.path.isfile(file)]
    if missing:
        raise UserError(f'{path} lists files that do not exist: {listed(missing)}.')
    if not groups:
        raise UserError(f'{path} lists no captures.')
    return _make_scenes(groups, path, sort=False)


def _check_name(manifest: Path, name: str) -> None:
    """Checks that a scene name is a valid relative path, as outputs are named after scenes.

    Raises:
      UserError: it is not.
    """
    path = PurePath(name)
    if path.anchor or '..' in path.parts:
        why = 'it points outside the output folder'
    elif not path.name:
        why = 'it is empty'
    elif '\0' in name:
        why = 'it contains a null byte'
    elif any(0xD800 <= ord(letter) < 0xE000 for letter in name):
        why = 'it contains half of a character (a lone surrogate)'
    else:
        return
    raise UserError(f'{manifest}: {name!r} is not a valid scene name: {why}.')


def _parse_csv(path: Path, text: str) -> dict[str, list[str]]:
    rows = csv.DictReader(io.StringIO(text, newline=''))
    groups: dict[str, list[str]] = collections.defaultdict(list)
    try:
        if not {'scene', 'path'} <= set(rows.fieldnames or ()):
            raise UserError(
                f'{path} cannot be parsed: its first line must be scene,path (with a comma), and '
                'every other line must give a scene and a file.'
            )
        for row in rows:
            if not (row['scene'] and row['path']):
                raise UserError(f'{path}, line {rows.line_num}: scene or path is missing.')
            groups[row['scene']].append(row['path'])
    except csv.Error as error:
        raise UserError(f'{path}, line {rows.line_num + 1}: not valid CSV ({error}).') from None
    return groups


def _parse_json(path: Path, text: str) -> dict[str, list[str]]:
    try:
        content = json.loads(text, object_pairs_hook=functools.partial(_unique_names, path))
    except UserError:
        raise
    except (ValueError, RecursionError) as error:
        raise UserError(f'{path} is not valid JSON ({error}).') from None
    if not isinstance(content, dict) or not all(
        isinstance(files, list) and all(isinstance(file, str) for file in files)
        for files in content.values()
    ):
        raise UserError(
            f'{path} has the wrong structure: it must be {{"scene": ["path", ...], ...}}, with a '
            'list of paths for every scene.'
        )
    return content


def _unique_names(path: Path, pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Refuses duplicate names, of which the JSON parser would silently keep the last."""
    counts = collections.Counter(name for name, _ in pairs)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise UserError(f'{path} lists scenes twice: {listed(twice)}. Merge their paths.')
    return dict(pairs)


def _make_scenes(
    groups: Mapping[str, Sequence[Path]], where: Path, *, sort: bool = True
) -> list[Scene]:
    """Makes scenes of groups of files; a group of one file must be a stack.

    Raises:
      UserError: a scene has a single capture, or a file is listed twice.
    """
    scenes, alone, doubt = [], [], ''
    for name in sorted(groups, key=natural_order) if sort else groups:
        files = groups[name]
        if len(set(files)) < len(files):
            raise UserError(f"{where} lists a file of scene '{name}' twice.")
        if len(files) > 1:
            scenes += _scenes_across_files(name, files)
        elif len(captures := _captures_of_stack(files[0])) > 1:
            scenes.append(Scene(name, tuple(captures)))
        else:
            alone.append(files[0].name)
            doubt = stacks.open_stack(files[0]).doubt
    if alone:
        raise UserError(
            f'{len(alone)} of {len(groups)} scenes in {where} have only one capture: '
            f'{listed(alone)}.{doubt} {FORMS}'
        )
    return scenes


def listed(things: Iterable[object]) -> str:
    """Joins the first few names, and counts the others: 'a, b, c, d, e and 3 more'."""
    names = [str(thing) for thing in things]
    more = len(names) - _MOST_LISTED
    return ', '.join(names[:_MOST_LISTED]) + (f' and {more} more' if more > 0 else '')
