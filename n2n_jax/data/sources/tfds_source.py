"""Reads TensorFlow Datasets (TFDS) image sets without TensorFlow, and prepares them.

Only data sets stored as ARRAY_RECORD can be read without TensorFlow. TFDS itself is imported inside
the functions, because that takes a second. H height, W width, C channels.
"""

import importlib.util
import io
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from n2n_jax.data.sources.source import ImageSource
from n2n_jax.images.natural_sort import natural_key
from n2n_jax.runtime.errors import UserError

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

# Names of the features that hold the image and its id in TFDS's own data sets. 'hr' is DIV2K's
# high-resolution image.
_IMAGE_FEATURES = ('image', 'hr')
_ID_FEATURES = ('id', 'file_name', 'image/filename')

_VERSION = re.compile(r'\d+\.\d+\.\d+')


class TfdsImages(ImageSource):
    """Images of some splits of a prepared TFDS data set; an `ImageSource`.

    TFDS stores images in hash order, so they are named by their id and sorted by it in natural
    order. A data set without ids keeps its stored order, and its images are numbered. Opening one
    with ids reads all of it once.

    Args:
      spec: 'NAME[:CONFIG][:VERSION]/SPLIT', such as 'bsds500/train+test'; any split that TFDS
        accepts; the default version is the newest one prepared.
      data_dir: where TFDS stores data sets; None: the environment variable TFDS_DATA_DIR, or else
        ~/tensorflow_datasets.

    Raises:
      UserError: the spec cannot be parsed; the data set is not prepared, or not as ARRAY_RECORD;
        the split is unknown; the data set has no 8-bit images.
    """

    def __init__(self, spec: str, data_dir: str | Path | None = None):
        import tensorflow_datasets as tfds

        head, _, split = spec.partition('/')
        if not split:
            raise UserError(f"'{spec}' names no split: write NAME/SPLIT, such as bsds500/train.")
        set_name = _parse_name(head)
        folder = _prepared_folder(set_name, _data_root(data_dir))
        builder = tfds.builder_from_directory(folder)
        _check_format(builder, folder)
        self._image_key, self._mode = _image_feature(builder.info.features, head)
        encoded = {
            key: tfds.decode.SkipDecoding()
            for key, feature in builder.info.features.items()
            if isinstance(feature, tfds.features.Image)
        }
        try:
            self._source = builder.as_data_source(split, decoders=encoded)
        except ValueError as error:
            splits = ', '.join(builder.info.splits)
            raise UserError(f"{head} has no split '{split}': choose from {splits}.") from error
        self.names, self._rows = self._named_rows(builder.info.features, spec)

    def size(self, i: int) -> tuple[int, int]:
        """Returns (H, W) of image i, from its header."""
        width, height = self._open(i).size
        return height, width

    def read(self, i: int) -> np.ndarray:
        """Reads image i: (H, W, 1 or 3), uint8, with the channels that the data set declares."""
        pixels = np.asarray(self._open(i).convert(self._mode))
        return pixels[..., None] if self._mode == 'L' else pixels

    def _open(self, i: int) -> Image.Image:
        return Image.open(io.BytesIO(self._source[self._rows[i]][self._image_key]))

    def _named_rows(
        self, features: 'tfds.features.FeaturesDict', spec: str
    ) -> tuple[list[str], list[int]]:
        rows = list(range(len(self._source)))
        id_key = next((key for key in _ID_FEATURES if key in features), None)
        if id_key:
            ids = [self._source[row][id_key].decode() for row in rows]
            if len(set(ids)) == len(ids):  # some data sets restart their ids in every split
                rows.sort(key=lambda row: natural_key(ids[row]))
                return [ids[row] for row in rows], rows
        return [f'{spec}/{row}' for row in rows], rows


def prepare(
    name: str, data_dir: str | Path | None = None, manual_dir: str | Path | None = None
) -> Path:
    """Downloads a TFDS data set, or reads it from a folder, and stores it as ARRAY_RECORD.

    A data set that is already prepared is left unchanged.

    Args:
      name: 'NAME[:CONFIG][:VERSION]': bsds500, kodak24, set14, or any data set of TFDS.
      data_dir: where TFDS stores data sets; None: the environment variable TFDS_DATA_DIR, or else
        ~/tensorflow_datasets.
      manual_dir: a folder with the images, or with a subfolder NAME that holds them; None:
        download them.

    Returns:
      The folder of the prepared data set.

    Raises:
      UserError: TensorFlow is not installed, the data set is unknown, its download fails, the
        folder does not hold it, or it is already prepared in another format.
    """
    if importlib.util.find_spec('tensorflow') is None:
        raise UserError(
            f'Preparing {name} needs TensorFlow (reading it does not): run pip install '
            "'n2n_jax[tfds]', or EXTRAS=dev,tfds launch/local.sh n2n prepare ..."
        )
    if manual_dir is not None and not (Path(manual_dir).is_dir() and os.listdir(manual_dir)):
        raise UserError(f'{manual_dir} is not a folder, or is empty: give a folder with images.')
    import requests
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError
    from tensorflow_datasets.core.download.extractor import ExtractError

    from n2n_jax.data.sources import tfds_builders  # noqa: F401  (registers our data sets)

    download_errors = (
        requests.RequestException,
        tfds.download.DownloadError,
        NonMatchingChecksumError,
        ExtractError,
    )
    set_name = _parse_name(name)
    where = {'config': set_name.config, 'version': set_name.version}
    try:
        builder = tfds.builder(
            set_name.name,
            data_dir=_data_root(data_dir),
            **{key: value for key, value in where.items() if value},
        )
    except (ValueError, AssertionError) as error:  # AssertionError: unknown version
        raise UserError(f"TFDS has no data set, config or version '{name}'.") from error
    config = tfds.download.DownloadConfig(manual_dir=manual_dir, try_download_gcs=False)
    try:
        builder.download_and_prepare(download_config=config, file_format='array_record')
    except download_errors as error:
        reason = str(error).splitlines()[0].rstrip(':.')
        raise UserError(
            f'{name} could not be downloaded: {reason}. If you have its images, run: n2n prepare '
            f'{name} --from FOLDER.'
        ) from error
    except AssertionError as error:  # TFDS: this data set must be downloaded by hand
        raise UserError(f'{name} needs --from FOLDER. {error}') from error
    folder = Path(builder.data_dir)
    _check_format(builder, folder)
    return folder


class _SetName(NamedTuple):
    name: str
    config: str | None
    version: str | None


def _parse_name(text: str) -> _SetName:
    name, *rest = text.split(':')
    version = rest.pop() if rest and _VERSION.fullmatch(rest[-1]) else None
    config = rest.pop() if rest else None
    if not re.fullmatch(r'\w+', name) or rest:
        raise UserError(f"'{text}' cannot be parsed: write NAME, NAME:CONFIG or NAME:VERSION.")
    return _SetName(name, config, version)


def _data_root(data_dir: str | Path | None) -> Path:
    return Path(data_dir or os.environ.get('TFDS_DATA_DIR', '~/tensorflow_datasets')).expanduser()


def _prepared_folder(set_name: _SetName, root: Path) -> Path:
    """Returns the folder of the newest matching version: root/NAME[/CONFIG]/VERSION."""
    home = root / set_name.name / (set_name.config or '')
    found = [
        path.parent.relative_to(home)
        for path in home.glob('**/dataset_info.json')
        if _VERSION.fullmatch(path.parent.name)
    ]
    versions = [path for path in found if len(path.parts) == 1]
    if found and not versions:
        configs = ', '.join(sorted({path.parts[0] for path in found}))
        raise UserError(f'{set_name.name} has several configs: add one of {configs} after a colon.')
    if set_name.version:
        versions = [path for path in versions if str(path) == set_name.version]
    if not versions:
        raise UserError(
            f'{":".join(filter(None, set_name))} is not prepared in {root}. Run: n2n prepare '
            f'{set_name.name}, with --from FOLDER if you have its images already.'
        )
    return home / max(versions, key=lambda path: natural_key(str(path)))


def _check_format(builder: 'tfds.core.DatasetBuilder', folder: Path) -> None:
    import tensorflow_datasets as tfds

    if tfds.core.FileFormat.ARRAY_RECORD not in builder.info.available_file_formats():
        raise UserError(
            f'{folder} is stored as {builder.info.file_format.name}, which only TensorFlow can '
            f'read: delete it, then run: n2n prepare {builder.name}.'
        )


def _image_feature(features: 'tfds.features.FeaturesDict', name: str) -> tuple[str, str]:
    """Returns the key of the image feature, and the Pillow mode for its channels."""
    import tensorflow_datasets as tfds

    key = next((key for key in _IMAGE_FEATURES if key in features), None)
    if key is None or not isinstance(features[key], tfds.features.Image):
        raise UserError(f'{name} has no images: its features are {", ".join(features)}.')
    if features[key].np_dtype != np.uint8:
        raise UserError(
            f'The images of {name} are {features[key].np_dtype}, but only 8-bit ones can be read.'
        )
    return key, 'L' if features[key].shape[-1] == 1 else 'RGB'
