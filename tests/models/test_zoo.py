"""The models that come with n2n_jax: their files, their cards and their names."""

import hashlib
import json

import jax
import pytest
from random_variables import random_variables

from n2n_jax.models import model_file, trained, zoo
from n2n_jax.models.model_file import Trained
from n2n_jax.models.zoo import card
from n2n_jax.runtime.config import ModelConfig
from n2n_jax.runtime.errors import UserError

MOST_BYTES = 12_000_000  # of all models in the wheel


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """In place of the models that are there, one of random weights."""
    monkeypatch.setattr(zoo, 'FOLDER', tmp_path)
    config = ModelConfig(name='tiny')
    model = Trained(config, random_variables(config), step=3)
    model_file.write(zoo.file_of('gaussian-color'), model)
    return tmp_path


def test_each_file_is_the_one_of_its_card():
    assert 'gaussian-color' in zoo.names()
    sizes = []
    for name in zoo.names():
        content = zoo.file_of(name).read_bytes()
        its_card = card.read(name)
        assert its_card.sha256 == hashlib.sha256(content).hexdigest()
        assert its_card.bytes == len(content)
        found = model_file.read(zoo.file_of(name))
        assert found.config.channels == zoo.recipe(name).channels
        assert found.step == its_card.training['steps']
        sizes.append(len(content))
    assert sum(sizes) < MOST_BYTES
    # Nothing lies there that no recipe knows.
    assert {file.stem for file in zoo.FOLDER.glob('*')} <= set(zoo.RECIPES)


def test_cards_name_no_paths_and_are_pages():
    for name in zoo.names():
        text = zoo.file_of(name).with_suffix('.json').read_text()
        assert 'command' not in text
        assert not [word for word in json.dumps(json.loads(text)).split('"') if word[:1] == '/']
        page = card.markdown(card.read(name))
        assert page.startswith(f'# {name}\n')
        assert 'Trained on' in page


def test_a_name_is_a_model_unless_a_run_has_that_name(folder, tmp_path, monkeypatch):
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    assert trained.load('gaussian-color', sharding).step == 3
    assert trained.network_of('gaussian-color').name == 'tiny'
    assert not trained.is_run('gaussian-color')
    (tmp_path / 'here' / 'gaussian-color').mkdir(parents=True)
    monkeypatch.chdir(tmp_path / 'here')
    assert not trained.is_run('gaussian-color')  # nothing is in it
    (tmp_path / 'here' / 'gaussian-color' / 'checkpoints').mkdir()
    assert trained.is_run('gaussian-color')
    with pytest.raises(UserError, match='gaussian-color holds no complete checkpoint'):
        trained.load('gaussian-color', sharding)


@pytest.mark.parametrize(
    ('model', 'words'),
    [
        ('gausian-color', "no model of that name comes .* Did you mean 'gaussian-color'"),
        ('gaussian-gray', 'n2n models train gaussian-gray, or choose from: gaussian-color'),
        ('runs/gone', 'There is no run in runs/gone: no such folder.'),
        (__file__, 'is no model: give the folder of a run'),
    ],
)
def test_what_is_no_model_is_said(folder, model, words):
    with pytest.raises(UserError, match=words):
        trained.network_of(model)
