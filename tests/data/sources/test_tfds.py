"""TFDS sets: read without TensorFlow; prepared by the real builders where TensorFlow is installed.

H height, W width, C channels.
"""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from PIL import Image
from tensorflow_datasets.proto import tf_example_pb2

from n2n_jax.data.sources import tfds_builders, tfds_source
from n2n_jax.data.sources.tfds_source import TfdsImages, prepare
from n2n_jax.runtime.errors import UserError

_RNG = np.random.default_rng(0)


def random_image(height: int, width: int, channels: int = 3) -> np.ndarray:
    return _RNG.integers(0, 256, (height, width, channels), dtype=np.uint8)


def save_images(folder: Path, names: list[str], size: tuple[int, int], mode: str = 'RGB') -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        Image.new(mode, size, i if mode == 'L' else (i, 2 * i, 255 - i)).save(folder / name)


def write_set(
    folder: Path,
    splits: dict[str, list[dict[str, str | np.ndarray]]],
    *,
    features: dict[str, tfds.features.FeatureConnector],
    file_format: str = 'array_record',
) -> None:
    """Writes the files that `download_and_prepare` would, without TensorFlow."""
    folder.mkdir(parents=True)
    infos = []
    for split, rows in splits.items():
        path = folder / f'toy-{split}.{file_format}-00000-of-00001'
        writer = ArrayRecordWriter(str(path), 'group_size:1')
        for row in rows:
            example = tf_example_pb2.Example()
            for key, value in row.items():
                data = value.encode() if isinstance(value, str) else png(value)
                example.features.feature[key].bytes_list.value.append(data)
            writer.write(example.SerializeToString())
        writer.close()
        infos.append(
            {
                'name': split,
                'shardLengths': [str(len(rows))],
                'numBytes': '1',
                'filepathTemplate': '{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}',
            }
        )
    info = {'name': 'toy', 'version': folder.name, 'fileFormat': file_format, 'splits': infos}
    (folder / 'dataset_info.json').write_text(json.dumps(info))
    tfds.features.FeaturesDict(features).save_config(folder)


def png(image_HWC: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image_HWC.squeeze()).save(buffer, 'png')
    return buffer.getvalue()


def image_features(channels: int = 3) -> dict[str, tfds.features.FeatureConnector]:
    return {
        'id': tfds.features.Text(),
        'image': tfds.features.Image(shape=(None, None, channels)),
    }


@pytest.fixture
def images() -> dict[str, np.ndarray]:
    return {'a10': random_image(4, 5), 'a9': random_image(6, 3), 'b1': random_image(5, 5)}


@pytest.fixture
def data_dir(tmp_path: Path, images: dict[str, np.ndarray]) -> Path:
    train = [{'id': key, 'image': images[key]} for key in ('a10', 'a9')]
    test = [{'id': 'b1', 'image': images['b1']}]
    splits = {'train': train, 'test': test}
    write_set(tmp_path / 'toy' / '1.0.0', splits, features=image_features())
    return tmp_path


def test_images_are_read_by_id_in_natural_order(
    data_dir: Path, images: dict[str, np.ndarray]
) -> None:
    source = TfdsImages('toy/train+test', data_dir)
    assert source.names == ['a9', 'a10', 'b1']
    assert [source.size(i) for i in range(3)] == [(6, 3), (4, 5), (5, 5)]
    for i, name in enumerate(source.names):
        assert source.read(i).dtype == np.uint8
        np.testing.assert_array_equal(source.read(i), images[name])


def test_a_split_may_be_a_slice(data_dir: Path) -> None:
    assert TfdsImages('toy/train[1:]', data_dir).names == ['a9']


def test_reading_needs_no_tensorflow(data_dir: Path) -> None:
    program = (
        'import sys\n'
        'from n2n_jax.data.sources import tfds_source\n'
        "assert 'tensorflow_datasets' not in sys.modules\n"
        "source = tfds_source.TfdsImages('toy/train')\n"
        'print(source.read(0).shape, source.size(1))\n'
        "assert 'tensorflow' not in sys.modules\n"
    )
    environment = {**os.environ, 'TFDS_DATA_DIR': str(data_dir)}
    result = subprocess.run(
        [sys.executable, '-c', program], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout == '(6, 3, 3) (4, 5)\n'


def test_gray_sets_keep_one_channel(tmp_path: Path) -> None:
    image_HW1 = random_image(4, 6, channels=1)
    rows = {'test': [{'id': 'x', 'image': image_HW1}]}
    write_set(tmp_path / 'toy' / '1.0.0', rows, features=image_features(channels=1))
    np.testing.assert_array_equal(TfdsImages('toy/test', tmp_path).read(0), image_HW1)


def test_sets_without_distinct_ids_are_numbered_in_stored_order(tmp_path: Path) -> None:
    rows = [{'id': 'same', 'image': random_image(2 + i, 3)} for i in range(3)]
    write_set(tmp_path / 'toy' / '1.0.0', {'train': rows}, features=image_features())
    source = TfdsImages('toy/train', tmp_path)
    assert source.names == ['toy/train/0', 'toy/train/1', 'toy/train/2']
    assert [source.size(i) for i in range(3)] == [(2, 3), (3, 3), (4, 3)]


def test_the_newest_version_is_read_unless_one_is_named(tmp_path: Path) -> None:
    for version in ('1.9.0', '1.10.0', 'incomplete.XY_2.0.0'):
        rows = {'test': [{'id': version, 'image': random_image(2, 2)}]}
        write_set(tmp_path / 'toy' / version, rows, features=image_features())
    assert TfdsImages('toy/test', tmp_path).names == ['1.10.0']
    assert TfdsImages('toy:1.9.0/test', tmp_path).names == ['1.9.0']
    with pytest.raises(UserError, match=r'toy:3\.0\.0 is not prepared'):
        TfdsImages('toy:3.0.0/test', tmp_path)


def test_a_config_is_named_after_a_colon(tmp_path: Path) -> None:
    for config in ('big', 'small'):
        rows = {'test': [{'id': config, 'image': random_image(2, 2)}]}
        write_set(tmp_path / 'toy' / config / '1.0.0', rows, features=image_features())
    assert TfdsImages('toy:small/test', tmp_path).names == ['small']
    assert TfdsImages('toy:big:1.0.0/test', tmp_path).names == ['big']
    with pytest.raises(UserError, match='add one of big, small'):
        TfdsImages('toy/test', tmp_path)


@pytest.mark.parametrize(
    ('spec', 'message'),
    [
        ('toy', 'names no split'),
        ('toy/dev', "toy has no split 'dev': choose from train, test"),
        ('toy:a:b/train', 'cannot be parsed'),
        ('kodak24/test', 'n2n prepare kodak24, with --from FOLDER'),
    ],
)
def test_specs_that_cannot_be_opened(data_dir: Path, spec: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        TfdsImages(spec, data_dir)


def test_sets_that_cannot_be_read(tmp_path: Path) -> None:
    write_set(
        tmp_path / 'toy' / '1.0.0', {'test': []}, features=image_features(), file_format='tfrecord'
    )
    with pytest.raises(UserError, match='stored as TFRECORD, which only TensorFlow can read'):
        TfdsImages('toy/test', tmp_path)
    write_set(tmp_path / 'toy' / '1.0.1', {'test': []}, features={'text': tfds.features.Text()})
    with pytest.raises(UserError, match='no images: its features are text'):
        TfdsImages('toy/test', tmp_path)
    deep = {'image': tfds.features.Image(shape=(None, None, 1), dtype=np.uint16)}
    write_set(tmp_path / 'toy' / '1.0.2', {'test': []}, features=deep)
    with pytest.raises(UserError, match='uint16, but only 8-bit'):
        TfdsImages('toy/test', tmp_path)


def test_preparing_says_when_tensorflow_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tfds_source.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'n2n_jax\[tfds\]'"):
        prepare('kodak24')


def test_every_single_file_download_has_a_checksum() -> None:
    lines = Path(tfds_builders.__file__).with_name('checksums.tsv').read_text().splitlines()
    registered = {line.split('\t')[0] for line in lines}
    wanted = {*tfds_builders.Kodak24.URLS.values(), *tfds_builders.Set14.URLS.values()}
    assert registered == wanted
    assert len(wanted) == 24 + 14


@pytest.fixture
def tensorflow() -> None:
    pytest.importorskip('tensorflow', reason="preparing needs pip install 'n2n_jax[tfds]'")
    pytest.importorskip('importlib_resources')


@pytest.mark.usefixtures('tensorflow')
def test_kodak24_from_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / 'images'
    save_images(folder / 'a', [f'{i}.png' for i in range(1, 10)], (768, 512))
    save_images(folder / 'b', [f'kodim{i}.png' for i in range(10, 25)], (512, 768))
    (folder / '._1.png').write_bytes(b'what macOS leaves beside a file')
    version_dir = prepare('kodak24', tmp_path, folder)
    assert version_dir == tmp_path / 'kodak24' / '1.0.0'
    source = TfdsImages('kodak24/test', tmp_path)
    assert source.names == [f'kodim{i:02}' for i in range(1, 25)]
    assert source.size(0) == (512, 768)
    np.testing.assert_array_equal(source.read(10)[0, 0], [1, 2, 254])
    assert prepare('kodak24', tmp_path) == version_dir  # already prepared: downloads nothing


@pytest.mark.usefixtures('tensorflow')
def test_bsds500_from_a_folder_with_the_name_of_the_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tfds_builders.Bsds500, 'COUNTS', {'train': 3, 'val': 1, 'test': 2})
    folder = tmp_path / 'sets'
    data = folder / 'bsds500' / 'BSDS500' / 'data' / 'images'
    save_images(data / 'train', ['8143.jpg', '22090.jpg', '2092.jpg'], (481, 321))
    save_images(data / 'val', ['3096.jpg'], (481, 321))
    save_images(data / 'test', ['2018.jpg', '3063.jpg'], (321, 481))
    save_images(folder / 'another_set' / 'train', ['1.jpg'], (481, 321))
    prepare('bsds500', tmp_path, folder)
    source = TfdsImages('bsds500/train+test', tmp_path)
    assert source.names == ['2018', '2092', '3063', '8143', '22090']
    with Image.open(data / 'train' / '2092.jpg') as image:
        np.testing.assert_array_equal(source.read(1), np.asarray(image))
    assert TfdsImages('bsds500/val', tmp_path).names == ['3096']


@pytest.mark.usefixtures('tensorflow')
def test_set14_turns_gray_into_rgb(tmp_path: Path) -> None:
    folder = tmp_path / 'images'
    save_images(folder, [f'{i}.bmp' for i in range(13)], (9, 7))
    gray_HW = random_image(5, 8, channels=1)[..., 0]
    Image.fromarray(gray_HW).save(folder / 'bridge.bmp')
    prepare('set14', tmp_path, folder)
    source = TfdsImages('set14/test', tmp_path)
    bridge_HWC = source.read(source.names.index('bridge'))
    np.testing.assert_array_equal(bridge_HWC, np.stack([gray_HW] * 3, axis=-1))


@pytest.mark.usefixtures('tensorflow')
def test_folders_that_are_not_the_set(tmp_path: Path) -> None:
    folder = tmp_path / 'images'
    save_images(folder, [f'kodim{i:02}.png' for i in range(1, 24)], (500, 500))
    with pytest.raises(UserError, match=r'24 test images, but .*images holds 23 test'):
        prepare('kodak24', tmp_path, folder)
    save_images(folder, ['kodim24.png'], (500, 500))
    with pytest.raises(UserError, match='500x500, but the images of kodak24 are 768x512 or'):
        prepare('kodak24', tmp_path, folder)
    (folder / 'kodim01.png').write_bytes(b'no picture')
    with pytest.raises(UserError, match=r'kodim01\.png cannot be decoded'):
        prepare('kodak24', tmp_path, folder)
    with pytest.raises(UserError, match='not a folder, or is empty'):
        prepare('kodak24', tmp_path, tmp_path / 'missing')
    with pytest.raises(UserError, match="has no data set, config or version 'no_such_set'"):
        prepare('no_such_set', tmp_path)


@pytest.mark.usefixtures('tensorflow')
def test_a_set_prepared_in_another_format_is_an_error(tmp_path: Path) -> None:
    folder = tmp_path / 'images'
    save_images(folder, [f'{i}.bmp' for i in range(14)], (9, 7))
    builder = tfds.builder('set14', data_dir=tmp_path)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=folder))
    with pytest.raises(UserError, match='stored as TFRECORD'):
        prepare('set14', tmp_path, folder)


@pytest.mark.usefixtures('tensorflow')
def test_a_failed_download_suggests_a_local_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: tfds.download.DownloadManager, urls: dict[str, str]) -> None:
        raise tfds.download.DownloadError(f'Failed to get url {urls["baboon"]}. HTTP code: 404.')

    monkeypatch.setattr(tfds.download.DownloadManager, 'download', fail)
    with pytest.raises(UserError, match=r'HTTP code: 404\. .* n2n prepare set14 --from FOLDER'):
        prepare('set14', tmp_path)
