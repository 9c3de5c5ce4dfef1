"""A model as one file: it comes back, and what is wrong with a file is said."""

import json

import jax
import numpy as np
import pytest
import safetensors.numpy
from random_variables import random_variables
from small_networks import every_network

from n2n_jax import models
from n2n_jax.denoise import export
from n2n_jax.denoise.denoiser import Denoiser
from n2n_jax.models import model_file, trained
from n2n_jax.models.model_file import Trained
from n2n_jax.runtime.config import ModelConfig
from n2n_jax.runtime.errors import UserError


def some(name='tiny', **settings):
    config = ModelConfig(name=name, **settings)
    return Trained(config, random_variables(config), step=7)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / 'model.safetensors'
    model_file.write(path, some())
    return path


def rewritten(file, change=lambda arrays: None, **header):
    """Changes the arrays of a file and what its header holds."""
    with safetensors.safe_open(file, 'numpy') as opened:
        content = json.loads(opened.metadata()['n2n_jax'])
    arrays = safetensors.numpy.load_file(file)
    change(arrays)
    metadata = {'n2n_jax': json.dumps({**content, **header})}
    safetensors.numpy.save_file(arrays, file, metadata)


@every_network('dncnn', 'unet')
def test_a_model_comes_back_with_all_weights_rounded_to_float16(name, tmp_path):
    saved = some(name, noise_map=True)
    model_file.write(tmp_path / 'm.safetensors', saved)
    found = model_file.read(tmp_path / 'm.safetensors')
    assert (found.config, found.step) == (saved.config, 7)
    want = jax.tree.map(lambda x: np.float32(np.float16(x)), saved.variables)
    jax.tree.map(np.testing.assert_array_equal, found.variables, want)
    assert all(x.dtype == np.float32 for x in jax.tree.leaves(found.variables))


def test_an_export_writes_a_file_that_denoises_as_the_model_does(tmp_path):
    saved = some(residual=False, black=100.0, white=300.0, channels=1)
    denoiser = Denoiser(saved.config, saved.variables, saved.step)
    exported = export.export(denoiser, tmp_path / 'new' / 'm.safetensors')
    assert f'--model {tmp_path}/new/m.safetensors' in exported.text
    image = np.random.default_rng(0).uniform(100, 300, (20, 31)).astype(np.float32)
    found = Denoiser.load(tmp_path / 'new' / 'm.safetensors')
    np.testing.assert_allclose(found(image), denoiser(image), atol=200 * 5e-3)
    assert np.abs(denoiser(image) - image).max() > 10


def test_it_names_no_paths_of_the_machine_it_was_trained_on(tmp_path):
    path = tmp_path / 'm.safetensors'
    model_file.write(path, some(init_from='/home/ada/runs/a', encoder_weights='/home/ada/w.npz'))
    assert b'/home/ada' not in path.read_bytes()
    assert trained.network_of(path).init_from == ''


def test_a_network_of_the_users_own_is_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(models.REGISTRY._files, 'tiny', 'mine.py')
    with pytest.raises(UserError, match=r'the network tiny, which mine\.py adds'):
        model_file.write(tmp_path / 'm.safetensors', some())


def test_weights_too_large_for_float16_are_refused(tmp_path):
    huge = some()
    variables = jax.tree.map(lambda x: x * 0 + 1e5, huge.variables)
    with pytest.raises(UserError, match='too large for float16'):
        model_file.write(tmp_path / 'm.safetensors', Trained(huge.config, variables, 0))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('spoil', 'words'),
    [
        (lambda file: file.unlink(), 'no such file'),
        (lambda file: file.write_bytes(file.read_bytes()[:-50]), 'is damaged, or no .safetensors'),
        (lambda file: file.write_bytes(b'GIF89a'), 'is damaged, or no .safetensors'),
        (
            lambda file: safetensors.numpy.save_file({'a': np.zeros(3)}, file),
            'holds weights, but not the network',
        ),
        (lambda file: rewritten(file, step='many'), 'is damaged'),
        (lambda file: rewritten(file, step=float('inf')), 'is damaged'),
        (lambda file: rewritten(file, step=-3), 'is damaged'),
        (lambda file: rewritten(file, config={'model': {'name': 'tinny'}}), "Did you mean 'tiny'"),
        (lambda file: rewritten(file, config={'model': {'nam': 'tiny'}}), "Did you mean 'name'"),
        (lambda file: rewritten(file, version=999), 'later version'),
        (
            lambda file: rewritten(file, config={'model': {'name': 'tiny', 'channels': 1}}),
            'weights of another network than tiny',
        ),
        (
            lambda file: rewritten(file, lambda arrays: arrays.popitem()),
            'weights of another network than tiny',
        ),
        (
            lambda file: rewritten(
                file, lambda arrays: [np.copyto(x, np.nan) for x in arrays.values()]
            ),
            'is not finite',
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_said(file, spoil, words):
    spoil(file)
    with pytest.raises(UserError, match=words) as raised:
        trained.load(file, jax.sharding.SingleDeviceSharding(jax.devices()[0]))
    assert str(file) in str(raised.value)
