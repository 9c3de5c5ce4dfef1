"""Images with auxiliary planes in folders beside them: `guided:rgb,depth=depth,normal=normals`.

H height, W width, C channels, P channels of all planes, I = C + P.
"""

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from n2n_jax.data.sources.folder import FolderSource
from n2n_jax.data.sources.source import ImageSource, to_float, with_channels
from n2n_jax.models import planes
from n2n_jax.runtime.config import ModelConfig
from n2n_jax.runtime.errors import UserError, did_you_mean

_FOLDER = re.compile(rf',\s*(?=(?:{planes.NAME})=)')  # commas that a plane follows


class GuidedSource(FolderSource):
    """A folder of images, and one folder per plane with files of the same names.

    Args:
      argument: what follows 'guided:', see above.
      skip_bad: as in `FolderSource`, for the images.

    Attributes:
      planes: names of the planes.

    Raises:
      UserError: as `FolderSource`; a plane is missing for an image, or differs in size.
    """

    def __init__(self, argument: str, *, skip_bad: bool = False):
        folder, *rest = folders(argument)
        if not folder.strip() or not rest:
            raise UserError(
                f"'guided:{argument}' needs a folder of images and folders of planes: write "
                'guided:IMAGES,depth=FOLDER.'
            )
        super().__init__(Path(folder.strip()).expanduser(), skip_bad=skip_bad)
        self._of_plane: dict[str, tuple[FolderSource, list[int]]] = {}
        for part in rest:
            name, _, plane_folder = part.partition('=')
            name, plane_folder = name.strip(), plane_folder.strip()
            if not plane_folder or name in self._of_plane:
                why = 'is given twice' if plane_folder else 'has no folder'
                raise UserError(
                    f"'guided:{argument}': the plane '{name}' {why}; write {name}=FOLDER once."
                )
            plane = FolderSource(Path(plane_folder).expanduser())
            self._of_plane[name] = plane, self._matched(plane, plane_folder)
        self.planes = list(self._of_plane)

    def _matched(self, plane: FolderSource, folder: str) -> list[int]:
        """Returns the index in the folder of a plane for each image."""
        by_name: dict[str, int] = {}
        for i, name in enumerate(plane.names):
            other = by_name.setdefault(_stem(name), i)
            if other != i:
                raise UserError(
                    f'{folder} holds {plane.names[other]} and {name}: which of them is the plane '
                    'is not known, remove one.'
                )
        found = []
        for i, name in enumerate(self.names):
            at = by_name.get(_stem(name))
            if at is None:
                raise UserError(f'{folder} holds no file for the image {name}: add {_stem(name)}.*')
            (h, w), (plane_h, plane_w) = self.size(i), plane.size(at)
            if (h, w) != (plane_h, plane_w):
                raise UserError(
                    f'{plane.names[at]} in {folder} is {plane_w}x{plane_h}, its image {name} is '
                    f'{w}x{h}: planes must have the size of their image.'
                )
            found.append(at)
        return found

    def read_plane(self, i: int, name: str) -> np.ndarray:
        """Reads a plane of image i, as `read`."""
        source, indices = self._of_plane[name]
        return source.read(indices[i])


def folders(argument: str) -> list[str]:
    """Returns the folder of images, then NAME=FOLDER of each plane; folders may have commas."""
    return _FOLDER.split(argument)


def _stem(name: str) -> str:
    return PurePosixPath(name).with_suffix('').as_posix()


class Stacked(ImageSource):
    """A source whose images have their planes as further channels, (H, W, I).

    Args:
      source: the images; has the planes.
      channels: of an image; it is converted to gray or color to match.
      wanted: channels of each plane.
    """

    def __init__(self, source: ImageSource, *, channels: int, wanted: Mapping[str, int]):
        self._source, self._channels, self._wanted = source, channels, wanted
        self.names, self.planes = source.names, source.planes

    def size(self, i: int) -> tuple[int, int]:
        """Returns (H, W) of image i."""
        return self._source.size(i)

    def read(self, i: int) -> np.ndarray:
        """Reads image i with its planes; uint8 if all of them are."""
        parts = [with_channels(self._source.read(i), self._channels)]
        parts += read_planes(self._source, i, self._wanted)
        if any(part.dtype != np.uint8 for part in parts):
            parts = [to_float(part) for part in parts]
        return np.concatenate(parts, axis=-1)

    def read_plane(self, i: int, name: str) -> np.ndarray:
        """Reads a plane of image i."""
        return self._source.read_plane(i, name)


def read_planes(source: ImageSource, i: int, wanted: Mapping[str, int]) -> list[np.ndarray]:
    """Reads planes of image i, each (H, W, channels) as stored, in the order of `wanted`.

    Raises:
      UserError: a plane has another number of channels, and is neither gray nor color.
    """
    found = []
    for name, channels in wanted.items():
        plane_HWC = source.read_plane(i, name)
        if plane_HWC.shape[-1] != channels and {plane_HWC.shape[-1], channels} != {1, 3}:
            raise UserError(
                f"The plane '{name}' of {source.names[i]} has {plane_HWC.shape[-1]} channels, "
                f'model.planes says {channels}.'
            )
        found.append(with_channels(plane_HWC, channels))
    return found


def check_planes(source: ImageSource, wanted: Mapping[str, int], name: str) -> None:
    """Checks whether a source has all planes.

    Args:
      source: the images.
      wanted: channels of each plane.
      name: of the source, for messages.

    Raises:
      UserError: it lacks one.
    """
    for plane in wanted:
        if plane not in source.planes:
            hint = did_you_mean(plane, source.planes) if source.planes else 'It has none.'
            raise UserError(
                f"model.planes needs the plane '{plane}', which {name} lacks. {hint} Planes come "
                f'from a source such as guided:IMAGES,{plane}=FOLDER.'
            )


def stacked(source: ImageSource, config: ModelConfig, name: str) -> ImageSource:
    """Returns a source whose images have the planes of a config; itself if it has none.

    Args:
      source: the images.
      config: of the network.
      name: of the source, for messages.

    Raises:
      UserError: the source lacks a plane.
    """
    wanted = planes.given(config)
    if not wanted:
        return source
    check_planes(source, wanted, name)
    return Stacked(source, channels=config.channels, wanted=wanted)
