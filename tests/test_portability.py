"""What runs on Linux also loads where modules and calls of Unix are missing, as on Windows."""

import os
import subprocess
import sys

from n2n_jax.runtime import device_memory

NOT_ON_WINDOWS = ('fcntl', 'grp', 'pwd', 'resource', 'termios')
MODULES = (
    'n2n_jax', 'n2n_jax.denoise.denoiser', 'n2n_jax.train.loop', 'n2n_jax.main', 'n2n_jax.cli',
)  # fmt: skip
PROGRAM = f"""
import importlib, sys
for name in {NOT_ON_WINDOWS}:
    sys.modules[name] = None  # an import of it fails
for name in {MODULES}:
    importlib.import_module(name)
"""


def test_it_loads_without_the_modules_of_unix():
    done = subprocess.run([sys.executable, '-c', PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_system_that_does_not_tell_its_memory_is_taken_to_have_enough(monkeypatch):
    monkeypatch.delattr(os, 'sysconf')
    assert device_memory.device_bytes() > 0
    assert device_memory.available_bytes() > 0
