import socket
import subprocess
import sys

import numpy as np
import pytest

from n2n_jax.data.sources.photos import PHOTO_NAMES, photos


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError('the network was tried')

    monkeypatch.setattr(socket, 'socket', refuse)
    monkeypatch.setattr(socket, 'create_connection', refuse)


def test_photos_are_color_images_read_without_network(no_network):
    images = photos()
    assert tuple(images) == PHOTO_NAMES
    for name, image_HWC in images.items():
        assert image_HWC.dtype == np.uint8, name
        assert image_HWC.ndim == 3, name
        assert image_HWC.shape[2] == 3, name
        assert min(image_HWC.shape[:2]) >= 300, name
        assert image_HWC.std() > 20, name
        assert np.ptp(image_HWC.astype(int), axis=2).max() > 50, f'{name} has no color'


def test_photos_are_the_known_pictures():
    shapes = {name: image.shape for name, image in photos().items()}
    assert shapes == {
        'astronaut': (512, 512, 3),
        'chelsea': (300, 451, 3),
        'coffee': (400, 600, 3),
        'rocket': (427, 640, 3),
        'immunohistochemistry': (512, 512, 3),
        'motorcycle_left': (500, 741, 3),
    }


def test_a_caller_may_change_the_images():
    first = photos()['chelsea']
    before = first.copy()
    first[:] = 0
    np.testing.assert_array_equal(photos()['chelsea'], before)


def test_pooch_is_not_needed():
    code = (
        "import sys; sys.modules['pooch'] = None\n"
        'from n2n_jax.data.sources.photos import photos\n'
        'print(len(photos()))'
    )
    done = subprocess.run(
        [sys.executable, '-W', 'error', '-c', code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(len(PHOTO_NAMES))
