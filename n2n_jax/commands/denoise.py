"""`n2n denoise`: files in, cleaned files out."""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from n2n_jax import console
from n2n_jax.commands import options
from n2n_jax.errors import UserError

_log = logging.getLogger(__name__)


def add_parser(commands: Any) -> None:
    """Adds the command."""
    parser = commands.add_parser('denoise', help='clean images with a trained model')
    parser.add_argument(
        'inputs', nargs='+', type=options.path, metavar='IN', help='files or folders'
    )
    parser.add_argument(
        '-o', dest='output', required=True, type=options.path, metavar='OUT',
        help='file for one image, folder for several',
    )  # fmt: skip
    parser.add_argument(
        '--model',
        required=True,
        type=options.path,
        metavar='RUN_DIR',
        help='the --workdir of a training',
    )
    parser.add_argument('--force', action='store_true', help='overwrite outputs that exist')
    parser.add_argument('--skip-existing', action='store_true', help='leave out what is there')
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    from n2n_jax import io

    jobs = _jobs(arguments.inputs, arguments.output)
    sources = {source.resolve() for source, _ in jobs}
    if arguments.skip_existing:
        num_all = len(jobs)
        jobs = [(source, target) for source, target in jobs if not target.exists()]
        _log.info('%d of %d are there already.', num_all - len(jobs), num_all)
        if not jobs:
            return
    for _, target in jobs:
        if target.resolve() in sources:
            raise UserError(f'{target} is an input itself: choose another -o.')
        if target.exists() and not arguments.force:
            raise UserError(
                f'{target} exists: choose another -o, or give --skip-existing or --force.'
            )

    console.keep_compiled_code()
    from n2n_jax.denoiser import Denoiser
    from n2n_jax.progress import ProgressLine

    denoiser = Denoiser.load(arguments.model)
    _log.info('Model %s, %s, step %d', arguments.model, denoiser.config.name, denoiser.step)
    failures = []
    with ProgressLine('denoising', len(jobs)) as progress:
        for done, (source, target) in enumerate(jobs, start=1):
            try:
                restored = denoiser.restore(io.read_image(source))
                target.parent.mkdir(parents=True, exist_ok=True)
                io.write_image(target, restored)
            except UserError as error:
                failures.append(str(error))
            except OSError as error:
                failures.append(f'{target} cannot be written: {error.strerror}.')
            progress.update(done)
    for message in failures:
        _log.error('error: %s', message)
    written = len(jobs) - len(failures)
    if written:
        _log.info('%d written: %s', written, jobs[0][1] if len(jobs) == 1 else arguments.output)
    if failures:
        raise UserError(f'{len(failures)} of {len(jobs)} images failed.')


def _jobs(inputs: Sequence[Path], output: Path) -> list[tuple[Path, Path]]:
    """Which file becomes which; a folder keeps its structure."""
    from n2n_jax import io

    if len(inputs) == 1 and not inputs[0].is_dir():
        io.image_size(inputs[0])  # a missing or unreadable file is an error before the model loads
        to_folder = output.is_dir() or not output.suffix
        return [(inputs[0], output / inputs[0].name if to_folder else output)]
    named_like_a_file = output.suffix and not output.is_dir() and len(inputs) > 1
    if named_like_a_file or (output.exists() and not output.is_dir()):
        raise UserError(f'-o {output} is a file; several images need a folder.')
    for path in inputs:
        if path.is_dir() and output.resolve().is_relative_to(path.resolve()):
            raise UserError(f'-o {output} lies inside {path}: choose a folder outside of it.')
    jobs = []
    for path in inputs:
        files = io.find_images(path) if path.is_dir() else [path]
        root = path if path.is_dir() else path.parent
        jobs += [(file, output / file.relative_to(root)) for file in files]
    seen: dict[Path, Path] = {}
    for source, target in jobs:
        if target in seen:
            raise UserError(f'{source} and {seen[target]} would both become {target}.')
        seen[target] = source
    return jobs
