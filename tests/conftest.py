"""Setup of all tests: eight virtual CPU devices, strict rank promotion, the tiny network."""

import atexit
import gc
import logging
import os
import shutil
import signal
import tempfile
from importlib import metadata

# Workers and the programs that tests start share compiled code, but only within this session.
if 'PYTEST_XDIST_WORKER' not in os.environ:
    _COMPILED = tempfile.mkdtemp(prefix='n2n_jax_compiled_')
    os.environ['JAX_COMPILATION_CACHE_DIR'] = _COMPILED
    # Also the smallest programs, such as one operation outside of jit: a test may run 200 of them.
    os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0'
    atexit.register(shutil.rmtree, _COMPILED, ignore_errors=True)

# Tests spend most of their time compiling, so optimization costs more than it saves; those that
# compute for longer than they compile take `optimized.jit`.
_FAST_COMPILATION = '--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1'
if metadata.version('jaxlib').startswith('0.10.'):
    _FAST_COMPILATION += ' --xla_cpu_use_fusion_emitters=false'  # later versions reject this flag
os.environ.setdefault('XLA_FLAGS', _FAST_COMPILATION)

# Programs that a shell starts in the background ignore Ctrl-C, and their children inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import jax
import numpy as np
import pytest
from shared_steps import sharing
from tiny import TinyNet

from n2n_jax import models
from n2n_jax.runtime import user_code
from n2n_jax.runtime.parallel import make_layout
from n2n_jax.train import prepared

jax.config.update('jax_num_cpu_devices', 8)
jax.config.update('jax_numpy_rank_promotion', 'raise')


@pytest.fixture(autouse=True)
def _tiny_network(monkeypatch):
    monkeypatch.setitem(models.REGISTRY, 'tiny', TinyNet)


@pytest.fixture(autouse=True)
def _user_code_forgotten():
    yield
    user_code.forget()


_ONE_DEVICE, _ALL_DEVICES = (jax.devices()[:1],), make_layout.__defaults__
make_layout.__defaults__ = _ONE_DEVICE  # for fixtures of a wider scope, too


@pytest.fixture(autouse=True)
def _devices(request, monkeypatch):
    """Lets runs use one of the eight devices: on two cores, a step on eight takes twice as long.

    Tests about several devices are marked `eight_devices`, or choose their devices themselves.
    """
    if 'eight_devices' in request.keywords:
        monkeypatch.setattr(make_layout, '__defaults__', _ALL_DEVICES)


@pytest.fixture(autouse=True, scope='module')
def _caches_cleared():
    """Frees the compiled code of each test file, which the next file does not use."""
    yield
    jax.clear_caches()
    gc.collect()


@pytest.fixture(scope='module')
def _sharing():
    return sharing(prepared.compile_step)


@pytest.fixture
def steps_shared(_sharing, monkeypatch):
    """Lets the runs of a test file share the compiled steps of equal settings."""
    monkeypatch.setattr(prepared, 'compile_step', _sharing)


@pytest.fixture(autouse=True)
def _logging_restored():
    """Restores the loggers, which commands that run inside a test reconfigure."""
    loggers = [logging.getLogger(name) for name in ('n2n_jax', 'tifffile')]
    before = [(logger.handlers, logger.level, logger.propagate) for logger in loggers]
    root, root_level = logging.getLogger(), logging.getLogger().level
    yield
    root.setLevel(root_level)
    logging.captureWarnings(False)
    for logger, state in zip(loggers, before, strict=True):
        logger.handlers, logger.level, logger.propagate = state


@pytest.fixture(autouse=True)
def _signals_restored():
    """Restores signal handlers: a command that was asked to stop leaves the signals ignored."""
    names = ('SIGINT', 'SIGTERM', 'SIGHUP')  # Windows has no SIGHUP
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        if handler is not None:  # None: not set by Python
            signal.signal(number, handler)


@pytest.fixture
def image_folder(tmp_path):
    """A folder of five smooth 8-bit color images of only two sizes, as each size is compiled."""
    from n2n_jax.images import image_io

    folder = tmp_path / 'images'
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(5):
        h, w = [(24, 40), (28, 36)][i % 2]
        coarse = rng.random((h // 8 + 1, w // 8 + 1, 3)).repeat(8, 0).repeat(8, 1)[:h, :w]
        image_io.write_pixels(folder / f'image{i}.png', np.uint8(coarse * 255))
    return folder
