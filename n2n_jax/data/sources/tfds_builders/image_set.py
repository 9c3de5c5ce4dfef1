"""Base class of the builders: finds, counts and stores images as RGB PNG with an id.

Preparing a data set needs TensorFlow, because TFDS writes with it; reading it (tfds_source.py) does
not. H height, W width, C channels.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from n2n_jax.runtime.errors import UserError

_SUFFIXES = {'.bmp', '.jpeg', '.jpg', '.png', '.ppm', '.tif', '.tiff'}

# Pairs of an image's id and its file.
ImageFiles = list[tuple[str, Path]]


class ImageSet(
    tfds.core.GeneratorBasedBuilder,
    skip_registration=True,  # type: ignore[call-arg] # TFDS has no types
):
    """A small, fixed set of images, read from a local folder or downloaded.

    The default methods suit a set with one split, 'test', and one URL per image.

    If the folder `manual_dir` is given, the images are read from its subfolder named after the set,
    or else from the folder itself, and nothing is downloaded. TFDS's default, `downloads/manual`,
    is shared by all data sets, so there only the subfolder counts.

    Attributes:
      URLS: image id -> download URL.
      COUNTS: split -> number of images.
      SIZES: the (width, height) in pixels that occur, in both orientations; empty if sizes vary.
    """

    VERSION = tfds.core.Version('1.0.0')
    RELEASE_NOTES: ClassVar[dict[str, str]] = {'1.0.0': 'Initial release.'}
    MANUAL_DOWNLOAD_INSTRUCTIONS = 'A folder with the images, in any subfolders.'

    URLS: ClassVar[dict[str, str]]
    COUNTS: ClassVar[dict[str, int]]
    SIZES: ClassVar[frozenset[tuple[int, int]]] = frozenset()

    def find_images(self, folder: Path) -> dict[str, ImageFiles]:
        """Finds the images of every split in a folder."""
        return {'test': [(self.image_id(path.stem), path) for path in image_paths(folder)]}

    def download_images(self, dl_manager: tfds.download.DownloadManager) -> dict[str, ImageFiles]:
        """Downloads the images of every split."""
        paths = dl_manager.download(self.URLS)
        return {'test': [(image_id, Path(path)) for image_id, path in paths.items()]}

    def image_id(self, stem: str) -> str:
        """Returns the id of a local image from its file name without suffix."""
        return stem

    def describe(self, **texts: str) -> tfds.core.DatasetInfo:
        """Returns the info of the set; `texts` are `description`, `homepage`, `citation`, ..."""
        features = {
            'id': tfds.features.Text(),
            'image': tfds.features.Image(shape=(None, None, 3), encoding_format='png'),
        }
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features), **texts
        )

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterator[tuple[str, dict[str, Any]]]]:
        folder = self._local_folder(dl_manager)
        images = self.find_images(folder) if folder else self.download_images(dl_manager)
        found = {split: len(files) for split, files in images.items()}
        if found != self.COUNTS:
            raise UserError(
                f'{self.name} has {_listing(self.COUNTS)} images, but '
                f'{folder or "the download"} holds {_listing(found)}.'
            )
        return {split: self._generate_examples(files) for split, files in images.items()}

    def _generate_examples(self, files: ImageFiles) -> Iterator[tuple[str, dict[str, Any]]]:
        for image_id, path in files:
            yield image_id, {'id': image_id, 'image': self._read(path)}

    def _read(self, path: Path) -> np.ndarray:
        """Reads an image as uint8 image_HWC with C = 3; gray is repeated."""
        try:
            with Image.open(path) as image:
                rgb_HWC = np.asarray(image.convert('RGB'))
        except OSError as error:
            raise UserError(f'{path} cannot be decoded: {error}.') from error
        height, width, _ = rgb_HWC.shape
        if self.SIZES and (width, height) not in self.SIZES:
            sizes = ' or '.join(f'{w}x{h}' for w, h in sorted(self.SIZES, reverse=True))
            raise UserError(
                f'{path} is {width}x{height}, but the images of {self.name} are {sizes}: '
                'this is a cropped or resized copy of the set.'
            )
        return rgb_HWC

    def _local_folder(self, dl_manager: tfds.download.DownloadManager) -> Path | None:
        try:
            manual_dir = Path(dl_manager.manual_dir)
        except AssertionError:  # TFDS: no such folder, or an empty one
            return None
        if (manual_dir / self.name).is_dir():
            return manual_dir / self.name
        is_shared = manual_dir == Path(dl_manager.download_dir) / 'manual'
        return None if is_shared else manual_dir


def image_paths(folder: Path) -> list[Path]:
    """Finds all image files in a folder and its subfolders, except hidden ones."""
    return sorted(
        path
        for path in folder.rglob('*')
        if path.suffix.lower() in _SUFFIXES and not path.name.startswith('.')
    )


def _listing(counts: dict[str, int]) -> str:
    return ', '.join(f'{number} {split}' for split, number in counts.items())
