"""Time from process start to the first training step, with and without a compilation cache."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

from n2n_jax.bench.speed.report import Row

_OURS = """
from n2n_jax.runtime import console
console.keep_compiled_code()
from n2n_jax.bench.speed import training
step, _ = training.our_step(training.benchmark_config('unet', 4, 64, 'float32'))
step()
"""
_THEIRS = """
from n2n_jax.bench.speed import training
step, _ = training.their_step('unet', 4, 64, 'float32', compiled=False)
step()
"""


def _seconds(program: str, cache: str) -> float:
    start = time.perf_counter()
    environment = {**os.environ, 'JAX_COMPILATION_CACHE_DIR': cache}
    subprocess.run([sys.executable, '-c', program], env=environment, check=True)
    return time.perf_counter() - start


def rows(quick: bool) -> Iterator[Row]:
    """Measures seconds; both rows are compared with the same time of PyTorch."""
    theirs = min(_seconds(_THEIRS, '') for _ in range(2))
    with tempfile.TemporaryDirectory() as cache:
        cold = _seconds(_OURS, cache)
        warm = min(_seconds(_OURS, cache) for _ in range(1 if quick else 3))
    yield Row('start to first step, nothing compiled yet', cold, theirs, 's', 'PyTorch, eager')
    yield Row('start to first step, with the cache', warm, theirs, 's', 'PyTorch, eager')
