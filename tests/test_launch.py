"""launch/local.sh: which interpreter it takes, and what it says where there is none."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOOLS = ('bash', 'cat', 'dirname', 'mkdir')
RUNS = f'#!/bin/sh\nexec {sys.executable} "$@"\n'
DOES_NOT_RUN = '#!/bin/sh\necho "version is not installed" >&2\nexit 127\n'
# Stands in for the installer, and says what it was called with.
UV = """#!/bin/sh
echo "uv $*" >&2
if [ "$1" = venv ]; then
  for folder in "$@"; do :; done
  mkdir -p "$folder/bin"
fi
"""


@pytest.fixture
def commands(tmp_path):
    """A folder that takes the place of PATH."""
    folder = tmp_path / 'path'
    folder.mkdir()
    for name in TOOLS:
        (folder / name).symlink_to(shutil.which(name))
    add(folder, 'uv', UV)
    return folder


def add(folder, name, text):
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)


def launch(commands, *command, **environment):
    environment = {'VENV': str(commands.parent / 'venv'), **environment, 'PATH': str(commands)}
    script = [shutil.which('bash'), str(ROOT / 'launch' / 'local.sh'), *command]
    kept = {name: os.environ[name] for name in ('HOME', 'LANG') if name in os.environ}
    return subprocess.run(script, env={**kept, **environment}, capture_output=True, text=True)


def test_the_newest_python_that_runs_is_taken(commands):
    add(commands, 'python3.13', DOES_NOT_RUN)  # as pyenv's for a version it knows and does not run
    add(commands, 'python3.12', RUNS)
    add(commands, 'python3.11', RUNS)
    done = launch(commands, 'bash', '-c', 'echo ran')
    assert done.returncode == 0, done.stderr
    assert done.stdout == 'ran\n'
    assert 'uv venv --quiet --allow-existing --python python3.12 ' in done.stderr
    assert '(python3.12)' in done.stderr


@pytest.mark.parametrize(
    ('environment', 'seen'),
    [
        ({}, 'glibc.malloc.hugetlb=1'),
        ({'GLIBC_TUNABLES': 'glibc.malloc.check=1'}, 'glibc.malloc.check=1'),
        ({'GLIBC_TUNABLES': ''}, ''),
    ],
)
def test_large_pages_are_asked_for_unless_the_user_says_otherwise(commands, environment, seen):
    add(commands, 'python3.13', RUNS)
    done = launch(commands, 'bash', '-c', 'echo "$GLIBC_TUNABLES"', **environment)
    assert done.stdout == f'{seen}\n', done.stderr


def test_a_python_that_is_asked_for_is_taken(commands):
    add(commands, 'python3.13', RUNS)
    done = launch(commands, 'bash', '-c', 'echo ran', PYTHON=sys.executable)
    assert done.returncode == 0, done.stderr
    assert f'--python {sys.executable} ' in done.stderr


def test_a_python_that_is_asked_for_and_does_not_run_is_named(commands):
    add(commands, 'python3.13', RUNS)
    done = launch(commands, 'bash', PYTHON='/no/such/python')
    assert done.returncode == 2
    assert 'PYTHON=/no/such/python is no Python 3.11 to 3.13' in done.stderr
    assert 'uv' not in done.stderr


def test_where_there_is_no_python_it_says_so(commands):
    add(commands, 'python3', DOES_NOT_RUN)
    done = launch(commands, 'bash')
    assert done.returncode == 2
    assert 'no Python 3.11 to 3.13 with venv was found' in done.stderr


def test_another_python_than_that_of_the_environment_is_refused(commands, tmp_path):
    (tmp_path / 'venv' / 'bin').mkdir(parents=True)
    add(tmp_path / 'venv' / 'bin', 'python', RUNS)
    add(commands, 'python3.10', '#!/bin/sh\necho 3.10\n')
    done = launch(commands, 'bash', PYTHON='python3.10')
    assert done.returncode == 2
    version = f'{sys.version_info.major}.{sys.version_info.minor}'
    assert f'venv has Python {version}: remove that folder' in done.stderr
