"""Starting from the weights of another run."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest
from tiny import first_variables, planned_config, tiny_config

from n2n_jax.denoise import export
from n2n_jax.denoise.denoiser import Denoiser
from n2n_jax.models import model_file
from n2n_jax.models.model_file import Trained
from n2n_jax.runtime.config import CapturesConfig
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.workdir import Workdir
from n2n_jax.train import fine_tuning, loop

pytestmark = pytest.mark.usefixtures('steps_shared')


def config_of(folder, *, seed=0, channels=1, **changes):
    file = folder / f'x{seed}_{channels}.npy'
    rng = np.random.default_rng(seed)
    np.save(file, rng.normal(100 * (seed + 1), 20, (2, 40, 48, channels)).astype(np.float32))
    return tiny_config(
        **{'captures.paths': str(file), 'model.channels': channels, 'seed': seed, **changes}
    )


@pytest.fixture
def old_run(tmp_path):
    assert loop.train(config_of(tmp_path), tmp_path / 'old')
    return tmp_path / 'old'


def params(run):
    return jax.tree.leaves(Denoiser.load(run).variables)


def test_it_starts_from_what_the_other_run_ships(old_run, tmp_path, caplog):
    caplog.set_level('INFO')
    changes = {'seed': 1, 'model.init_from': str(old_run)}
    # One step at a rate of next to nothing leaves the weights where they were.
    config = config_of(tmp_path, **changes, **{'optim.learning_rate': 1e-12, 'train.steps': 1})
    assert loop.train(config, tmp_path / 'new')
    for new, old in zip(params(tmp_path / 'new'), params(old_run), strict=True):
        np.testing.assert_allclose(new, old, atol=1e-6)
    assert f'Starting from the weights of {old_run} at step' in caplog.text
    assert 'random weights' not in caplog.text
    # The range of the values is that of the new captures.
    assert Denoiser.load(tmp_path / 'new').config.black > Denoiser.load(old_run).config.black


@pytest.mark.parametrize(('old', 'new'), [('', '0.05'), ('0.05', ''), ('0.05', '0.02')])
def test_weights_of_a_run_that_saw_its_images_otherwise_are_said_to_be_a_worse_start(
    old, new, tmp_path, caplog, monkeypatch
):
    units = {'model.center': '0.5', 'model.contrast': '1'}
    theirs = tiny_config(**units, **{'model.noise': old}).model
    ours = tiny_config(**units, **{'model.noise': new, 'model.init_from': str(tmp_path)})
    weights = first_variables(theirs)
    monkeypatch.setattr(fine_tuning.trained, 'load', lambda *_: Trained(theirs, weights, 3))
    assert fine_tuning.starting_weights(ours, None) is weights
    assert ('are a worse start' in caplog.text) == (bool(old) != bool(new))


def test_it_starts_from_a_file_as_from_the_run_it_is_of(old_run, tmp_path):
    file = tmp_path / 'model.safetensors'
    export.export(Denoiser.load(old_run), file)
    starts = [
        fine_tuning.starting_weights(
            config_of(tmp_path, **{'model.init_from': str(start)}),
            jax.sharding.SingleDeviceSharding(jax.devices()[0]),
        )
        for start in (old_run, file)
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-7), *starts)
    captures = config_of(tmp_path, seed=1).captures
    config = planned_config(captures, init_from=str(file), steps=2)
    assert config.model.noise not in ('', 'none')  # as that of the old run
    assert (config.model.name, config.model.init_from) == ('tiny', str(file))


def test_plain_values_stay_plain(tmp_path, caplog):
    plain = tiny_config().model  # as of a model that comes with n2n_jax
    file = tmp_path / 'plain.safetensors'
    model_file.write(file, Trained(plain, first_variables(plain), step=1))
    captures = config_of(tmp_path, channels=plain.channels).captures
    config = planned_config(captures, init_from=str(file), steps=2)
    assert config.model.noise == 'none'
    assert loop.train(config, tmp_path / 'new')
    assert 'worse start' not in caplog.text


def test_resuming_does_not_load_it_again(old_run, tmp_path):
    config = config_of(tmp_path, seed=1, **{'model.init_from': str(old_run)})
    assert loop.train(config, tmp_path / 'new')
    before = params(tmp_path / 'new')
    (tmp_path / 'new/DONE.json').unlink()
    shutil.rmtree(tmp_path / 'new/checkpoints/4')
    shutil.rmtree(old_run)
    assert loop.train(config, tmp_path / 'new')
    for again, first in zip(params(tmp_path / 'new'), before, strict=True):
        np.testing.assert_array_equal(again, first)


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        (
            {'model.name': 'unet'},
            r'old has model.name=tiny, but this run has unet: write model.name=tiny',
        ),
        (
            {'model.name': 'tiny:norm=batch'},
            r'old has model.name=tiny, but this run has tiny:norm=b',
        ),
        (
            {'channels': 3},
            r'old has model.channels=1, but this run has 3: start from a run on images',
        ),
        ({'model.init_from': 'gone'}, 'There is no run in gone'),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(old_run, tmp_path, changes, words):
    config = config_of(tmp_path, **{'model.init_from': str(old_run), **changes})
    with pytest.raises(UserError, match=words):
        loop.train(config, tmp_path / 'new')
    assert not (tmp_path / 'new').exists()


def test_the_config_takes_the_network_of_the_other_run(old_run, tmp_path):
    captures = CapturesConfig(paths=str(tmp_path / 'x0_1.npy'))
    config = planned_config(captures, init_from=str(old_run), steps=2)
    assert (config.model.name, config.model.init_from) == ('tiny', str(old_run))
    assert Workdir(old_run).config().model.init_from == ''
    with pytest.raises(UserError, match='model.name=tiny, but this run has unet'):
        planned_config(captures, model='unet', init_from=str(old_run), steps=2)
    assert (
        dataclasses.replace(config.model, init_from='', zero_last=True)  # weights are not drawn
        == planned_config(captures, model='tiny', steps=2).model
    )
