"""Options that are given to XLA on import of the package."""

import os
import subprocess
import sys
from importlib import metadata

import pytest

from n2n_jax.runtime import xla_options

FLAG = '--xla_cpu_experimental_ynn_fusion_type'


@pytest.mark.parametrize(
    ('jaxlib', 'before', 'after'),
    [
        ('0.10.2', None, f'{FLAG}=-individual_convolution'),
        ('0.11.0', '--xla_dump_to=a', f'--xla_dump_to=a {FLAG}=-individual_convolution'),
        ('0.10.2', f'{FLAG}=dot', f'{FLAG}=dot'),
        ('0.12.0', None, f'{FLAG}=-reduce'),
        ('0.13.0', None, None),
        ('', None, None),
    ],
)
def test_each_version_gets_what_it_needs_unless_the_user_says_otherwise(
    jaxlib, before, after, monkeypatch
):
    monkeypatch.setattr(xla_options, '_jaxlib', lambda: jaxlib)
    if before is None:
        monkeypatch.delenv('XLA_FLAGS', raising=False)
    else:
        monkeypatch.setenv('XLA_FLAGS', before)
    xla_options.set_defaults()
    xla_options.set_defaults()
    assert os.environ.get('XLA_FLAGS') == after


def test_importing_the_package_sets_it_for_the_versions_that_need_it():
    program = "import n2n_jax, os; print(os.environ.get('XLA_FLAGS', ''))"
    environment = {name: value for name, value in os.environ.items() if name != 'XLA_FLAGS'}
    done = subprocess.run(
        [sys.executable, '-c', program], env=environment, capture_output=True, text=True
    )
    old = metadata.version('jaxlib').startswith(('0.10.', '0.11.'))
    value = '-individual_convolution' if old else '-reduce'
    assert done.stdout == f'{FLAG}={value}\n', done.stderr


@pytest.mark.parametrize('value', ['-individual_convolution', '-reduce'])
def test_xla_accepts_the_option(value):
    program = (
        f"import os; os.environ['XLA_FLAGS'] = '{FLAG}={value}'\n"
        'import jax; print(jax.jit(lambda x: x + 1)(1))'
    )
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
    assert done.stdout == '2\n', done.stderr
