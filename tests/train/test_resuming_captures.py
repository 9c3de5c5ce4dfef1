"""The same `n2n train` once more: what resumes, what is extended, and what is another run."""

import json

import pytest
from command_line import n2n
from small_runs import write_captures

from n2n_jax.runtime.workdir import Workdir

pytestmark = pytest.mark.usefixtures('steps_shared')


@pytest.fixture
def command(tmp_path):
    write_captures(tmp_path / 'x.npy')
    return ['train', tmp_path / 'x.npy', '--workdir', tmp_path / 'run', '--model', 'tiny']


@pytest.mark.slow
def test_a_run_on_single_images_is_resumed_whatever_its_patience(command):
    options = ['--single', '--allow-correlated-noise', '--steps', '2', '--patience', '3']
    assert n2n(*command, *options) == 0
    assert n2n(*command, *options) == 0


@pytest.mark.slow
def test_a_run_from_before_noise_was_measured_is_extended(command, tmp_path):
    assert n2n(*command, '--steps', '2') == 0
    file = tmp_path / 'run' / 'config.json'
    content = json.loads(file.read_text())
    for key in ('noise', 'center', 'contrast', 'constants', 'zero_last'):
        del content['config']['model'][key]
    file.write_text(json.dumps(content))
    assert n2n(*command, '--steps', '3') == 0
    assert Workdir(tmp_path / 'run').config().model.noise == 'none'
    assert [row['step'] for row in Workdir(tmp_path / 'run').rows()] == [1, 2, 3]


def test_a_run_does_not_go_on_with_other_pixels_of_the_same_name(command, tmp_path, capsys):
    assert n2n(*command, '--steps', '2') == 0
    before = (tmp_path / 'run' / 'captures.json').read_text()
    write_captures(tmp_path / 'x.npy', mean=900, seed=1)
    assert n2n(*command, '--steps', '3') == 2
    assert 'The captures of x are not those that the run in' in capsys.readouterr().err
    assert (tmp_path / 'run' / 'captures.json').read_text() == before
    write_captures(tmp_path / 'x.npy')
    assert n2n(*command, '--steps', '3') == 0


def test_a_run_that_stopped_early_is_not_called_extended(command, capsys, monkeypatch):
    monkeypatch.setattr('n2n_jax.train.early_stopping.without_gain', lambda rows: (len(rows), 1))
    options = ['--steps', '6', '--patience', '2']
    assert n2n(*command, *options) == 0
    assert 'Stopped early at step 2 of 6' in capsys.readouterr().err
    assert n2n(*command, *options) == 0
    assert 'extended' not in capsys.readouterr().err
    monkeypatch.undo()


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (['--steps', '2', '--minutes', '1'], 'not allowed with argument'),
        (['--minutes', '-1'], '--minutes -1'),
        (['--minutes', 'nan'], '--minutes nan'),
        (['--minutes', 'inf'], '--minutes inf'),
    ],
)
def test_a_length_that_means_nothing_is_refused_at_once(command, options, words, capsys):
    assert n2n(*command, *options) == 2
    assert words in capsys.readouterr().err


def test_what_a_kill_left_half_written_is_in_nobody_s_way(command, tmp_path):
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run' / '.config.json.0123abcd.tmp').write_text('{')
    assert n2n(*command, '--steps', '2') == 0
    assert not list((tmp_path / 'run').glob('.*.tmp'))


def test_a_second_command_in_a_run_is_refused_before_it_reads_anything(command, tmp_path, capsys):
    assert n2n(*command, '--steps', '2') == 0
    workdir = Workdir(tmp_path / 'run')
    capsys.readouterr()
    with workdir.claimed(workdir.config()):
        assert n2n(*command, '--steps', '3') == 2
    said = capsys.readouterr().err
    assert 'Another program is training in' in said
    assert 'Reading captures' not in said
