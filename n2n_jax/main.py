r"""Trains or evaluates what a config file describes.

  python -m n2n_jax.main --config configs/resnet50_gauss.py:quick --workdir runs/quick
  python -m n2n_jax.main --config configs/unet_gauss.py --workdir runs/unet \
      --config.data.train=folder:photos --config.train.steps=20000
  python -m n2n_jax.main --config configs/unet_gauss.py --workdir runs/unet --mode evaluate
  python -m n2n_jax.main --config configs/unet_gauss.py --workdir runs/unet --mode follow

A workdir that holds a run is resumed. Ctrl-C saves first.
"""

import logging
import os
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags
from ml_collections import config_flags

from n2n_jax.runtime import config as config_lib
from n2n_jax.runtime import console
from n2n_jax.runtime.errors import UserError, did_you_mean

_CONFIG = config_flags.DEFINE_config_file(
    'config', None, 'Config file, with variants behind a colon: FILE.py:quick,clean.'
)
_WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of the run; made if missing.')
_MODE = flags.DEFINE_enum(
    'mode',
    'train',
    ['train', 'evaluate', 'follow'],
    'train; evaluate the last checkpoint of the workdir; or follow a run that is being trained, or '
    'will be, and evaluate each of its checkpoints.',
)


def _main(argv: Sequence[str]) -> int:
    if len(argv) > 1:
        raise app.UsageError(f"'{argv[1]}' is not understood: write --config FILE --workdir DIR.")
    console.set_up_logging()
    console.silence_orbax()
    with console.errors_in_one_sentence():
        # Here, as it takes seconds, in which Ctrl-C shall end in a sentence too.
        from n2n_jax.evaluate import follow
        from n2n_jax.runtime import parallel
        from n2n_jax.train import loop

        console.keep_compiled_code()
        config = config_lib.from_config_dict(_CONFIG.value)
        workdir = Path(_WORKDIR.value)
        parallel.initialize(config.train.distributed)
        if not parallel.is_main_process():
            console.show_errors_only()
        if _MODE.value == 'evaluate':
            follow.evaluate_checkpoint(config, workdir)
        elif _MODE.value == 'follow':
            return 0 if follow.follow(config, workdir) else console.EXIT_FAILED
        elif not loop.train(config, workdir):
            return console.EXIT_INTERRUPTED
    return 0


def _parse(argv: Sequence[str]) -> list[str]:
    """Parses the flags; says in a sentence what is wrong with them."""
    with console.errors_in_one_sentence():
        for i, argument in enumerate(argv):
            name, _, value = argument.lstrip('-').partition('=')
            if name == 'config':
                _try_config(value if '=' in argument else ''.join(argv[i + 1 : i + 2]))
            elif name.startswith('config.') and argument.startswith('-'):
                known = config_lib.flatten(config_lib.Config())
                key = name.removeprefix('config.')
                if key not in known:
                    raise UserError(f"Unknown config key '{key}'. {did_you_mean(key, known)}")
        try:
            arguments = flags.FLAGS(list(argv))
        except flags.Error as error:
            raise UserError(f'{error} See --help.') from None
        for flag in ('config', 'workdir'):
            if not flags.FLAGS[flag].value:
                raise UserError(f'--{flag} is missing. See --help.')
    return arguments


def _try_config(file_and_variant: str) -> None:
    """Runs a config file for its errors, which absl would bury in a traceback."""
    file, _, variant = file_and_variant.partition(':')
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
            f'{file} is no config file, which defines get_config() ({type(error).__name__}: '
            f'{error}).'
        ) from None
    get_config(variant)


def run() -> None:
    """Entry point."""
    logging.captureWarnings(True)
    app.run(_main, flags_parser=_parse)


if __name__ == '__main__':
    run()
