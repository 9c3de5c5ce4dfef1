"""The folder of a run: what was written stays true, and what is damaged is named."""

import json
import shutil

import pytest
from tiny import tiny_config

from n2n_jax.runtime import workdir as workdir_module
from n2n_jax.runtime.atomic_files import write_text
from n2n_jax.runtime.config_identity import config_hash
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.workdir import Workdir


@pytest.fixture
def run(tmp_path):
    workdir = Workdir(tmp_path / 'run')
    with workdir.claimed(tiny_config()):
        pass
    (workdir.path / 'checkpoints' / '4').mkdir(parents=True)
    return workdir


def test_a_folder_in_place_of_a_file_is_named(run):
    (run.path / 'results.json').mkdir()
    with pytest.raises(UserError, match=r'results\.json is a folder where a file belongs'):
        run.rows()
    (run.path / 'parameters.txt').mkdir()
    with pytest.raises(UserError, match=r'parameters\.txt is a folder .*: move it away'):
        write_text(run.path / 'parameters.txt', 'x')
    (run.path / '.training.lock').unlink()
    (run.path / '.training.lock').mkdir()
    with pytest.raises(UserError, match='training.lock is a folder'), run.claimed(tiny_config()):
        pass


def test_a_file_in_place_of_a_folder_is_named(run):
    (run.path / 'evaluation').write_text('x')
    with pytest.raises(UserError, match='evaluation is a file where a folder belongs'):
        write_text(run.evaluation_folder(4) / 'a.json', '{}')


@pytest.mark.parametrize('text', ['5', '[1]', '[{}]', '{}', '', '{"config": 5}', '[' * 100_000])
def test_a_damaged_config_is_named(text, run):
    (run.path / 'config.json').write_text(text)
    with pytest.raises(UserError, match=r'run/config\.json is .*choose another --workdir'):
        run.config()


def test_a_finished_run_keeps_its_provenance(run, monkeypatch):
    run.mark_done({'step': 4, 'provenance': {'command': 'first'}})
    files = {name: (run.path / name).read_text() for name in ('config.json', 'DONE.json')}
    monkeypatch.setattr(workdir_module, 'provenance', lambda: {'command': 'looked again'})
    looked_again = tiny_config(**{'eval.max_images': 1, 'train.log_every': 1})
    with run.claimed(looked_again):
        run.mark_done({'step': 4, 'provenance': {'command': 'looked again'}})
    assert files == {name: (run.path / name).read_text() for name in files}
    run.mark_not_done(looked_again)  # now it is trained on
    assert not run.done
    assert run.config() == looked_again
    assert json.loads((run.path / 'config.json').read_text())['provenance'] == {
        'command': 'looked again'
    }


@pytest.mark.parametrize('text', ['', '{"step": 6', '[1]'])
def test_a_damaged_done_file_is_not_a_finished_run(text, run):
    (run.path / 'DONE.json').write_text(text)
    assert not run.done
    run.mark_done({'step': 4})
    assert run.done


def test_it_is_known_whether_a_run_is_being_trained(run, tmp_path):
    assert not run.in_training
    assert not Workdir(tmp_path / 'nothing').in_training
    with run.claimed(tiny_config()):
        assert run.in_training
    assert not run.in_training
    shutil.rmtree(run.path)
    assert not run.in_training


def test_runs_that_differ_in_seed_and_cadences_alone_share_the_hash_of_their_config():
    base = config_hash(tiny_config())
    assert config_hash(tiny_config(**{'seed': 3, 'train.log_every': 1, 'eval.seed': 5})) == base
    assert config_hash(tiny_config(**{'optim.learning_rate': 0.5})) != base
