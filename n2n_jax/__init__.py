"""Train image denoisers from noisy images alone (Noise2Noise), and know how good they are."""

import importlib
from typing import TYPE_CHECKING, Any

from n2n_jax.runtime import xla_options

if TYPE_CHECKING:
    from n2n_jax.denoise.denoiser import Denoiser
    from n2n_jax.runtime.config import Config, to_config_dict
    from n2n_jax.runtime.errors import UserError, did_you_mean

__version__ = '0.1.0'

# The public path: configs, run folders and docs import from here alone. Loaded when asked for, as
# most commands need only a part of it.
__all__ = ['Config', 'Denoiser', 'UserError', '__version__', 'did_you_mean', 'to_config_dict']

_HOMES = {
    'Config': 'n2n_jax.runtime.config',
    'Denoiser': 'n2n_jax.denoise.denoiser',
    'UserError': 'n2n_jax.runtime.errors',
    'did_you_mean': 'n2n_jax.runtime.errors',
    'to_config_dict': 'n2n_jax.runtime.config',
}

xla_options.set_defaults()  # before JAX is used by whatever is imported next


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
