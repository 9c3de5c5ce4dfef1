r"""Trains or evaluates what a config file describes.

  python -m n2n_jax.main --config configs/resnet50_gauss.py:quick --workdir runs/quick
  python -m n2n_jax.main --config configs/unet_gauss.py --workdir runs/unet \
      --config.data.train=folder:photos --config.train.steps=20000
  python -m n2n_jax.main --config configs/unet_gauss.py --workdir runs/unet --mode evaluate
  python -m n2n_jax.main --config configs/unet_gauss.py --workdir runs/unet --mode follow

A workdir that holds a run is resumed. Ctrl-C saves first.
"""

import faulthandler
import logging
import sys
from collections.abc import Sequence

from n2n_jax.runtime import config_flags, console


def main(argv: Sequence[str]) -> int:
    """Trains or evaluates as the flags say; the exit status of the program."""
    console.set_up_logging()
    with console.errors_in_one_sentence():
        config, workdir, mode = config_flags.parse(argv, __doc__)
        _silence_libraries()
        # Imported here because it takes seconds, and Ctrl-C during that time must also end with a
        # one-line message.
        from n2n_jax.evaluate import follow
        from n2n_jax.runtime import parallel
        from n2n_jax.train import loop

        console.keep_compiled_code()
        parallel.initialize(config.train.distributed)
        if not parallel.is_main_process():
            console.show_errors_only()
        if mode == 'evaluate':
            follow.evaluate_checkpoint(config, workdir)
        elif mode == 'follow':
            return 0 if follow.follow(config, workdir) else console.EXIT_FAILED
        elif not loop.train(config, workdir):
            return console.EXIT_INTERRUPTED
    return 0


def _silence_libraries() -> None:
    """Keeps the log lines and warnings of others off the terminal."""
    logging.captureWarnings(True)
    logging.getLogger().setLevel(logging.CRITICAL)
    console.silence_orbax()


def run() -> None:
    """Entry point."""
    faulthandler.enable()
    with console.ended_at_once_if_stopped():
        sys.exit(main(sys.argv[1:]))


if __name__ == '__main__':
    run()
