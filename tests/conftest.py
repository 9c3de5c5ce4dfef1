"""Eight virtual CPU devices for every test, and the strictness the code is written for."""

import atexit
import gc
import logging
import os
import shutil
import signal
import tempfile
from importlib import metadata

# Tests, workers and the programs they start share compiled code, of this session alone.
if 'PYTEST_XDIST_WORKER' not in os.environ:
    _COMPILED = tempfile.mkdtemp(prefix='n2n_jax_compiled_')
    os.environ['JAX_COMPILATION_CACHE_DIR'] = _COMPILED
    os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0.2'
    atexit.register(shutil.rmtree, _COMPILED, ignore_errors=True)

# Most of the time is compiling; what is compiled in a hurry computes the same.
_IN_A_HURRY = '--xla_backend_optimization_level=0'
if metadata.version('jaxlib').startswith('0.10.'):
    _IN_A_HURRY += ' --xla_cpu_use_fusion_emitters=false'  # later ones end at the unknown flag
os.environ.setdefault('XLA_FLAGS', _IN_A_HURRY)

# Ctrl-C is ignored in what a shell starts in the background, and so it is in programs from there.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import jax
import numpy as np
import pytest
from tiny import TinyNet

from n2n_jax import models

jax.config.update('jax_num_cpu_devices', 8)
jax.config.update('jax_numpy_rank_promotion', 'raise')


@pytest.fixture(autouse=True)
def _tiny_network(monkeypatch):
    monkeypatch.setitem(
        models.REGISTRY, 'tiny', lambda config, dtype: TinyNet(config.channels, config.norm)
    )


@pytest.fixture(autouse=True, scope='module')
def _little_memory():
    """What was compiled for one file is of no use to the next."""
    yield
    jax.clear_caches()
    gc.collect()


@pytest.fixture(autouse=True)
def _logging_as_before():
    """Commands that run inside a test set up the log of their process."""
    loggers = [logging.getLogger(name) for name in ('n2n_jax', 'tifffile')]
    before = [(logger.handlers, logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, state in zip(loggers, before, strict=True):
        logger.handlers, logger.level, logger.propagate = state


@pytest.fixture(autouse=True)
def _signals_as_before():
    """A command that was asked to stop leaves them ignored, as its process ends."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        if handler is not None:  # one that is not Python's
            signal.signal(number, handler)


@pytest.fixture
def image_folder(tmp_path):
    """Five smooth 8-bit color images of two sizes, as each is compiled for."""
    from n2n_jax.images import image_io

    folder = tmp_path / 'images'
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(5):
        h, w = [(24, 40), (28, 36)][i % 2]
        coarse = rng.random((h // 8 + 1, w // 8 + 1, 3)).repeat(8, 0).repeat(8, 1)[:h, :w]
        image_io.write_pixels(folder / f'image{i}.png', np.uint8(coarse * 255))
    return folder
