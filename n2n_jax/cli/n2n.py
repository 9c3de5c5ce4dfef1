"""The `n2n` command line program."""

import argparse
from collections.abc import Sequence

from n2n_jax.runtime import config_flags, console

_EXAMPLES = """examples:
  n2n audit cells/
  n2n train first.tif second.tif --workdir runs/mine --minutes 10
  n2n train cells/ --pattern '{scene}_{capture}.tif' --workdir runs/cells
  n2n score cells/ --model runs/cells
  n2n denoise photo.jpg
  n2n denoise scans/ -o cleaned/ --model runs/quick
  n2n app
  n2n models
  n2n export runs/quick -o denoiser.onnx
  n2n baselines bm3d,tv --sets kodak24=folder:kodak --noise gaussian:25
  n2n compare runs/clean_targets runs/noisy_targets
  n2n table runs/unet_seed* runs/resnet_seed*
  n2n bench run noise2noise
  n2n show-noise gaussian:25 poisson:30 text:0.25 -o noise.png
  n2n report runs/quick
  n2n find-rate configs/unet_gauss.py:quick
  n2n prepare bsds500 --from BSDS500/
  n2n bench speed --quick --json speed.json
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='n2n',
        description='Trains, scores and applies image denoisers that learn from noisy images '
        'alone.',
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    # Imported only after `main` has installed its handlers: Ctrl-C during the imports ends cleanly.
    from n2n_jax.cli import (
        app,
        audit,
        baselines,
        bench,
        compare,
        denoise,
        export,
        find_rate,
        models,
        prepare,
        report,
        score,
        show_noise,
        table,
        train,
    )

    commands = parser.add_subparsers(required=True, metavar='COMMAND')
    for command in (
        audit,
        train,
        score,
        denoise,
        app,
        models,
        export,
        baselines,
        show_noise,
        compare,
        table,
        report,
        find_rate,
        prepare,
        bench,
    ):
        command.add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Runs a command.

    Exits with status 2 on an error that the user can fix, 130 if interrupted, and 1 if the program
    or the machine failed.
    """
    with console.errors_in_one_sentence():
        parser = _parser()
        arguments, unknown = parser.parse_known_args(argv)
        if unknown and config_flags.is_unknown_key(unknown[0]):
            raise config_flags.unknown_argument(unknown[0])
        if unknown:
            parser.error(f'unrecognized arguments: {" ".join(unknown)}')
        console.set_up_logging()
        console.silence_orbax()
        arguments.run(arguments)


def program() -> None:
    """Entry point of the `n2n` script: `main`, ending the process at once if it is interrupted."""
    with console.ended_at_once_if_stopped():
        main()


if __name__ == '__main__':
    program()
