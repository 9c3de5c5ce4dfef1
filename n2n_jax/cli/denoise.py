"""`n2n denoise`: denoises files with a model of the user, or one that comes with n2n_jax."""

import argparse
import collections
import dataclasses
import logging
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from n2n_jax.cli import options
from n2n_jax.runtime import console
from n2n_jax.runtime.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from n2n_jax.denoise.choice import Choice
    from n2n_jax.denoise.denoiser import Denoiser
    from n2n_jax.denoise.files import Existing
    from n2n_jax.denoise.jobs import Job
    from n2n_jax.denoise.uncertainty import Calibration

_log = logging.getLogger(__name__)

_MAX_LISTED = 10  # output files named at the end; more are only counted
_EXAMPLES = """examples:
  n2n denoise photo.jpg                                   writes photo_denoised.jpg
  n2n denoise photo.jpg -o clean.jpg --strength 0.7
  n2n denoise photo.jpg --model gaussian-color            of those that n2n models lists
  n2n denoise scans/ -o cleaned/ --model runs/quick --skip-existing
  n2n denoise stack.tif -o clean.tif --model runs/cells --tta --spread
  n2n denoise cells/ -o cleaned/ --model runs/cells --combine results
  n2n denoise cells/ -o cleaned/ --model runs/cells --combine captures \\
      --pattern '{scene}_t{capture}.tif'
  n2n denoise render.exr -o clean.exr --model runs/guided --plane depth=depth.exr

Reads PNG, JPEG, TIFF, BMP, WebP, EXR and NumPy files. Each output keeps the size, type, pages and
metadata of its input; integers are rounded and clipped to their range. Images too large for the
memory are denoised in tiles, with the same result.

Without --model, it looks at the noise of each file (of a stack, of the first, middle and last
image) and says which model it takes; an image without noise is left as it is. What comes with
n2n_jax is for photographs; for your own captures, n2n train makes a better model.

Without -o, photo.jpg becomes photo_denoised.jpg and folder/ becomes folder_denoised/. Nothing else
is written, and nothing is overwritten without --force. A file that cannot be read or written does
not stop the others and is named at the end. Files are written whole or not at all, so
--skip-existing resumes an interrupted run.

exit status: 0 all files written, 1 the program or the machine failed, 2 an error you can fix (such
as a damaged file, a full disk or a missing permission; each file that failed is named), 130
interrupted by Ctrl-C or a signal
"""


def add_parser(commands: Any) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        'denoise',
        help='denoise images',
        description='Denoises images, stacks and whole folders.',
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'paths', nargs='+', type=options.path, metavar='IN',
        help='files or folders; with --combine, captures as for n2n train',
    )  # fmt: skip
    parser.add_argument(
        '-o', dest='output', type=options.output, metavar='OUT',
        help='a file for one image, a folder for several; OUT/ is always a folder (default: '
        'IN_denoised beside each IN)',
    )  # fmt: skip
    parser.add_argument(
        '--model', type=options.run_folder, metavar='MODEL',
        help='folder of a trained run (its --workdir), a file written by n2n export, or a name '
        'that n2n models lists (default: what suits the noise of each image)',
    )  # fmt: skip
    parser.add_argument('--force', action='store_true', help='overwrite existing outputs')
    parser.add_argument(
        '--skip-existing', action='store_true',
        help='skip inputs whose output exists; resumes an interrupted run',
    )  # fmt: skip
    parser.add_argument(
        '--tta', action='store_true',
        help='average over 8 flips and rotations (test-time augmentation): slightly better, 8 '
        'times as slow',
    )  # fmt: skip
    parser.add_argument(
        '--spread', action='store_true',
        help='with --tta: also write the standard deviation over the 8 results, as '
        'OUT_spread.tif',
    )  # fmt: skip
    parser.add_argument(
        '--error', action='store_true',
        help='also write the expected error of every pixel, as OUT_error.tif (for models trained '
        'by n2n train)',
    )  # fmt: skip
    parser.add_argument(
        '--interval', action='store_true',
        help='also write, as OUT_interval.tif, how close to the result a new capture lies in 90%% '
        'of cases (for models trained by n2n train)',
    )  # fmt: skip
    parser.add_argument(
        '--combine', choices=('results', 'captures'), default='',
        help='write one output per scene: "results" averages the denoised captures, "captures" '
        'denoises their average',
    )  # fmt: skip
    options.add_arrangement(parser)
    parser.add_argument(
        '--plane', action='append', default=[], type=_plane, metavar='NAME=PATH',
        help='an auxiliary plane that the model was trained with (model.planes): a file, or a '
        'folder of files named like the images; once for each plane',
    )  # fmt: skip
    parser.add_argument(
        '--noise-level', type=float, metavar='SIGMA',
        help='standard deviation of the noise in pixel values, for models that are told it '
        '(model.noise_map); higher smooths more (default: it is estimated)',
    )  # fmt: skip
    parser.add_argument(
        '--sigma', type=float, metavar='S',
        help='without --model: standard deviation of the noise, of 255, in place of the measured '
        'one; 0 leaves images as they are, and any other denoises also those that seem clean',
    )  # fmt: skip
    parser.add_argument(
        '--strength', type=float, default=1.0, metavar='S',
        help='how much is removed: 1 all that the model takes for noise (default), 0 nothing; a '
        'blend of the image and the denoised image',
    )  # fmt: skip
    parser.add_argument(
        '--tile', type=int, metavar='SIDE',
        help='side of the tiles, in pixels (default: 1024, less if memory is short); changes time '
        'and memory, not the result',
    )  # fmt: skip
    parser.set_defaults(run=run)


def _plane(text: str) -> tuple[str, Path]:
    """Argument type: NAME=PATH."""
    name, equals, file = text.partition('=')
    if not (name and equals and file):
        raise argparse.ArgumentTypeError(f"'{text}' is not NAME=PATH, such as depth=depth.png")
    if not Path(file).exists():
        raise argparse.ArgumentTypeError(f'{file}: no such file or folder')
    return name, Path(file)


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    _check(arguments)
    jobs = _pending(_jobs(arguments), arguments)
    if not jobs:
        return

    console.keep_compiled_code()
    from n2n_jax.denoise.files import Options, denoise_files

    groups, failures = _groups(arguments, jobs)
    skipped: list[Job] = []
    for group in groups:
        how = Options(
            tta=arguments.tta,
            combine=arguments.combine,
            calibration=_calibration(arguments, group.denoiser),
            planes=dict(arguments.plane),
            noise_level=arguments.noise_level,
            strength=0.0 if group.leave else arguments.strength,
            existing=_existing(arguments),
            guessed_range=group.guessed_range,
        )
        failures += denoise_files(group.denoiser, group.jobs, how, on_skipped=skipped.append)
    _report(arguments, jobs, skipped, failures)


class _Group(NamedTuple):
    """Jobs that are done alike."""

    denoiser: 'Denoiser'
    jobs: 'list[Job]'
    leave: bool = False  # as they are
    guessed_range: bool = False


def _report(
    arguments: argparse.Namespace, jobs: 'list[Job]', skipped: 'list[Job]', failures: list[str]
) -> None:
    for message in failures:
        _log.error('error: %s', message)
    if skipped:
        _log.info('Skipped because the output has appeared meanwhile: %d.', len(skipped))
    num_written = len(jobs) - len(skipped) - len(failures)
    if failures:
        _log.info('%d of %d written.', num_written, len(jobs))
        raise UserError(f'{len(failures)} of {len(jobs)} images failed.')
    if num_written > _MAX_LISTED:
        where = arguments.output.path if arguments.output else jobs[-1].target.parent
        _log.info('%d written: %s', num_written, where)
        return
    _log.info('%d written%s', num_written, ':' if num_written else '.')
    for job in jobs:
        if job in skipped:
            continue
        for path in job.outputs:
            _log.info('%s', path)


def _groups(arguments: argparse.Namespace, jobs: 'list[Job]') -> tuple[list[_Group], list[str]]:
    """Returns what to do with the jobs, and messages for those that fail.

    Without --model, the images are looked at; with a model that comes with n2n_jax, the range of
    their values is.
    """
    from n2n_jax.denoise import choice
    from n2n_jax.denoise.denoiser import Denoiser
    from n2n_jax.models import trained, zoo

    name = arguments.model
    if name:
        denoiser = _tiled(Denoiser.load(name), arguments.tile)
        _log.info('Model %s, %s, step %d', name, denoiser.config.name, denoiser.step)
        if trained.is_run(name) or str(name) not in zoo.names():
            return [_Group(denoiser, jobs)], []

    def look(path: Path) -> 'Choice':
        if not name:
            return choice.of_file(path, arguments.sigma and arguments.sigma / 255)
        return choice.of_model(path, str(name))

    choices, failures = _looked_at(jobs, look, quiet=bool(name))
    alike: dict[tuple[str, bool, Any], list[Job]] = {}
    for job, found in choices:
        alike.setdefault((found.model, found.leave, found.range), []).append(job)
    loaded = {str(name): denoiser} if name else {}
    groups = []
    for (model, leave, its_range), some in alike.items():
        model = model or choice.any_model()  # which is not used, as these are left as they are
        if model not in loaded:
            loaded[model] = _tiled(choice.load(model), arguments.tile)
        groups.append(_Group(its_range.of(loaded[model]), some, leave, its_range != (0, 0)))
    return groups, failures


def _looked_at(
    jobs: 'list[Job]', look: 'Callable[[Path], Choice]', *, quiet: bool
) -> 'tuple[list[tuple[Job, Choice]], list[str]]':
    """Returns what was chosen for each job, and messages for those that fail; says what it is."""
    from n2n_jax.denoise import files
    from n2n_jax.runtime.progress import ProgressLine

    choices, failures = [], []
    with ProgressLine('looking at images', len(jobs)) as progress:
        for number, job in enumerate(jobs, start=1):
            try:
                found = look(job.sources[0])
            except Exception as error:  # one file must not stop the others
                files.raise_if_interrupted()
                failures.append(files.message_of(error, job))
                continue
            choices.append((job, found))
            if number <= _MAX_LISTED and not quiet:
                progress.clear()
                _log.info('%s: %s', job.sources[0], found)
            progress.update(number)
    if len(jobs) > _MAX_LISTED and not quiet:
        counts = collections.Counter('' if each.leave else each.model for _, each in choices)
        for model, count in counts.items():
            _log.info('%s: %d images', f'Model {model}' if model else 'Left as they are', count)
        doubtful = collections.Counter(each.doubt for _, each in choices if each.doubt)
        for doubt, count in doubtful.items():
            _log.info('For %d images: %s', count, doubt)
    return choices, failures


def _tiled(denoiser: 'Denoiser', side: int | None) -> 'Denoiser':
    if not side:
        return denoiser
    from n2n_jax import models
    from n2n_jax.models.geometry import padded

    stride = models.geometry_of(denoiser.config).stride
    return dataclasses.replace(denoiser, core=padded(side, stride))


def _existing(arguments: argparse.Namespace) -> 'Existing':
    if arguments.force:
        return 'replace'
    return 'skip' if arguments.skip_existing else 'refuse'


def _pending(jobs: 'list[Job]', arguments: argparse.Namespace) -> 'list[Job]':
    """Returns the jobs whose outputs do not exist yet or may be overwritten.

    Raises:
      UserError: an output is also an input, or exists and may not be overwritten.
    """
    sources = {source.resolve() for job in jobs for source in job.sources}
    planes = [path.resolve() for _, path in arguments.plane if arguments.force]
    for job in jobs:
        for path in job.outputs:
            target = path.resolve()
            is_plane = target.exists() and any(target.is_relative_to(path) for path in planes)
            if target in sources or is_plane:
                raise UserError(f'{path} is one of the inputs: choose another -o.')
    if arguments.skip_existing:
        num_all = len(jobs)
        jobs = [job for job in jobs if not all(path.exists() for path in job.outputs)]
        _log.info('%d of %d exist already.', num_all - len(jobs), num_all)
    if arguments.force:
        return jobs
    for job in jobs:
        for path in job.outputs:
            if not os.path.lexists(path):
                continue
            if not path.exists():
                raise UserError(f'{path} is a broken link: remove it.')
            if arguments.skip_existing:
                missing = next(path for path in job.outputs if not path.exists())
                raise UserError(
                    f'{path} exists, but {missing} does not: use --force in place of '
                    '--skip-existing to write both again.'
                )
            raise UserError(
                f'{path} exists: choose another -o, skip it with --skip-existing, or overwrite it '
                'with --force.'
            )
    return jobs


def _check(arguments: argparse.Namespace) -> None:
    if not arguments.model:
        for option in ('combine', 'error', 'interval', 'plane', 'noise_level'):
            if getattr(arguments, option) not in ('', False, [], None):
                raise UserError(
                    f'--{option.replace("_", "-")} goes with a model that you name: add --model.'
                )
    elif arguments.sigma is not None:
        raise UserError(
            '--sigma helps to choose a model: leave out --model, or --sigma. A model that is told '
            'the level of the noise (model.noise_map) takes --noise-level.'
        )
    if arguments.sigma is not None and not 0 <= arguments.sigma < math.inf:
        raise UserError(f'--sigma {arguments.sigma:g}: must be 0 or more.')
    if arguments.spread and not arguments.tta:
        raise UserError('--spread is the spread of the 8 results of --tta: add --tta.')
    if not arguments.combine and (arguments.pattern or arguments.interleaved):
        raise UserError(
            '--pattern and --interleaved group captures into scenes: they need --combine.'
        )
    if not 0 <= arguments.strength <= 1:
        raise UserError(f'--strength {arguments.strength:g}: must be between 0 and 1.')
    if arguments.strength != 1 and (arguments.combine or arguments.error or arguments.interval):
        raise UserError(
            '--strength blends one image with its denoised version, and --error and --interval are '
            'known for the denoised version: leave out --strength, or --combine, --error and '
            '--interval.'
        )
    if arguments.combine and (arguments.error or arguments.interval):
        raise UserError(
            '--error and --interval are known for the result of one capture only: leave out '
            '--combine.'
        )
    if arguments.tile is not None and arguments.tile < 1:
        raise UserError(f'--tile {arguments.tile}: must be at least 1 pixel.')
    level = arguments.noise_level
    if level is not None and not 0 <= level < math.inf:
        raise UserError(f'--noise-level {level}: must be 0 or more.')
    names = [name for name, _ in arguments.plane]
    if len(set(names)) < len(names):
        raise UserError(f'--plane gives {max(names, key=names.count)} twice: give each plane once.')


def _maps(arguments: argparse.Namespace) -> list[str]:
    return [kind for kind in ('spread', 'error', 'interval') if getattr(arguments, kind)]


def _calibration(arguments: argparse.Namespace, denoiser: 'Denoiser') -> 'Calibration | None':
    from n2n_jax.denoise import uncertainty

    if not (arguments.error or arguments.interval):
        return None
    found = uncertainty.load(arguments.model, step=denoiser.step)
    return found or uncertainty.calibrate_run(arguments.model, denoiser)


def _jobs(arguments: argparse.Namespace) -> 'list[Job]':
    from n2n_jax.denoise import jobs

    paths: list[Path] = arguments.paths
    output = jobs.Output(*arguments.output) if arguments.output else None
    if not arguments.combine:
        return jobs.jobs_of_files(paths, output, maps=_maps(arguments))
    if output is None:
        raise UserError('--combine writes one image per scene: give their folder with -o.')
    from n2n_jax.captures.grouping import find_scenes

    scenes = find_scenes(
        paths, pattern=arguments.pattern or None, interleaved=arguments.interleaved
    )
    return jobs.jobs_of_scenes(scenes, paths, output, maps=_maps(arguments))
