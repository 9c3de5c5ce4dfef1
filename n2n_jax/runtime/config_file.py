"""Runs and writes the Python config files that `python -m n2n_jax.main --config` takes."""

import os
import pprint
import runpy
import sys
import textwrap
from typing import Any

from ml_collections import ConfigDict

from n2n_jax.runtime.config import Config, flatten
from n2n_jax.runtime.config_versions import REPLACED
from n2n_jax.runtime.errors import UserError


def load(file_and_variant: str) -> ConfigDict:
    """Runs a config file, once, and returns its config.

    Args:
      file_and_variant: such as 'configs/unet_gauss.py:quick,clean'. The text after the colon is
        passed to the file's `get_config`.

    Raises:
      UserError: there is no such file, or it fails; UserErrors of the file are raised unchanged.
    """
    file, colon, variant = file_and_variant.partition(':')
    if not os.path.isfile(file):
        raise UserError(f"There is no config file '{file}'.")
    # Derived configs import their parent as `configs.NAME`.
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(file))))
    try:
        get_config = runpy.run_path(file)['get_config']
    except UserError:
        raise
    except Exception as error:
        if isinstance(error, ImportError) and (error.name or '').startswith('n2n_jax'):
            raise UserError(
                f'{file} was written for another version of n2n_jax ({error}): write '
                "'from n2n_jax import Config, to_config_dict' in it."
            ) from None
        raise UserError(
            f'{file} is not a config file that defines get_config() ({described(error)}).'
        ) from None
    try:
        values = get_config(variant) if colon else get_config()
    except UserError:
        raise
    except Exception as error:
        where = f'line {line_of(error, file)}, ' if line_of(error, file) else ''
        problem = _replaced_key(error) or described(error)
        raise UserError(f'{file}: get_config() failed ({where}{problem}).') from None
    return _as_config_dict(values, file)


def _replaced_key(error: Exception) -> str:
    """Returns what to write instead of a key that is gone; '' if the error is another one."""
    for key, words in REPLACED.items():  # ConfigDict says 'Key "norm" does not exist'
        if f'Key "{key.partition(".")[2]}" does not exist' in str(error):
            return f"config key '{key}' is gone: {words}"
    return ''


def described(error: BaseException) -> str:
    """Returns the type and the message of an error."""
    return f'{type(error).__name__}: {error}'


def line_of(error: BaseException, file: str) -> int | None:
    """Returns the line of the file in which the error was raised, None if outside the file."""
    line, frame = None, error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_code.co_filename == file:
            line = frame.tb_lineno
        frame = frame.tb_next
    return line


def _as_config_dict(values: Any, file: str) -> ConfigDict:
    if isinstance(values, ConfigDict):
        return values
    if isinstance(values, dict):
        return ConfigDict(values)
    raise UserError(
        f'get_config() of {file} returns {values!r}, which is not a config: end it with '
        "'return config'."
    )


def source(config: Config) -> str:
    """Returns the text of a config file that sets what differs from the default config."""
    default = flatten(Config())
    changed = {key: value for key, value in flatten(config).items() if value != default[key]}
    lines = textwrap.indent(pprint.pformat(changed, sort_dicts=False), ' ' * 8)
    return (
        '"""Written by n2n_jax: python -m n2n_jax.main --config THIS_FILE --workdir RUN."""\n\n'
        'from n2n_jax import Config, to_config_dict\n\n\n'
        "def get_config(variant=''):\n"
        '    """What differs from the default config."""\n'
        '    del variant\n'
        '    config = to_config_dict(Config())\n'
        f'    config.update_from_flattened_dict(\n{lines}\n    )\n'
        '    return config\n'
    )
