"""The side-car waits for a run to begin, and does not wait for ever for one that was killed."""

import dataclasses
import shutil
import threading
import time
import types

import jax.numpy as jnp
import pytest
from tiny import tiny_config

from n2n_jax import main
from n2n_jax.evaluate import follow
from n2n_jax.evaluate.report import Report
from n2n_jax.runtime import checkpoint
from n2n_jax.runtime.checkpoint import Checkpoints
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.workdir import Workdir

CONFIG = tiny_config(**{'train.steps': 6})


@pytest.fixture(autouse=True)
def scored(monkeypatch):
    """Evaluations that cost nothing, and say which steps they saw."""

    class Evaluator:
        def __init__(self, config, layout):
            pass

        def has_scored(self, rows, step):
            return any(row['step'] == step for row in rows)

        def __call__(self, variables, step):
            seen.append(step)
            row = {
                'step': step, 'set': 's', 'noise': 'n',
                'metrics': {'psnr': {'in': 0.0, 'out': 1.0}}, 'ci95': [0.0, 2.0],
                'n': 1, 'protocol': 'p',
            }  # fmt: skip
            return Report([row], [[]], {})

    seen = []
    monkeypatch.setattr(follow, 'Evaluator', Evaluator)
    monkeypatch.setattr(follow, '_POLL_SECONDS', 0.05)
    monkeypatch.setattr(
        follow.weights,
        'shipped_variables',
        lambda checkpoints, step, sharding: {'steps': jnp.float32(checkpoints.meta(step)['at'])},
    )

    return seen


def train(path, *steps, done=True):
    """What a run leaves."""
    workdir = Workdir(path)
    with workdir.claimed(CONFIG), Checkpoints(path, keep=9) as checkpoints:
        for step in steps:
            meta = {'config': dataclasses.asdict(CONFIG), 'at': step}
            checkpoints.save(step, {'variables': {'w': jnp.zeros(3)}}, meta)
        checkpoints.wait()
        if done:
            workdir.mark_done({'step': steps[-1]})


def steps(path):
    return [row['step'] for row in Workdir(path).rows()]


def test_a_run_that_begins_later_is_waited_for(tmp_path, caplog):
    caplog.set_level('INFO')

    def later():
        time.sleep(0.3)
        train(tmp_path / 'run', 2, 6)

    thread = threading.Thread(target=later)
    thread.start()
    assert follow.follow(CONFIG, tmp_path / 'run')
    thread.join()
    assert steps(tmp_path / 'run')[-1] == 6
    assert caplog.text.count('Waiting for a run to start in') == 1


def test_a_run_that_was_killed_is_not_waited_for_for_ever(tmp_path, caplog):
    train(tmp_path / 'run', 2, 4, done=False)
    assert not follow.follow(CONFIG, tmp_path / 'run', grace_seconds=0.2)
    assert steps(tmp_path / 'run') == [2, 4]  # what it left is scored
    assert 'ended at step 4, of 6 steps, without being complete' in caplog.text


def test_a_run_that_was_killed_before_its_first_checkpoint_is_told_so(tmp_path, caplog):
    train(tmp_path / 'run', done=False)
    shutil.rmtree(tmp_path / 'run' / 'checkpoints')
    assert not follow.follow(CONFIG, tmp_path / 'run', grace_seconds=0.2)
    assert 'ended before its first checkpoint' in caplog.text


def test_a_run_that_failed_is_not_waited_for_at_all(tmp_path, caplog):
    workdir = Workdir(tmp_path / 'run')
    train(workdir.path, 2, done=False)
    with pytest.raises(FloatingPointError), workdir.claimed(CONFIG), workdir.failure_marked():
        raise FloatingPointError('The loss was not finite.')
    assert not follow.follow(CONFIG, workdir.path, grace_seconds=3600)
    assert steps(workdir.path) == [2]
    assert 'failed: FloatingPointError: The loss was not finite.' in caplog.text
    with workdir.claimed(CONFIG):  # started again
        assert workdir.failure == ''


def test_a_run_that_takes_its_time_is_waited_for(tmp_path):
    workdir = Workdir(tmp_path / 'run')
    train(workdir.path, 2, done=False)
    ready, stop = threading.Event(), threading.Event()

    def slowly():
        with workdir.claimed(CONFIG):
            ready.set()
            stop.wait(0.8)
            workdir.mark_done({'step': 2})

    thread = threading.Thread(target=slowly)
    thread.start()
    assert ready.wait(30)
    assert follow.follow(CONFIG, workdir.path, grace_seconds=0.3)
    thread.join()


def test_a_side_car_that_is_started_again_scores_what_is_new(tmp_path, scored):
    train(tmp_path / 'run', 2, 4, done=False)
    assert not follow.follow(CONFIG, tmp_path / 'run', grace_seconds=0.2)
    assert scored == [2, 4]
    train(tmp_path / 'run', 6)
    assert follow.follow(CONFIG, tmp_path / 'run')
    assert scored == [2, 4, 6]


def test_a_run_whose_lock_is_not_seen_lives_as_long_as_it_saves(tmp_path, monkeypatch):
    """As on a shared folder without locks."""
    workdir = Workdir(tmp_path / 'run')
    train(workdir.path, 2, done=False)
    monkeypatch.setattr(Workdir, 'in_training', False)
    clock, left = [0.0], [3, 4, 5]

    def poll(seconds):
        clock[0] += 40
        step = left.pop(0)
        train(workdir.path, step, done=not left)

    times = types.SimpleNamespace(sleep=poll, monotonic=lambda: clock[0])
    monkeypatch.setattr(checkpoint, 'time', times)
    monkeypatch.setattr(follow, 'time', times)
    assert follow.follow(CONFIG, workdir.path, grace_seconds=60.0)
    assert steps(workdir.path) == [2, 3, 4, 5]


def test_a_file_in_place_of_the_folder_is_not_waited_for(tmp_path):
    (tmp_path / 'run').write_text('mine')
    with pytest.raises(UserError, match='it is not a folder'):
        follow.follow(CONFIG, tmp_path / 'run')


def test_a_side_car_that_gave_up_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(follow, 'follow', lambda config, path: False)
    file = tmp_path / 'config.py'
    file.write_text(
        'from n2n_jax import Config, to_config_dict\n\n\n'
        "def get_config(variant=''):\n    return to_config_dict(Config())\n"
    )
    flags = ['--config', str(file), '--workdir', str(tmp_path / 'run'), '--mode', 'follow']
    assert main.main(flags) == 1
