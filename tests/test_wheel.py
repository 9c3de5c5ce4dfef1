"""What is shipped: the wheel holds everything, and its commands work away from the sources."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from n2n_jax.images import image_io

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    """A folder that holds the unpacked wheel, as site-packages would."""
    sources = tmp_path_factory.mktemp('sources')
    shutil.copytree(
        ROOT / 'n2n_jax', sources / 'n2n_jax', ignore=shutil.ignore_patterns('__pycache__')
    )
    for name in ('pyproject.toml', 'README.md', 'LICENSE'):
        shutil.copy(ROOT / name, sources)
    build = 'from setuptools.build_meta import build_wheel; build_wheel("out")'
    built = subprocess.run(
        [sys.executable, '-c', build], cwd=sources, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = (sources / 'out').glob('n2n_jax-*.whl')
    folder = tmp_path_factory.mktemp('site')
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def test_every_file_of_the_package_is_in_the_wheel(site):
    def files(folder):
        return {
            path.relative_to(folder)
            for path in folder.rglob('*')
            if path.is_file() and path.suffix != '.pyc'
        }

    assert files(site / 'n2n_jax') == files(ROOT / 'n2n_jax')
    assert (site / 'n2n_jax' / 'py.typed').exists()  # else type checkers ignore the annotations
    (script,) = site.glob('*.dist-info/entry_points.txt')
    assert 'n2n = n2n_jax.cli.n2n:program' in script.read_text()
    assert list(site.glob('*.dist-info/licenses/LICENSE'))


def test_the_image_is_built_of_what_the_wheel_is():
    copied = re.findall(r'^COPY (.+) \S+$', (ROOT / 'Dockerfile').read_text(), re.MULTILINE)
    allowed = re.findall(r'^!(.+)$', (ROOT / '.dockerignore').read_text(), re.MULTILINE)
    sources = {'pyproject.toml', 'README.md', 'LICENSE', 'n2n_jax'}
    assert {name for line in copied for name in line.split()} == set(allowed) == sources


@pytest.mark.slow  # minutes, on a busy machine
def test_own_captures_from_files_to_a_clean_one(site, tmp_path):
    """Two files and a third capture, in a folder of which nothing is ASCII or without a space."""
    folder = tmp_path / 'mesures ü 1'
    folder.mkdir()
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :80]
    clean = 120 + 60 * np.sin(x / 4) * np.sin(y / 5)
    for i in (1, 2, 3):
        noisy = np.rint(clean + rng.normal(0, 5, clean.shape)).clip(0, 255).astype(np.uint8)
        image_io.write_pixels(folder / f'c{i}.png', noisy)
    files = ['c1.png', 'c2.png', 'c3.png']
    environment = {**os.environ, 'PYTHONPATH': str(site), 'JAX_PLATFORMS': 'cpu'}

    def python(*arguments):
        result = subprocess.run(
            [sys.executable, *arguments],
            cwd=folder, env=environment, capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        return result.stdout + result.stderr

    def n2n(*arguments):
        return python('-m', 'n2n_jax.cli', *arguments)

    where = python('-c', 'import n2n_jax; print(n2n_jax.__file__)')
    assert where.strip() == str(site / 'n2n_jax' / '__init__.py')
    assert 'Verdict: fine.' in n2n('audit', *files, '--json', 'a.json', '--html', 'a.html')
    assert json.loads((folder / 'a.json').read_text())['verdict'] == 'fine'
    # Three steps learn nothing, and the last line must not say to use it.
    assert 'n2n denoise IMAGES' not in n2n('train', *files, '--workdir', 'run', '--steps', '3')
    table = n2n('score', *files, '--model', 'run', '--json', 'scores.json')
    assert '| model, mean of two results |' in table
    rows = json.loads((folder / 'scores.json').read_text())
    assert {row['scene'] for row in rows} == {'', 'c1'}
    n2n('denoise', 'c1.png', '-o', 'out.png', '--model', 'run')
    assert image_io.read_image(folder / 'out.png').pixels.shape == (64, 80)
    assert 'gaussian-color' in n2n('models')
    said = n2n('denoise', 'c2.png')
    assert 'noise that is independent from pixel to pixel' in said
    assert said.splitlines()[-1] == 'c2_denoised.png'
    assert image_io.read_image(folder / 'c2_denoised.png').pixels.shape == (64, 80)
    n2n('show-noise', 'text:0.3', '--image', 'c1.png', '-o', 'sheet.png')
    assert image_io.read_image(folder / 'sheet.png').pixels.ndim == 3
    # Written by the training, and taken by the other program.
    python('-m', 'n2n_jax.main', '--config', 'run/config.py', '--workdir', 'again')
    weights = [json.loads((folder / run / 'DONE.json').read_text()) for run in ('run', 'again')]
    assert weights[0]['weights_sha256'] == weights[1]['weights_sha256']
