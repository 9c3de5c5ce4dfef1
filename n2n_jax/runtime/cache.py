"""The cache folder, for files that can be recreated: generated images, compiled code."""

import os
import tempfile
from pathlib import Path


def default_cache_dir() -> Path:
    """Returns $N2N_JAX_CACHE, else n2n_jax inside $XDG_CACHE_HOME, else ~/.cache/n2n_jax."""
    if folder := os.environ.get('N2N_JAX_CACHE'):
        return Path(folder).expanduser()
    if folder := os.environ.get('XDG_CACHE_HOME'):
        return Path(folder) / 'n2n_jax'
    try:
        return Path.home() / '.cache' / 'n2n_jax'
    except RuntimeError:  # a container may run as a user without a home
        return Path(tempfile.gettempdir()) / 'n2n_jax'
