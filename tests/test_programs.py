"""The programs as people start them: processes, signals, exit codes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from n2n_jax.images import image_io

ROOT = Path(__file__).parents[1]
SMALL = [
    '--config.data.batch_size=2', '--config.data.crop=32', '--config.optim.warmup_steps=0',
    '--config.train.log_every=1', '--config.eval.every=0', '--config.eval.in_loop=False',
    '--config.train.tensorboard=False',
]  # fmt: skip


def start(*arguments, module='n2n_jax.main', **environment):
    return subprocess.Popen(
        [sys.executable, '-m', module, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, 'JAX_PLATFORMS': 'cpu', **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(*arguments, **environment):
    process = start(*arguments, **environment)
    output, _ = process.communicate(timeout=600)
    return process.returncode, output


def slow(*case):
    return pytest.param(*case, marks=pytest.mark.slow)


@pytest.fixture
def small_run(image_folder):
    image_io.write_pixels(image_folder / 'large.png', np.full((40, 40, 3), 99, np.uint8))
    for path in image_folder.glob('image*.png'):
        path.unlink()
    return [
        '--config', 'configs/unet_gauss.py:quick', f'--config.data.train=folder:{image_folder}',
        *SMALL,
    ]  # fmt: skip


def weights(workdir):
    return json.loads((workdir / 'DONE.json').read_text())['weights_sha256']


@pytest.mark.slow
def test_kill_9_and_the_same_command_again_equals_an_undisturbed_run(small_run, tmp_path):
    arguments = [
        *small_run, '--config.train.steps=12', '--config.train.checkpoint_every=3',
        '--config.model.name=tiny',
    ]  # fmt: skip
    tiny = {'module': 'tests.tiny_main'}
    status, output = run(*arguments, '--workdir', tmp_path / 'straight', **tiny)
    assert status == 0, output

    process = start(*arguments, '--workdir', tmp_path / 'killed', **tiny)
    checkpoints = tmp_path / 'killed' / 'checkpoints'
    deadline = time.monotonic() + 300
    while not (checkpoints / '3').exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / 'killed' / 'DONE.json').exists()

    status, output = run(*arguments, '--workdir', tmp_path / 'killed', **tiny)
    assert status == 0, output
    assert 'Resumed at step' in output
    assert weights(tmp_path / 'killed') == weights(tmp_path / 'straight')


@pytest.mark.parametrize(
    ('extra', 'words'),
    [
        (['--config.data.train=folder:/no/such/folder'], ['/no/such/folder']),
        (['--config.trian.steps=5'], ["Did you mean 'train.steps'"]),
        (['--config.train.steps=many'], ['train.steps', 'many']),
        (['--config', 'README.md'], ['README.md is not a config file', 'SyntaxError']),
        slow(['--config.data.crop=4096'], ['larger than every image', 'data.crop=40']),
        slow(['--config.noise.input=gausian:25'], ["Did you mean 'gaussian'"]),
        slow(['--config.model.name=unett'], ["Did you mean 'unet'"]),
        slow(['--config', 'configs/nothing.py'], ['configs/nothing.py']),
        slow(['--config', 'tests/tiny.py'], ['tests/tiny.py is not a config file', 'get_config']),
        slow(['--config.data.train=folder:'], ['folder:PATH']),
        slow(['--config', 'configs/unet_gauss.py:quik'], ["Did you mean 'quick'"]),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(small_run, extra, words, tmp_path):
    status, output = run(*small_run, *extra, '--workdir', tmp_path / 'run')
    assert status not in (0, None)
    for word in words:
        assert word in output
    assert 'Traceback' not in output
    assert len(output.strip().splitlines()) <= 4, output
    assert not (tmp_path / 'run' / 'checkpoints').exists()


def test_following_before_there_is_a_run_says_that_it_waits(small_run, tmp_path):
    process = start(*small_run, '--mode', 'follow', '--workdir', tmp_path / 'run')
    first = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=100)
    assert f'Waiting for a run to start in {tmp_path / "run"}' in first
    assert process.returncode == 130
    assert 'Traceback' not in output


def test_missing_flags_are_named():
    status, output = run('--config', 'configs/unet_gauss.py:quick')
    assert status == 2
    assert '--workdir is missing' in output


@pytest.mark.slow
@pytest.mark.parametrize(
    'name',
    [
        *(f'{model}_{noise}' for model in ('unet', 'resnet50')
          for noise in ('gauss', 'poisson', 'bernoulli', 'impulse', 'text')),
        'dncnn_gauss',
        'red30_gauss',
    ],
)  # fmt: skip
def test_every_quick_config_trains_and_scores(name, tmp_path):
    status, output = run(
        '--config', f'configs/{name}.py:quick', '--workdir', tmp_path / 'run',
        '--config.data.train=dead_leaves:4', '--config.train.steps=2', '--config.eval.max_images=1',
        '--config.optim.warmup_steps=0', '--config.eval.every=0',
        N2N_JAX_CACHE=str(tmp_path),
    )  # fmt: skip
    assert status == 0, output
    (row,) = json.loads((tmp_path / 'run' / 'results.json').read_text())
    assert row['step'] == 2
    assert np.isfinite(row['metrics']['psnr']['out'])
    assert weights(tmp_path / 'run')


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['train', 'gone.png', '--workdir', 'run'], 'gone.png: no such file or folder'),
        slow(['score', 'gone.png', '--model', 'gone'], 'There is no run in gone'),
    ],
)
def test_wrong_commands_on_captures_end_in_a_sentence(arguments, words, tmp_path):
    result = subprocess.run(
        [sys.executable, '-m', 'n2n_jax.cli', *arguments],
        cwd=tmp_path, env={**os.environ, 'PYTHONPATH': str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 2
    assert words in result.stderr
    assert 'Traceback' not in result.stderr
    assert not list(tmp_path.iterdir())
