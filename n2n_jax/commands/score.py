"""`n2n score`: the PSNR of a model, estimated from captures alone."""

import argparse
import functools
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from n2n_jax import console
from n2n_jax.commands import options
from n2n_jax.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from n2n_jax.baselines import Restore
    from n2n_jax.config import CapturesConfig, Config
    from n2n_jax.data.own_captures import SceneCaptures
    from n2n_jax.denoiser import Denoiser
    from n2n_jax.score import Scene

_log = logging.getLogger(__name__)


def add_parser(commands: Any) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        'score',
        help='estimate PSNR on noisy captures, without a clean image',
        description='Estimates the PSNR of a model on captures, beside that of simpler methods.',
    )
    options.add_captures(parser)
    options.add_fix(parser)
    parser.add_argument('--model', required=True, type=options.run_folder, metavar='RUN')
    parser.add_argument(
        '--truth',
        type=options.path,
        metavar='DIR',
        help='clean images: true PSNR and SSIM beside the estimate',
    )
    parser.add_argument(
        '--held-out',
        action='store_true',
        help='score only what the training of RUN held out of these captures',
    )
    parser.add_argument(
        '--without',
        action='append',
        choices=('nlm', 'bm3d'),
        default=[],
        help='leave out a method; BM3D takes seconds to a minute for each capture',
    )
    parser.add_argument('--json', type=options.path, metavar='FILE', help='write the rows there')
    parser.add_argument('--force', action='store_true', help='overwrite FILE')
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    from n2n_jax import baselines, score
    from n2n_jax.data import fixes, own_captures
    from n2n_jax.denoiser import Denoiser
    from n2n_jax.workdir import Workdir, write_text

    options.check_free(arguments.json, '--json', arguments)
    console.keep_compiled_code()
    denoiser = Denoiser.load(arguments.model)
    captures = options.captures(arguments)
    options.check_no_input([arguments.json], own_captures.find(captures))
    loaded = fixes.load(captures)
    for sentence in loaded.done:
        _log.info('%s', sentence)
    truth = score.read_truth(arguments.truth, loaded.raw) if arguments.truth else None
    black, white = denoiser.config.black, denoiser.config.white
    if black == white:
        raise UserError(f'{arguments.model} was not trained on captures: its units are not known.')
    config = Workdir(arguments.model).config()
    if arguments.held_out and config.captures.single:
        raise UserError(
            f'{arguments.model} was trained on single images and held nothing out: leave '
            '--held-out out.'
        )
    scenes = score.prepare(
        loaded.raw,
        fixed=loaded.fixed,
        truth=truth,
        cut=functools.partial(_held_out, config=config) if arguments.held_out else list,
    )
    restore = _remembering(denoiser)
    rows = score.score(
        scenes,
        lambda pixels: own_captures.to_network(pixels, black, white),
        restore,
        without=arguments.without,
    )
    _log.info('%s\n', score.markdown(rows))
    if 'bm3d' not in arguments.without and not baselines.bm3d_installed():
        _log.info(
            "BM3D is not installed: pip install 'n2n_jax[baselines]' adds it to the table (free "
            'for non-commercial use).'
        )
    training = _trained_on(captures, config.captures)
    shares = _coverage(arguments.model, denoiser, scenes, restore, training=training)
    for row in rows:
        if row['method'] == score.MODEL and row['scene'] in shares:
            row['interval_covers'] = shares[row['scene']]
    if training and not arguments.held_out:
        _log.info(
            'The model was trained on some of these captures: its estimate is too good. --held-out '
            'scores only what was kept out of the training.'
        )
    if arguments.json:
        write_text(arguments.json, json.dumps(rows, indent=1))
        _log.info('%s', arguments.json)


def _held_out(scenes: 'list[SceneCaptures]', *, config: 'Config') -> 'list[SceneCaptures]':
    """What a training of this config would hold out of these captures."""
    from n2n_jax.data import own_captures

    _, held = own_captures.split(scenes, config.captures.held_out, crop=config.data.crop)
    return held


def _trained_on(captures: 'CapturesConfig', trained: 'CapturesConfig') -> bool:
    """Whether some files of captures are among those of a training."""
    from n2n_jax.data import own_captures

    found = []
    for config in (captures, trained):
        try:
            scenes = own_captures.find(config)
        except UserError:  # those of the training may be gone
            return False
        found.append({c.path.resolve() for scene in scenes for c in scene.captures})
    return bool(found[0] & found[1])


def _remembering(denoiser: 'Denoiser') -> 'Restore':
    """The denoiser, which is asked for the same captures more than once."""
    results: dict[tuple[tuple[int, ...], bytes], np.ndarray] = {}

    def restore(noisy_HWC: 'np.ndarray') -> 'np.ndarray':
        key = noisy_HWC.shape, noisy_HWC.tobytes()
        if key not in results:
            results[key] = denoiser.denoise(noisy_HWC)
        return results[key]

    return restore


def _coverage(
    run: Path,
    denoiser: 'Denoiser',
    scenes: 'list[Scene]',
    restore: 'Restore',
    *,
    training: bool,
) -> dict[str, float]:
    """Says which share of other captures the calibrated intervals cover; gives it by scene."""
    from n2n_jax import uncertainty
    from n2n_jax.data import own_captures

    try:
        calibration = uncertainty.load(run, step=denoiser.step)
        if calibration is None:
            calibration = uncertainty.calibrate_run(run, denoiser)
    except UserError as error:
        _log.info('No intervals: they are calibrated on what the training held out. %s', error)
        return {}
    black, white = denoiser.config.black, denoiser.config.white
    scenes = [
        own_captures.SceneCaptures(
            scene.name, own_captures.to_network(scene.captures_NHWC, black, white)
        )
        for scene in scenes
    ]
    shares = uncertainty.coverage(calibration, scenes, restore)
    words = uncertainty.coverage_in_words(shares)
    if training:
        words += ' They were calibrated on a part of these captures: no proof.'
    _log.info('%s', words)
    return shares
