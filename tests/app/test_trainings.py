"""Trainings that the page starts: they outlive it, are found again, stop and resume."""

import sys
import time
from pathlib import Path

import pytest
from page_server import Client, encoded, noisy_pixels, serving, use_tiny_models

from n2n_jax.app import programs
from n2n_jax.app.local_folder import LocalFolder
from n2n_jax.app.settings import Settings
from n2n_jax.app.trainings import Order, Trainings
from n2n_jax.runtime.errors import UserError

PROGRAM = Path(__file__).with_name('tiny_program.py')
SECONDS = 120


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of the page, with two captures of a scene."""
    monkeypatch.setattr(programs, 'command_line', lambda args: [sys.executable, PROGRAM, *args])
    monkeypatch.setenv('XLA_FLAGS', '')
    use_tiny_models(tmp_path / 'models', monkeypatch)
    cells = tmp_path / 'folder' / 'cells'
    cells.mkdir(parents=True)
    for capture in range(2):
        pixels = encoded(noisy_pixels(96, 96, seed=capture)[..., 0])
        (cells / f'scene_{capture}.png').write_bytes(pixels)
    return cells.parent


def wait_for(condition):
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.slow
def test_a_training_outlives_the_page_and_is_stopped_and_resumed(folder, monkeypatch):
    monkeypatch.setenv('N2N_TEST_STEPS', '1000000')
    run = folder / 'runs' / 'mine'
    settings = Settings(folder, port=0)
    with serving(settings) as address, Client(address) as site:
        body = {'captures': 'cells', 'name': 'mine', 'fix': 'gain'}
        assert site.post('/api/trainings', json=body).status_code == 201
        again = site.post('/api/trainings', json={**body, 'name': 'other'})
        assert again.status_code == 422
        assert "'mine' is in training" in again.json()['error']
        wait_for(lambda: (run / 'metrics.jsonl').exists())
    assert Trainings(LocalFolder(folder)).state(run) == 'training'
    with serving(settings) as address, Client(address) as site:  # the program again, later
        (described,) = site.get('/api/trainings').json()
        assert (described['name'], described['state']) == ('runs/mine', 'training')
        assert described['curves']['loss']
        assert site.post('/api/trainings/runs/mine/stop').status_code == 200
        wait_for(lambda: address.state.trainings.state(run) == 'stopped')
        assert site.post('/api/trainings/runs/mine/stop').status_code == 422
        assert [model['name'] for model in site.get('/api/models').json()][-1] == 'runs/mine'
        report = site.get('/api/runs/runs/mine/report')
        assert 'Not complete' in report.text
        assert site.post('/api/trainings/runs/mine/resume').status_code == 200
        wait_for(lambda: address.state.trainings.state(run) == 'training')
        (described,) = site.get('/api/trainings').json()
        assert 'esum' in described['log']
        site.post('/api/trainings/runs/mine/stop')
        wait_for(lambda: address.state.trainings.state(run) == 'stopped')


@pytest.mark.slow
def test_a_trained_model_is_scored_and_denoises(folder, monkeypatch):
    monkeypatch.setenv('N2N_TEST_STEPS', '20')
    with serving(Settings(folder, port=0)) as address, Client(address) as site:
        site.post('/api/trainings', json={'captures': 'cells', 'name': 'mine'})
        run = folder / 'runs' / 'mine'
        wait_for(lambda: address.state.trainings.state(run) in ('complete', 'failed'))
        (described,) = site.get('/api/trainings').json()
        assert described['state'] == 'complete', described['log']
        assert site.get(f'/api/previews/{described["preview"]}').content[:4] == b'\x89PNG'
        job = site.post('/api/trainings/runs/mine/score').json()
        job = wait_job(site, job)
        assert job['state'] == 'done', job
        assert 'non-local means' in job['result']['table']
        picture = site.post(
            '/api/pictures',
            params={'name': 'a.png'},
            data=(folder / 'cells/scene_0.png').read_bytes(),
        ).json()
        address_of = f'/api/pictures/{picture["id"]}'
        job = wait_job(site, site.post(f'{address_of}/denoise', json={'model': 'runs/mine'}).json())
        assert job['result'] == {'made_by': 'Denoised by runs/mine.'}
        assert site.get(f'{address_of}/result').status_code == 200


def wait_job(site, job):
    while job['state'] in ('waiting', 'running'):
        job = site.get(f'/api/jobs/{job["id"]}', params={'wait': 10}).json()
    return job


def test_uploads_become_captures(folder, tmp_path):
    with serving(Settings(folder, port=0)) as address, Client(address) as site:
        refused = site.post('/api/captures', json={'name': 'mine'})
        assert 'No image is loaded' in refused.json()['error']
        for seed in range(2):
            name = {'name': 'image.png'}  # as pasted pictures are called
            site.post('/api/pictures', params=name, data=encoded(noisy_pixels(seed=seed)))
        kept = site.post('/api/captures', json={'name': 'mine'})
        assert kept.json() == {'captures': 'captures/mine'}
        again = site.post('/api/captures', json={'name': 'mine'})
        assert "There are captures 'mine' already" in again.json()['error']
        assert site.get('/api/captures').json()['folders'] == {'captures/mine': 2, 'cells': 2}
    assert (folder / 'captures/mine/image_2.png').read_bytes() == encoded(noisy_pixels(seed=1))


@pytest.mark.parametrize(
    ('order', 'words'),
    [
        (Order('../other', 'a'), 'not in the folder'),
        (Order('cells', '../a'), 'cannot be the name'),
        (Order('cells', 'a', minutes=0), 'between 0 minutes and a week'),
        (Order('cells', 'a', pattern='a\0b'), 'a character that none can hold'),
    ],
)
def test_orders_that_cannot_be_are_refused(folder, order, words):
    with pytest.raises(UserError, match=words):
        Trainings(LocalFolder(folder)).start(order)
    assert not (folder / 'runs' / 'a').exists()


def test_only_models_of_the_page_are_started_from(folder, tmp_path):
    with serving(Settings(folder, port=0)) as address, Client(address) as site:
        for start in (str(tmp_path / 'elsewhere'), '../elsewhere', 'nothing'):
            body = {'captures': 'cells', 'name': 'a', 'start': start}
            refused = site.post('/api/trainings', json=body)
            assert refused.status_code == 422
            assert 'There is no model' in refused.json()['error']
        for action in ('stop', 'resume', 'score'):
            assert site.post(f'/api/trainings/runs/a/{action}').status_code == 404
    assert not list((folder / 'runs').glob('*')) if (folder / 'runs').exists() else True


@pytest.mark.slow
def test_a_training_that_cannot_begin_tells_why(folder, monkeypatch):
    monkeypatch.setenv('N2N_TEST_STEPS', '2')
    (folder / 'cells' / 'scene_1.png').unlink()
    trainings = Trainings(LocalFolder(folder))
    run = trainings.start(Order('cells', 'mine'))
    wait_for(lambda: trainings.state(run) == 'failed')
    described = trainings.described(run)
    assert 'scene' in described['log']
