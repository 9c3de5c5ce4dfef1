"""`n2n app`: the page in a browser."""

import argparse
import math
import os
from pathlib import Path
from typing import Any

from n2n_jax.cli import options
from n2n_jax.runtime import console
from n2n_jax.runtime.errors import UserError

_EXAMPLES = """examples:
  n2n app                                 for this machine, at http://localhost:7860
  n2n app --folder ~/microscope           captures and runs of that folder
  n2n app --model runs/cells              denoises with that run unless another is chosen
  N2N_APP_PASSWORD=... n2n app --host 0.0.0.0    for others in the network, who need the password

The page denoises pictures that are dropped on it, compares them with originals or second captures,
and audits and trains on captures of the folder. Uploads are deleted when the program ends, or when
nobody has used them for four hours. Trainings go on when the page or the program is closed.
It loads nothing from the internet. For programs, see http://localhost:7860/docs.

Ctrl-C ends it.
"""
_PASSWORD = 'N2N_APP_PASSWORD'


def add_parser(commands: Any) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        'app',
        help='open the page: drop a picture, press Denoise, compare',
        description='Opens a page in the browser, to denoise pictures, compare, and train.',
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--model', type=options.run_folder, metavar='MODEL',
        help='folder of a run, or a name that n2n models lists (default: what suits each picture)',
    )  # fmt: skip
    parser.add_argument(
        '--folder', type=options.path, default=Path(), metavar='DIR',
        help='the folder whose captures, runs and tables the page shows, and in which it keeps '
        'captures and runs (default: this one)',
    )  # fmt: skip
    parser.add_argument(
        '--port', type=int, default=7860, metavar='N', help='port to listen at (default: 7860)'
    )
    parser.add_argument(
        '--host', default='localhost', metavar='ADDRESS',
        help='address to listen at (default: localhost, so that no other machine reaches it); any '
        f'other needs a password, in the environment variable {_PASSWORD}',
    )  # fmt: skip
    parser.add_argument(
        '--no-browser', action='store_true', help='print the address, but open no browser'
    )
    parser.add_argument(
        '--max-upload', type=float, default=1024, metavar='MB',
        help='largest file that can be uploaded (default: 1024)',
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    try:
        import fastapi
        import uvicorn
    except ImportError as error:
        raise UserError(
            f"The page needs {error.name}: install it with pip install 'n2n_jax[app]'."
        ) from None
    del fastapi, uvicorn
    from n2n_jax.app import server
    from n2n_jax.app.settings import Settings

    console.keep_compiled_code()
    if not arguments.folder.is_dir():
        raise UserError(f'--folder {arguments.folder}: no such folder.')
    if not 0 <= arguments.port < 1 << 16:
        raise UserError(f'--port {arguments.port}: must be between 0 and 65535.')
    if not 0 < arguments.max_upload < math.inf:
        raise UserError(f'--max-upload {arguments.max_upload:g}: must be more than 0.')
    settings = Settings(
        arguments.folder,
        arguments.host,
        arguments.port,
        model=_location(arguments.model),
        password=os.environ.get(_PASSWORD, ''),
        most_bytes=int(arguments.max_upload * (1 << 20)),
    )
    if not settings.is_local and not settings.password:
        raise UserError(
            f'--host {arguments.host} lets other machines reach the page, and whoever does can '
            f'train and denoise on this one: set a password in {_PASSWORD}.'
        )
    if settings.model:
        from n2n_jax.denoise.denoiser import Denoiser

        Denoiser.load(settings.model)  # an error now rather than at the first picture
    server.serve(settings, open_browser=not arguments.no_browser)


def _location(model: Path | None) -> str:
    """Returns a model that holds wherever the page is: its name, or the path of its run."""
    if model is None:
        return ''
    return str(model.resolve() if model.exists() else model)
