"""`n2n score`: the PSNR of a model, estimated from captures alone."""

import argparse
import dataclasses
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from n2n_jax.cli import options
from n2n_jax.runtime import console
from n2n_jax.runtime.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from n2n_jax.captures.scene_captures import SceneCaptures
    from n2n_jax.denoise.denoiser import Denoiser
    from n2n_jax.evaluate.baselines import Restore
    from n2n_jax.evaluate.score import Scene
    from n2n_jax.runtime.config import Config

_log = logging.getLogger(__name__)

_MOST_LISTED = 5  # names in a sentence
_NARROWEST = 4  # columns of a held-out part that are worth scoring


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
    from n2n_jax.captures import corrections, scene_captures
    from n2n_jax.denoise.denoiser import Denoiser
    from n2n_jax.evaluate import baselines, score, score_table, truth_images
    from n2n_jax.runtime import json_files
    from n2n_jax.runtime.workdir import write_text

    options.check_free(arguments.json, '--json', arguments)
    console.keep_compiled_code()
    denoiser = Denoiser.load(arguments.model)
    config = _config(arguments, denoiser)
    captures = options.captures(arguments)
    corrections.parse(captures.fix)
    options.check_no_input([arguments.json], scene_captures.find(captures))
    _log.info('Reading the captures.')
    # As a run reads them: without what was saved again, such as the JPEG file beside a TIFF file.
    loaded = corrections.load(dataclasses.replace(captures, fix=''))
    raw = loaded.raw
    for sentence in [*loaded.done, *_other_fix(captures.fix, config)]:
        _log.info('%s', sentence)
    for one in raw:
        if doubt := denoiser.doubt(one.captures_NHWC[0], one.name):
            _log.warning('%s', doubt)
    seen = _seen(raw, arguments, config)
    if arguments.held_out:
        raw = [one for one in raw if not seen.trained_whole(one)]
    truth = truth_images.read(arguments.truth, raw) if arguments.truth else None
    fixed = _fixed(raw, captures.fix)
    scenes = score.prepare(
        raw,
        fixed=fixed,
        truth=truth,
        first_columns=seen.columns if arguments.held_out else None,
    )
    black, white = denoiser.config.black, denoiser.config.white
    restore = _remembering(denoiser)
    rows = score.score(
        scenes,
        lambda pixels: scene_captures.to_network(pixels, black, white),
        restore,
        without=arguments.without,
    )
    rows = [row | seen.facts(row['scene'], held_out=arguments.held_out) for row in rows]
    table = score_table.markdown(rows, held_out=arguments.held_out, fix=captures.fix)
    _log.info('%s\n', table)
    if 'bm3d' not in arguments.without and not baselines.bm3d_installed():
        _log.info(
            "BM3D is not installed: pip install 'n2n_jax[baselines]' adds it to the table (free "
            'for non-commercial use).'
        )
    shares = _coverage(arguments.model, denoiser, scenes, restore, training=bool(seen.names))
    for row in rows:
        if row['method'] == score.MODEL and row['scene'] in shares:
            row['interval_covers'] = shares[row['scene']]
    for sentence in seen.warnings(held_out=arguments.held_out):
        _log.warning('%s', sentence)
    if arguments.json:
        write_text(arguments.json, json_files.dumps(rows, indent=1))
        _log.info('%s', arguments.json)
    warning = score_table.verdict(rows).warning()
    if warning:
        _log.warning('%s', warning)


def _other_fix(fix: str, config: 'Config') -> list[str]:
    """A sentence if captures are put right in another way than those of the run were."""
    from n2n_jax.captures import corrections

    given, of_run = corrections.parse(fix), corrections.parse(config.captures.fix)
    if given == of_run or not config.captures.paths:
        return []
    words = [f'--fix {",".join(names)}' if names else 'no --fix' for names in (of_run, given)]
    return [f'The run was trained with {words[0]}, and is scored with {words[1]}.']


def _fixed(scenes: 'Sequence[SceneCaptures]', fix: str) -> 'list[SceneCaptures]':
    """The scenes put right; says what was done."""
    from n2n_jax.captures import corrections
    from n2n_jax.runtime.progress import ProgressLine

    fixed, sentences = [], []
    with ProgressLine('putting captures right', len(scenes)) as progress:
        for k, scene in enumerate(scenes):
            progress.update(k, scene.name)
            done, changed = corrections.fix([scene], fix)
            fixed += done
            sentences += changed
            progress.update(k + 1)
    for sentence in sentences:
        _log.info('%s', sentence)
    return fixed


def _config(arguments: argparse.Namespace, denoiser: 'Denoiser') -> 'Config':
    """The config of the run, if it can be scored, before anything is read at length.

    Raises:
      UserError: it cannot.
    """
    from n2n_jax.runtime.checkpoint import open_for_reading

    if denoiser.config.black == denoiser.config.white:
        raise UserError(f'{arguments.model} was not trained on captures: its units are not known.')
    with open_for_reading(arguments.model) as checkpoints:
        config = checkpoints.config(denoiser.step)
    if arguments.held_out and config.captures.single:
        raise UserError(
            f'{arguments.model} was trained on single images and held nothing out: leave '
            '--held-out out.'
        )
    return config


@dataclasses.dataclass(frozen=True)
class _Seen:
    """What of the scenes was in the training of a run.

    Attributes:
      model: the run.
      columns: by the name of a scene that was: so many from the left hold what was trained on.
      doubt: why that may not be all; '' if nothing speaks for that.
    """

    model: Path
    columns: dict[str, int]
    doubt: str

    @property
    def names(self) -> list[str]:
        """Of scenes that were in the training, held out or not."""
        return list(self.columns)

    def trained_whole(self, scene: 'SceneCaptures') -> bool:
        """Whether nothing is left of it that was not trained on, worth scoring."""
        return self.columns.get(scene.name, 0) > scene.captures_NHWC.shape[2] - _NARROWEST

    def facts(self, scene: str, *, held_out: bool) -> dict[str, Any]:
        """What of a row says whether it is about what was trained on; '': that of all scenes."""
        columns = self.columns.get(scene, 0) if scene else max(self.columns.values(), default=0)
        return {
            'trained_columns': columns,
            'trained_on': bool(columns) and not held_out,
            'held_out': held_out,
            'doubt': self.doubt,
        }

    def warnings(self, *, held_out: bool) -> list[str]:
        """What to say below the numbers."""
        sentences = [self.doubt] if self.doubt else []
        trained_on = [name for name, columns in self.columns.items() if columns]
        if trained_on and not held_out:
            sentences.append(
                f'The model was trained on {_listed(trained_on)}: estimates there are too good. '
                '--held-out scores only what was kept out of the training.'
            )
        return sentences


def _seen(
    scenes: 'Sequence[SceneCaptures]', arguments: argparse.Namespace, config: 'Config'
) -> _Seen:
    """What of the scenes the run was trained on; with --held-out says what is scored then.

    Raises:
      UserError: with --held-out, nothing is left, or it cannot be told.
    """
    from n2n_jax.captures import trained_captures
    from n2n_jax.runtime.progress import ProgressLine

    model = arguments.model
    if not config.captures.paths:
        return _Seen(model, {}, '')
    record = trained_captures.of_run(model, config)
    if arguments.held_out and not record.scenes:
        raise UserError(f'{record.doubt} Or leave --held-out out.')
    columns = {}
    with ProgressLine('comparing with the training', len(scenes)) as progress:
        for k, scene in enumerate(scenes):
            found = record.recognize(scene.captures_NHWC)
            if found is not None:
                columns[scene.name] = found.columns
            progress.update(k + 1)
    seen = _Seen(model, columns, record.doubt)
    if not arguments.held_out:
        return seen
    new = [scene.name for scene in scenes if scene.name not in columns]
    whole = [scene.name for scene in scenes if seen.trained_whole(scene)]
    parts = [name for name, number in columns.items() if number and name not in whole]
    kept_out = [name for name, number in columns.items() if not number]
    if len(whole) == len(scenes):
        raise UserError(
            f'{model} was trained on all of these scenes whole: nothing of them is held out. Give '
            'captures that it was not trained on, or leave --held-out out.'
        )
    for names, words in (
        (whole, 'Left out, as the model was trained on them whole'),
        (parts, 'Scored on the part at the right that the training held out'),
        (kept_out, 'Held out by the training, scored whole'),
        (new, 'Not known to the training, so held out, scored whole'),
    ):
        if names:
            _log.info('%s: %s.', words, _listed(names))
    return seen


def _listed(names: 'Sequence[str]') -> str:
    """'a, b, c and 4 more'."""
    words = ', '.join(names[:_MOST_LISTED])
    left = len(names) - _MOST_LISTED
    return f'{words} and {left} more' if left > 0 else words


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
    from n2n_jax.captures import scene_captures
    from n2n_jax.denoise import uncertainty

    try:
        calibration = uncertainty.load(run, step=denoiser.step)
        if calibration is None:
            calibration = uncertainty.calibrate_run(run, denoiser)
    except UserError as error:
        _log.info('No intervals: they are calibrated on what the training held out. %s', error)
        return {}
    scenes = [
        scene_captures.in_range(
            scene_captures.SceneCaptures(scene.name, scene.captures_NHWC, scene.measured_HWC),
            denoiser.config,
        )
        for scene in scenes
    ]
    shares = uncertainty.coverage(calibration, scenes, restore)
    words = uncertainty.coverage_in_words(shares)
    if training:
        words += ' They were calibrated on a part of these captures: no proof.'
    _log.info('%s', words)
    return shares
