"""docs/systems.md: every system on the page is there, and every command on it runs."""

import importlib.util
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import random_weights
import safetensors.numpy
from command_line import n2n
from PIL import Image
from skimage import data

from n2n_jax import corruptions, main, models
from n2n_jax.evaluate import baselines
from n2n_jax.runtime import config_flags
from n2n_jax.train import losses, optimizers

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / 'docs' / 'systems.md').read_text('utf-8')
ROWS = re.findall(r'^\| (?!system |---)(.*?) \|(.*)\|$', PAGE, re.MULTILINE)
COMMANDS = {
    f'{number} {name}': re.findall(r'`((?:configs/|n2n ).*?)`', cells)
    for number, (name, cells) in enumerate(ROWS)
}
TRAINED = [
    command
    for commands in COMMANDS.values()
    for command in commands
    if command.startswith('configs/')
]
SHORT = [
    f'--config.{setting}'
    for setting in (
        'train.steps=2', 'train.log_every=1', 'train.tensorboard=False', 'data.batch_size=2',
        'data.crop=32', 'optim.warmup_steps=0', 'eval.sets=photos=folder:photos',
    )
]  # fmt: skip
ELSE = {'data.train': 'data.train=folder:photos', 'eval.metrics': 'eval.in_loop=False'}
PACKAGES = {'bm3d': 'bm3d', 'wavelet': 'pywt'}  # of extras


def flags(command):
    return ['--workdir', 'runs/mine', '--config', *shlex.split(command)]


def test_only_rendering_and_mri_are_not_built():
    assert len(TRAINED) > 50
    unbuilt = [name for name, cells in ROWS if '*not built*' in cells]
    assert unbuilt == ['Monte Carlo rendering, MRI']
    others = {
        'exchange of input and target',
        'the U-Net with Gaussian, Bernoulli and Poisson noise and text',
    }
    without = {name.split(' ', 1)[1] for name, commands in COMMANDS.items() if not commands}
    assert without == {*unbuilt, *others}


@pytest.mark.parametrize(
    'registry',
    [
        models.REGISTRY, losses.REGISTRY, optimizers.REGISTRY, corruptions.REGISTRY,
        baselines.REGISTRY,
    ],
    ids=['networks', 'losses', 'optimizers', 'corruptions', 'baselines'],
)  # fmt: skip
def test_everything_registered_is_on_the_page(registry):
    words = set(re.findall(r'\w+', PAGE))
    assert sorted(set(registry) - words - {'tiny'}) == []


@pytest.mark.parametrize('command', TRAINED)
def test_a_config_is_valid(command, monkeypatch):
    monkeypatch.chdir(ROOT)
    config, _, _ = config_flags.parse(flags(command), '')
    models.build(config.model)


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """A folder with every file that the page names."""
    folder = tmp_path_factory.mktemp('files')
    shutil.copytree(ROOT / 'configs', folder / 'configs')
    rng = np.random.default_rng(0)
    (folder / 'photos').mkdir()
    (folder / 'depth').mkdir()
    image_HWC = data.astronaut()[64:160, 160:256]
    Image.fromarray(image_HWC).save(folder / 'photos' / '1.png')
    Image.fromarray(image_HWC[..., 0]).save(folder / 'depth' / '1.png')
    np.save(folder / 'kernels.npy', rng.random((3, 9, 9), np.float32))
    clean_NHWC = image_HWC.reshape(3, 32, 96, 3)
    for name in ('first.npy', 'second.npy'):
        np.save(folder / name, np.float32(rng.normal(clean_NHWC, 20)))
    np.savez(folder / 'vgg16.npz', **random_weights.vgg16())
    np.savez(folder / 'lpips.npz', **random_weights.lpips_alex())
    safetensors.numpy.save_file(random_weights.resnet(), folder / 'resnet50.safetensors')
    return folder


@pytest.mark.slow
@pytest.mark.parametrize('row', COMMANDS)
def test_every_command_runs(row, files, monkeypatch):
    for name, module in PACKAGES.items():
        if name in ' '.join(COMMANDS[row]) and importlib.util.find_spec(module) is None:
            pytest.skip(f'needs the package {module}')
    monkeypatch.chdir(files)
    for command in COMMANDS[row]:
        if command.startswith('configs/'):
            shutil.rmtree('runs', ignore_errors=True)
            extra = [f'--config.{setting}' for key, setting in ELSE.items() if key not in command]
            assert main.main([*flags(command), *SHORT, *extra]) == 0
        else:
            _, name, *words = shlex.split(command)
            short = {'train': ['--steps', '2'], 'denoise': ['--force']}
            assert n2n(name, *words, *short.get(name, [])) == 0
