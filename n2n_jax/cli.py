"""The `n2n` command: train on one's own captures, denoise, compare runs, look at noise, measure."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from n2n_jax import console
from n2n_jax.errors import UserError

# The heavy imports are inside the commands: `n2n --help` answers at once.

_log = logging.getLogger('n2n_jax.cli')  # also when started as `python -m`

_EXAMPLES = """examples:
  n2n audit cells/
  n2n train first.tif second.tif --workdir runs/mine --minutes 10
  n2n train cells/ --pattern '{scene}_{capture}.tif' --workdir runs/cells
  n2n score cells/ --model runs/cells
  n2n denoise photo.jpg -o clean.jpg --model runs/quick
  n2n denoise scans/ -o cleaned/ --model runs/quick
  n2n compare runs/clean_targets runs/noisy_targets
  n2n show-noise gaussian:25 poisson:30 text:0.25 -o noise.png
  n2n prepare bsds500 --from BSDS500/
  n2n bench speed --quick --json speed.json
"""


def _train(arguments: argparse.Namespace) -> None:
    from n2n_jax import own_training, train
    from n2n_jax.config import CapturesConfig
    from n2n_jax.workdir import Workdir

    console.keep_compiled_code()
    captures = CapturesConfig(
        paths=','.join(str(path) for path in arguments.paths),
        pattern=arguments.pattern or '',
        interleaved=arguments.interleaved,
        pairing=arguments.pairing,
        held_out=arguments.held_out,
    )
    workdir = Workdir(arguments.workdir)
    if (arguments.workdir / 'config.json').exists():
        config = workdir.config()  # its number of steps may come from a clock
        if config.captures != captures:
            raise UserError(
                f'{arguments.workdir} holds a training on other captures '
                f'({config.captures.paths or "none"}): choose another --workdir.'
            )
    else:
        config = own_training.make_config(
            captures,
            model=arguments.model,
            steps=arguments.steps,
            minutes=arguments.minutes,
            batch_size=arguments.batch_size,
            seed=arguments.seed,
        )
    complete = train.train(config, arguments.workdir)
    own_training.write_config(config, arguments.workdir)
    if not complete:
        sys.exit(console.EXIT_INTERRUPTED)
    _log.info('Use it: n2n denoise IMAGES -o OUT --model %s', arguments.workdir)


def _audit(arguments: argparse.Namespace) -> None:
    import json

    from n2n_jax import audit
    from n2n_jax.config import CapturesConfig
    from n2n_jax.data import own_captures
    from n2n_jax.workdir import write_text

    if arguments.json and arguments.json.exists() and not arguments.force:
        raise UserError(f'{arguments.json} exists: choose another --json, or give --force.')
    captures = CapturesConfig(
        paths=','.join(str(path) for path in arguments.paths),
        pattern=arguments.pattern or '',
        interleaved=arguments.interleaved,
    )
    scenes = own_captures.load(captures)
    findings = audit.audit(scenes)
    models = {scene.name: audit.noise_model(scene.captures_NHWC) for scene in scenes}
    _log.info('%s', audit.markdown(findings))
    for name, model in models.items():
        _log.info(
            'Noise of %s: variance = %.3g x signal %+.3g (the line explains %.0f %%).',
            name,
            model.gain,
            model.read * abs(model.read),
            100 * model.r2,
        )
    if arguments.json:
        content = {
            'verdict': audit.worst(findings),
            'findings': [finding.as_dict() for finding in findings],
            'noise': {
                name: {'gain': model.gain, 'read': model.read, 'r2': model.r2}
                for name, model in models.items()
            },
        }
        write_text(arguments.json, json.dumps(content, indent=1))
        _log.info('%s', arguments.json)
    status = {audit.FINE: 0, audit.WARNING: 1, audit.UNUSABLE: 2}[audit.worst(findings)]
    if status:
        sys.exit(status)


def _score(arguments: argparse.Namespace) -> None:
    import json

    from n2n_jax import score
    from n2n_jax.config import CapturesConfig
    from n2n_jax.data import own_captures
    from n2n_jax.denoiser import Denoiser
    from n2n_jax.workdir import write_text

    if arguments.json and arguments.json.exists() and not arguments.force:
        raise UserError(f'{arguments.json} exists: choose another --json, or give --force.')
    denoiser = Denoiser.load(arguments.model)
    captures = CapturesConfig(
        paths=','.join(str(path) for path in arguments.paths),
        pattern=arguments.pattern or '',
        interleaved=arguments.interleaved,
    )
    scenes = own_captures.load(captures)
    truth = score.read_truth(arguments.truth, scenes) if arguments.truth else None
    black, white = denoiser.config.black, denoiser.config.white
    if black == white:
        raise UserError(f'{arguments.model} was not trained on captures: its units are not known.')
    rows = score.score(
        scenes,
        lambda pixels: own_captures.to_network(pixels, black, white),
        denoiser.denoise,
        truth=truth,
    )
    _log.info('%s', score.markdown(rows))
    if arguments.json:
        write_text(arguments.json, json.dumps(rows, indent=1))
        _log.info('%s', arguments.json)


def _denoise(arguments: argparse.Namespace) -> None:
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


def _show_noise(arguments: argparse.Namespace) -> None:
    import jax

    from n2n_jax import corruptions, io, pictures, streams
    from n2n_jax.data import photos

    corruptors = [corruptions.parse(spec) for spec in arguments.specs]
    if arguments.output.exists() and not arguments.force:
        raise UserError(f'{arguments.output} exists: choose another -o, or give --force.')
    if arguments.image:
        image = io.read_image(arguments.image)
        io.check_range(image, margin=1.0)
        color_HWC, _ = io.color_and_alpha(image)
        clean = {arguments.image.name: color_HWC}
    else:
        images = photos.photos()
        clean = {name: images[name][:256, :256] / 255.0 for name in ('chelsea', 'astronaut')}
    key = streams.stream(arguments.seed, streams.EVALUATION)
    rows = []
    for name, image in clean.items():
        row = [(name, image)]
        for corruptor in corruptors:
            noisy = corruptor.sample(key, jax.numpy.asarray(image, 'float32')[None]).image_BHWC
            row.append((corruptor.spec, jax.device_get(noisy[0])))
        rows.append(row)
    pictures.save(arguments.output, pictures.grid(rows))
    _log.info('%s', arguments.output)


def _compare(arguments: argparse.Namespace) -> None:
    import json

    from n2n_jax import compare
    from n2n_jax.workdir import Workdir, write_text

    if arguments.json and arguments.json.exists() and not arguments.force:
        raise UserError(f'{arguments.json} exists: choose another --json, or give --force.')
    rows = []
    reference = Workdir(arguments.reference).config()
    for run in arguments.runs:
        differing = compare.differences(reference, Workdir(run).config())
        found = compare.compare(arguments.reference, run)
        print(f'{run} against {arguments.reference}. They differ in: {differing}.\n')
        print(compare.markdown_table(found))
        names = {'reference': str(arguments.reference), 'run': str(run), 'differ_in': differing}
        rows += [{**names, **row} for row in found]
    if arguments.json:
        write_text(arguments.json, json.dumps(rows, indent=1))
        _log.info('%s', arguments.json)


def _prepare(arguments: argparse.Namespace) -> None:
    from n2n_jax.data import tfds_source

    folder = tfds_source.prepare(
        arguments.name, data_dir=arguments.data_dir, manual_dir=arguments.source
    )
    _log.info('%s', folder)


def _bench_speed(arguments: argparse.Namespace) -> None:
    import importlib.util

    for package in ('torch', 'bm3d', 'matplotlib'):
        if importlib.util.find_spec(package) is None:
            raise UserError(
                f"The benchmark needs {package}: pip install 'n2n_jax[bench]', "
                'or EXTRAS=dev,bench launch/local.sh n2n bench speed ...'
            )
    if arguments.json and arguments.json.suffix != '.json':
        raise UserError(f'--json {arguments.json}: choose a name that ends in .json.')
    if arguments.json and arguments.json.exists() and not arguments.force:
        raise UserError(f'{arguments.json} exists: choose another --json, or give --force.')
    console.keep_compiled_code()
    from n2n_jax.bench import speed

    rows = speed.run(arguments.sections, quick=arguments.quick, output=arguments.json)
    print(speed.markdown_table(rows))
    if arguments.json:
        for suffix in ('.md', '.png', '.json'):
            _log.info('%s', arguments.json.with_suffix(suffix))


def _path(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError('an empty path')
    return Path(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='n2n',
        description='Image denoisers trained from noisy images alone.',
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar='COMMAND')

    audit = commands.add_parser(
        'audit',
        help='check noisy captures before training on them',
        description='Checks captures. Exit status: 0 fine, 1 warnings, 2 unusable.',
    )
    audit.add_argument('paths', nargs='+', type=_path, metavar='PATH', help='captures, as in train')
    audit.add_argument('--pattern', help="of file names in one folder: '{scene}_{capture}.tif'")
    audit.add_argument('--interleaved', type=int, default=0, metavar='N')
    audit.add_argument('--json', type=_path, metavar='FILE', help='write the findings there')
    audit.add_argument('--force', action='store_true', help='overwrite FILE')
    audit.set_defaults(run=_audit)

    train = commands.add_parser(
        'train',
        help='train on your own noisy captures',
        description='Trains on two or more noisy captures of each scene; no clean image is needed.',
    )
    train.add_argument(
        'paths', nargs='+', type=_path, metavar='PATH',
        help='files, folders, a stack or a list of captures: see docs/own-captures.md',
    )  # fmt: skip
    train.add_argument('--workdir', required=True, type=_path, metavar='RUN')
    train.add_argument('--minutes', type=float, default=20.0, help='of training (default: 20)')
    train.add_argument('--steps', type=int, default=0, help='in place of --minutes')
    train.add_argument('--pattern', help="of file names in one folder: '{scene}_{capture}.tif'")
    train.add_argument(
        '--interleaved', type=int, default=0, metavar='N',
        help='N images of a stack in a row are of one scene',
    )  # fmt: skip
    train.add_argument(
        '--pairing', choices=('1:1', '1:X', 'X:1'), default='1:1',
        help='1:X: the target is the mean of all other captures; X:1: the input is',
    )  # fmt: skip
    train.add_argument(
        '--held-out', type=float, default=0.2, metavar='SHARE', help='not trained on (default: 0.2)'
    )
    train.add_argument('--model', default='unet', help='unet or resnet50')
    train.add_argument('--batch-size', type=int, default=8, help='crops per step (default: 8)')
    train.add_argument('--seed', type=int, default=0)
    train.set_defaults(run=_train)

    score = commands.add_parser(
        'score',
        help='estimate PSNR on noisy captures, without a clean image',
        description='Estimates the PSNR of a model on captures, beside that of simpler methods.',
    )
    score.add_argument('paths', nargs='+', type=_path, metavar='PATH', help='captures, as in train')
    score.add_argument('--model', required=True, type=_path, metavar='RUN')
    score.add_argument('--pattern', help="of file names in one folder: '{scene}_{capture}.tif'")
    score.add_argument('--interleaved', type=int, default=0, metavar='N')
    score.add_argument(
        '--truth', type=_path, metavar='DIR', help='clean images: true PSNR beside the estimate'
    )
    score.add_argument('--json', type=_path, metavar='FILE', help='write the rows there')
    score.add_argument('--force', action='store_true', help='overwrite FILE')
    score.set_defaults(run=_score)

    denoise = commands.add_parser('denoise', help='clean images with a trained model')
    denoise.add_argument('inputs', nargs='+', type=Path, metavar='IN', help='files or folders')
    denoise.add_argument(
        '-o', dest='output', required=True, type=_path, metavar='OUT',
        help='file for one image, folder for several',
    )  # fmt: skip
    denoise.add_argument(
        '--model', required=True, type=Path, metavar='RUN_DIR', help='the --workdir of a training'
    )
    denoise.add_argument('--force', action='store_true', help='overwrite outputs that exist')
    denoise.add_argument('--skip-existing', action='store_true', help='leave out what is there')
    denoise.set_defaults(run=_denoise)

    show = commands.add_parser('show-noise', help='draw a contact sheet of noise')
    show.add_argument('specs', nargs='+', metavar='SPEC', help='such as gaussian:25 or text:0.25')
    show.add_argument('-o', dest='output', type=Path, default=Path('noise.png'), metavar='OUT')
    show.add_argument('--image', type=Path, help='your image in place of the embedded ones')
    show.add_argument('--seed', type=int, default=0)
    show.add_argument('--force', action='store_true', help='overwrite OUT')
    show.set_defaults(run=_show_noise)

    compare = commands.add_parser(
        'compare', help='compare evaluated runs image by image, with intervals'
    )
    compare.add_argument('reference', type=Path, metavar='REFERENCE', help='the --workdir of a run')
    compare.add_argument('runs', nargs='+', type=Path, metavar='RUN', help='those to be judged')
    compare.add_argument('--json', type=Path, metavar='FILE', help='write the rows there too')
    compare.add_argument('--force', action='store_true', help='overwrite FILE')
    compare.set_defaults(run=_compare)

    prepare = commands.add_parser(
        'prepare', help='prepare a TensorFlow Datasets set (needs the extra n2n_jax[tfds])'
    )
    prepare.add_argument('name', help='bsds500, kodak24, set14, or any TFDS image set')
    prepare.add_argument(
        '--from', dest='source', type=Path, metavar='FOLDER', help='use these files, no download'
    )
    prepare.add_argument('--data-dir', type=Path, help='where TFDS keeps its sets')
    prepare.set_defaults(run=_prepare)

    bench = commands.add_parser('bench', help='measure n2n_jax against others')
    benches = bench.add_subparsers(required=True, metavar='WHAT')
    speed = benches.add_parser('speed', help='against PyTorch (needs the extra n2n_jax[bench])')
    speed.add_argument(
        'sections', nargs='*', metavar='SECTION',
        help='peaks, training, inference, pipeline, noise, denoising, startup (default: all)',
    )  # fmt: skip
    speed.add_argument('--quick', action='store_true', help='leave out what takes minutes')
    speed.add_argument(
        '--json', type=Path, metavar='FILE', help='write the rows there, a table and a plot beside'
    )
    speed.add_argument('--force', action='store_true', help='overwrite FILE')
    speed.set_defaults(run=_bench_speed)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command; exits with 2 for what the user can put right."""
    arguments = _parser().parse_args(argv)
    console.set_up_logging()
    console.silence_orbax()
    with console.errors_in_one_sentence():
        arguments.run(arguments)


if __name__ == '__main__':
    sys.exit(main())
