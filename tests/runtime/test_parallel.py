"""Several processes train as one."""

import contextlib
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import pytest

from n2n_jax.runtime import parallel
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.workdir import Workdir
from n2n_jax.train import loop

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ('spec', 'words'),
    [
        ('auto', 'train.distributed=auto finds no cluster here'),
        ('host:1,2', 'cannot be parsed'),
        ('host:1,2,2', 'counts from 0 to NUM_PROCESSES - 1'),
    ],
)
def test_processes_that_cannot_meet_are_told_of_in_a_sentence(spec, words, monkeypatch):
    if spec == 'auto':  # as it ends off a cluster; here JAX runs already, and would say that

        def no_cluster():
            raise ValueError('coordinator_address should be defined.')

        monkeypatch.setattr(jax.distributed, 'initialize', no_cluster)
    with pytest.raises(UserError, match=words):
        parallel.initialize(spec)


def test_a_single_process_hears_what_its_main_process_reads():
    assert parallel.from_main_process(lambda: [{'step': 3}]) == [{'step': 3}]
    with pytest.raises(UserError, match='no such file'):
        parallel.from_main_process(_fail)


@pytest.mark.parametrize('error', [KeyboardInterrupt, SystemExit, UserError])
def test_ctrl_c_in_one_process_leaves_no_other_waiting_for_it(error, monkeypatch):
    told = []
    monkeypatch.setattr(jax, 'process_count', lambda: 2)
    monkeypatch.setattr(
        parallel.multihost_utils, 'broadcast_one_to_all', lambda x: told.append(bool(x)) or x
    )

    def action():
        raise error

    with pytest.raises(error):
        parallel.on_main_process(action)
    assert told == [True]


def _fail():
    raise UserError('no such file')


@pytest.fixture
def port():
    """A free port among those that JAX derives from the job's number under SLURM."""
    for port in range(61440 + os.getpid() % 2000, 65535):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(('127.0.0.1', port))
            return port
    raise AssertionError('no free port')


@pytest.fixture
def start(image_folder):
    """Starts a run: (workdir, steps, train.distributed, flags, environment) -> process."""

    def start(workdir, steps, distributed, *flags, **environment):
        arguments = [
            sys.executable, '-m', 'tests.tiny_main', '--config', 'configs/unet_gauss.py:quick',
            '--config.model.name=tiny', '--config.noise.input=gaussian:25',  # which compiles fast
            '--workdir', str(workdir), f'--config.data.train=folder:{image_folder}',
            f'--config.eval.sets=folder:{image_folder}', '--config.eval.max_images=1',
            '--config.data.batch_size=2', '--config.data.crop=16', '--config.optim.warmup_steps=0',
            f'--config.train.steps={steps}', '--config.train.log_every=1', '--config.eval.every=2',
            '--config.train.checkpoint_every=1000', '--config.train.tensorboard=False',
            *flags, f'--config.train.distributed={distributed}',
        ]  # fmt: skip
        return subprocess.Popen(
            arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, 'JAX_PLATFORMS': 'cpu', **environment},
        )  # fmt: skip

    return start


def rows(workdir):
    return json.loads((workdir / 'results.json').read_text())


@pytest.mark.slow
def test_two_processes_make_the_run_of_one(start, port, tmp_path):
    flags = '--config.eval.batch_size=2'  # shared by the processes
    pair = [start(tmp_path / 'two', 4, f'127.0.0.1:{port},2,{i}', flags) for i in range(2)]
    outputs = [process.communicate(timeout=300)[0] for process in pair]
    assert [process.returncode for process in pair] == [0, 0], outputs
    config = Workdir(tmp_path / 'two').config()
    alone = dataclasses.replace(
        config,
        train=dataclasses.replace(config.train, distributed='off'),
        eval=dataclasses.replace(config.eval, batch_size=1),
    )
    assert loop.train(alone, tmp_path / 'one')  # here, as starting Python takes long

    assert 'step 4' in outputs[0]
    assert 'step 4' not in outputs[1]  # it is said once
    curves = [
        [json.loads(line) for line in (tmp_path / name / 'metrics.jsonl').read_text().splitlines()]
        for name in ('two', 'one')
    ]
    losses = [[line['loss'] for line in lines if 'loss' in line] for lines in curves]
    assert losses[0][0] == pytest.approx(losses[1][0], rel=1e-6)
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)  # Adam magnifies the last bits
    scores = [
        [row['metrics']['psnr']['out'] for row in rows(tmp_path / name)] for name in ('two', 'one')
    ]
    assert scores[0] == pytest.approx(scores[1], abs=0.01)


# That either signal stops a run is in test_interrupts.py and train/test_train.py too; what SLURM
# sends is SIGTERM.
@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_preempted_slurm_job_saves_one_step(start, port, tmp_path, number):
    slurm = {
        'SLURM_JOB_ID': str(port - 61440), 'SLURM_STEP_NODELIST': '127.0.0.1', 'SLURM_NTASKS': '2',
        'SLURM_STEP_NUM_NODES': '1',
    }  # fmt: skip
    pair = [
        start(
            tmp_path / 'run',
            1_000_000,
            'auto',
            '--config.train.steps_per_dispatch=10',
            '--config.train.log_every=10',
            '--config.eval.every=10',
            **slurm,
            SLURM_PROCID=str(i),
            SLURM_LOCALID=str(i),
        )
        for i in range(2)
    ]
    deadline = time.monotonic() + 300
    while not (tmp_path / 'run' / 'results.json').exists():
        assert time.monotonic() < deadline
        assert all(process.poll() is None for process in pair)
        time.sleep(0.05)
    for process in pair:
        process.send_signal(number)
    outputs = [process.communicate(timeout=300)[0] for process in pair]
    assert [process.returncode for process in pair] == [130, 130], outputs
    assert 'Stopped and saved at step' in outputs[0]
    saved = max(int(folder.name) for folder in (tmp_path / 'run' / 'checkpoints').iterdir())
    assert f'Stopped and saved at step {saved};' in outputs[0]


@pytest.mark.slow
def test_a_workdir_that_is_taken_ends_all_processes(start, port, tmp_path):
    (tmp_path / 'taken').mkdir()
    (tmp_path / 'taken' / 'thesis.txt').write_text('mine')
    pair = [start(tmp_path / 'taken', 4, f'127.0.0.1:{port},2,{i}') for i in range(2)]
    outputs = [process.communicate(timeout=100)[0] for process in pair]
    assert [process.returncode for process in pair] == [2, 2], outputs
    assert 'is not empty' in outputs[0]
    assert 'Process 0 failed: see its own message.' in outputs[1]
