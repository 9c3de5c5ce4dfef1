"""Sources of clean images, named by spec strings; commas separate several:

  dead_leaves[:NUMBER]     synthetic images, generated once and cached; no download
  photos                   the photographs in the scikit-image package; no download
  folder:PATH              a folder of images, searched recursively
  guided:PATH,NAME=PATH    a folder of images and a folder of files of the same names for each plane
  tfds:NAME/SPLIT          a TensorFlow Datasets data set, such as tfds:bsds500/train+test

To add a source, write a module and add it to `REGISTRY`.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from n2n_jax.data.sources import dead_leaves, folder, guided, photos, tfds_source
from n2n_jax.data.sources.source import ArraySource, Concatenated, ImageSource
from n2n_jax.runtime.errors import UserError, did_you_mean
from n2n_jax.runtime.progress import ProgressLine
from n2n_jax.runtime.registry import Registry

_DEFAULT_DEAD_LEAVES = 400


def _dead_leaves(argument: str, skip_bad: bool) -> ImageSource:
    del skip_bad
    if argument and not (argument.isdigit() and int(argument) > 0):
        raise UserError(
            f"'dead_leaves:{argument}' needs a number of images, such as dead_leaves:400."
        )
    num_images = int(argument or _DEFAULT_DEAD_LEAVES)
    with ProgressLine('dead leaves', num_images) as progress:
        images = dead_leaves.dead_leaves(num_images, progress=lambda done, _: progress.update(done))
    return ArraySource({f'dead_leaves/{i}': image for i, image in enumerate(images)})


def _photos(argument: str, skip_bad: bool) -> ImageSource:
    del skip_bad
    if argument:
        raise UserError(f"'photos' takes no argument, not '{argument}'.")
    return ArraySource(photos.photos())


def _folder(argument: str, skip_bad: bool) -> ImageSource:
    if not argument:
        raise UserError("'folder' needs a path: write folder:PATH.")
    return folder.FolderSource(Path(argument).expanduser(), skip_bad=skip_bad)


def _guided(argument: str, skip_bad: bool) -> ImageSource:
    return guided.GuidedSource(argument, skip_bad=skip_bad)


def _tfds(argument: str, skip_bad: bool) -> ImageSource:
    del skip_bad  # TFDS stores only images that it could decode
    return tfds_source.TfdsImages(argument)


REGISTRY: Registry[Callable[[str, bool], ImageSource]] = Registry(
    'image source',
    {
        'dead_leaves': _dead_leaves,
        'photos': _photos,
        'folder': _folder,
        'guided': _guided,
        'tfds': _tfds,
    },
    takes='a function of the text after the colon and of whether to skip bad files',
)

# Names contain no colon, so an equals sign after a colon is part of a path.
_NAMED = re.compile(r'(?:([\w.-]+)(?:\*(\d+))?=)?(.*)', re.DOTALL)


class NamedSet(NamedTuple):
    """A set of clean images to evaluate on.

    Attributes:
      source: its images.
      replicas: number of noisy versions of each image; 0 if the spec leaves that open.
    """

    source: ImageSource
    replicas: int


def open_source(spec: str, *, skip_bad: bool = False) -> ImageSource:
    """Opens all sources of a spec string as one.

    Args:
      spec: sources separated by commas, see the head of this file.
      skip_bad: skip files that cannot be decoded, with a warning, instead of raising an error.

    Raises:
      UserError: a source is unknown or cannot be opened.
    """
    sources = [_open_one(part, skip_bad) for part in parted(spec)]
    return sources[0] if len(sources) == 1 else Concatenated(sources)


def open_named_sets(spec: str, *, skip_bad: bool = False) -> dict[str, NamedSet]:
    """Opens the sources of a spec string by name.

    Args:
      spec: sources separated by commas. NAME=SOURCE names one, NAME*N=SOURCE asks for N noisy
        versions of each image, too; the default is the name of the folder or data set, or the kind
        of the source.
      skip_bad: skip files that cannot be decoded, with a warning, instead of raising an error.

    Raises:
      UserError: a source is unknown or cannot be opened, or a name is used twice.
    """
    sets: dict[str, NamedSet] = {}
    for part in parted(spec):
        match = _NAMED.fullmatch(part)
        assert match is not None  # it matches any text
        _, replicas, source = match.groups()
        if replicas is not None and int(replicas) < 1:
            raise UserError(f"'{part}' asks for {replicas} noisy versions: write at least 1.")
        name = name_of(part)
        if name in sets:
            raise UserError(f"Two image sets are called '{name}': name them with NAME=SOURCE.")
        sets[name] = NamedSet(_open_one(source, skip_bad), int(replicas or 0))
    return sets


def name_of(part: str) -> str:
    """Returns the name of the set that one part of a spec string describes."""
    match = _NAMED.fullmatch(part)
    assert match is not None  # it matches any text
    name, _, source = match.groups()
    if name is not None:
        return str(name)
    kind, _, argument = source.partition(':')
    folder = guided.folders(argument)[0] if kind == 'guided' else argument
    return argument.split('/')[0] if kind == 'tfds' else Path(folder).name or kind


def parted(spec: str) -> list[str]:
    """Splits a spec string into its sources."""
    # A comma separates sources only if another source follows it: paths may contain commas.
    names = '|'.join(map(re.escape, REGISTRY))
    parts = re.split(rf',(?=\s*(?:[\w.-]+(?:\*\d+)?=)?(?:{names})(?:[:,\s]|$))', spec)
    return [part.strip() for part in parts]


def _open_one(spec: str, skip_bad: bool) -> ImageSource:
    name, _, argument = spec.partition(':')
    if name not in REGISTRY:
        is_path = spec and Path(spec).exists()
        hint = f"For a folder, write 'folder:{spec}'." if is_path else ''
        raise UserError(f"Unknown image source '{spec}'. {hint or did_you_mean(name, REGISTRY)}")
    return REGISTRY[name](argument, skip_bad)
