"""Locates a scene's captures on disk and reads them.

N captures of a scene, H height, W width, C channels.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from n2n_jax.images.file_cache import OpenFiles
from n2n_jax.runtime.errors import UserError


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
