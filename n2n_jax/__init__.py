"""Train image denoisers from noisy images alone (Noise2Noise), and know how good they are."""

import importlib
from typing import Any

__version__ = '0.1.0'

# The public path, which configs, run folders and docs use alone. Loaded when it is asked for.
_PUBLIC = {
    'Config': 'n2n_jax.runtime.config',
    'Denoiser': 'n2n_jax.denoise.denoiser',
    'UserError': 'n2n_jax.runtime.errors',
    'did_you_mean': 'n2n_jax.runtime.errors',
    'to_config_dict': 'n2n_jax.runtime.config',
}


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(importlib.import_module(_PUBLIC[name]), name)
