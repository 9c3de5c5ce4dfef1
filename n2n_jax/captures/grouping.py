"""Finds captures on disk and groups them by scene.

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
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from n2n_jax import images
from n2n_jax.captures import manifests
from n2n_jax.captures.scene_files import Capture, Scene
from n2n_jax.images import stacks
from n2n_jax.images.folders import natural_order, readable_files, why_no_file
from n2n_jax.images.suffixes import either
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.name_list import listed

_log = logging.getLogger(__name__)

_CAPTURE_NAME = re.compile(
    r'(?P<scene>.*?)(?:(?:^|[ _.-])(?P<word>[a-d]|even|evn|odd)|[ _.-]*(?P<number>\d+))'
    r'(?P<rest>_vol)?',
    re.IGNORECASE,
)

FORMS = (
    'Give captures of a scene the same name, followed by a number, _a/_b or _even/_odd '
    '(cell1_1.tif, cell1_2.tif), put them into a folder per scene, give two folders with the same '
    "file names, or describe the names with --pattern '{scene}_{capture}.tif'. "
    'For scenes with a single capture, use n2n train --single.'
)


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
    if path.suffix.lower() in manifests.SUFFIXES:
        return _make_scenes(manifests.read(path), path, sort=False)
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
        lengths = ', '.join(f'{path} ({count})' for path, count in counts.items())
        raise UserError(f'Stacks of captures must have the same length, not: {lengths}.')
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
