"""`n2n score`: estimates the PSNR of a model from noisy captures alone."""

import argparse
import dataclasses
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from n2n_jax.cli import options
from n2n_jax.runtime import console
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.name_list import listed

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from n2n_jax.captures.scene_captures import SceneCaptures
    from n2n_jax.denoise.denoiser import Denoiser
    from n2n_jax.evaluate.baselines import Baseline, Restore
    from n2n_jax.evaluate.scored_scenes import ScoredScene
    from n2n_jax.runtime.config import Config

_log = logging.getLogger(__name__)

_MIN_COLUMNS = 4  # width of the narrowest held-out part that is scored


def add_parser(commands: Any) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        'score',
        help='estimate PSNR on noisy captures, without a clean image',
        description='Estimates the PSNR of a model on noisy captures, and compares it with simpler '
        'methods.',
    )
    options.add_captures(parser)
    options.add_fix(parser)
    options.add_model(parser)
    parser.add_argument(
        '--truth',
        type=options.path,
        metavar='DIR',
        help='folder of clean images: report true PSNR and SSIM beside the estimate',
    )
    parser.add_argument(
        '--held-out',
        action='store_true',
        help='score only what RUN was not trained on',
    )
    parser.add_argument(
        '--without',
        action='append',
        choices=('nlm', 'bm3d'),
        default=[],
        help='skip a method, may be repeated; BM3D takes seconds to a minute per capture',
    )
    parser.add_argument(
        '--with',
        dest='more',
        metavar='LIST',
        help='more methods, with commas between: tv, wavelet, median, or dip (minutes to hours per '
        'capture); for their options see n2n baselines --help',
    )
    options.add_imports(parser)
    parser.add_argument(
        '--json', type=options.path, metavar='FILE', help='write the results to FILE'
    )
    parser.add_argument('--force', action='store_true', help='overwrite FILE')
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    from n2n_jax.captures import corrections, loading, network_range, scene_captures
    from n2n_jax.denoise.denoiser import Denoiser
    from n2n_jax.evaluate import (
        methods,
        score,
        score_table,
        scored_scenes,
        truth_images,
        verdict,
    )
    from n2n_jax.runtime import json_files
    from n2n_jax.runtime.atomic_files import write_text

    options.check_free(arguments.json, '--json', arguments)
    options.run_imports(arguments)
    more = _more_baselines(arguments.more)
    console.keep_compiled_code()
    denoiser = Denoiser.load(arguments.model)
    config = _scorable_config(arguments, denoiser)
    captures = options.captures(arguments)
    corrections.parse(captures.fix)
    options.check_report_files([arguments.json], scene_captures.find(captures))
    _log.info('Reading the captures.')
    # Read as for training: without copies of a capture, such as a JPEG file beside a TIFF file.
    loaded = loading.load(dataclasses.replace(captures, fix=''))
    raw = loaded.raw
    for sentence in [*loaded.notes, *_other_fix(captures.fix, config)]:
        _log.info('%s', sentence)
    for one in raw:
        if doubt := denoiser.doubt(one.captures_NHWC[0], one.name):
            _log.warning('%s', doubt)
    trained = _find_trained_parts(raw, arguments, config)
    if arguments.held_out:
        raw = [one for one in raw if not trained.trained_whole(one)]
    truth = truth_images.read(arguments.truth, raw) if arguments.truth else None
    fixed = _corrected(raw, captures.fix)
    scenes = scored_scenes.prepare(
        raw,
        fixed=fixed,
        truth=truth,
        first_columns=trained.columns if arguments.held_out else None,
    )
    black, white = denoiser.config.black, denoiser.config.white
    restore = _cached(denoiser)
    rows = score.score(
        scenes,
        lambda pixels: network_range.to_network(pixels, black, white),
        restore,
        without=arguments.without,
        more=more,
    )
    rows = [row | trained.facts(row['scene'], held_out=arguments.held_out) for row in rows]
    table = score_table.markdown(rows, held_out=arguments.held_out, fix=captures.fix)
    _log.info('%s\n', table)
    for key, kind in methods.OPTIONAL.items():
        if key not in arguments.without and not kind.installed():
            _log.info('%s', kind.how_to_install)
    shares = _coverage(arguments.model, denoiser, scenes, restore, training=bool(trained.names))
    for row in rows:
        if row['method'] == methods.MODEL and row['scene'] in shares:
            row['interval_covers'] = shares[row['scene']]
    for sentence in trained.warnings(held_out=arguments.held_out):
        _log.warning('%s', sentence)
    if arguments.json:
        write_text(arguments.json, json_files.dumps(rows, indent=1))
        _log.info('%s', arguments.json)
    warning = verdict.from_scores(rows).warning()
    if warning:
        _log.warning('%s', warning)


def _more_baselines(texts: str | None) -> 'dict[str, Baseline]':
    """Returns the baselines of --with, by the name that the table shows.

    Raises:
      UserError: one of them is unknown, or its package is missing.
    """
    from n2n_jax.evaluate import baselines

    found = {}
    for text, baseline in (baselines.make_list(texts) if texts else {}).items():
        _, _, written = text.partition(':')
        found[f'{baseline.title}, {written}' if written else baseline.title] = baseline
    return found


def _other_fix(fix: str, config: 'Config') -> list[str]:
    """Returns a sentence if --fix differs from that of the run; else nothing."""
    from n2n_jax.captures import corrections

    given, of_run = corrections.parse(fix), corrections.parse(config.captures.fix)
    if given == of_run or not config.captures.paths:
        return []
    words = [f'--fix {",".join(names)}' if names else 'no --fix' for names in (of_run, given)]
    return [f'The run was trained with {words[0]} and is scored with {words[1]}.']


def _corrected(scenes: 'Sequence[SceneCaptures]', fix: str) -> 'list[SceneCaptures]':
    """Returns the scenes with `fix` applied, and logs what was corrected."""
    from n2n_jax.captures import corrections
    from n2n_jax.runtime.progress import ProgressLine

    fixed, sentences = [], []
    with ProgressLine('correcting captures', len(scenes)) as progress:
        for k, scene in enumerate(scenes):
            progress.update(k, scene.name)
            done, changed = corrections.fix([scene], fix)
            fixed += done
            sentences += changed
            progress.update(k + 1)
    for sentence in sentences:
        _log.info('%s', sentence)
    return fixed


def _scorable_config(arguments: argparse.Namespace, denoiser: 'Denoiser') -> 'Config':
    """Returns the config of the run; called before the captures are read, which takes a while.

    Raises:
      UserError: the run cannot be scored.
    """
    from n2n_jax.models import trained
    from n2n_jax.runtime.checkpoint import open_for_reading

    if denoiser.config.black == denoiser.config.white:
        raise UserError(
            f'{arguments.model} was not trained on captures (n2n train), so the units of its '
            'values are unknown and it cannot be scored on captures.'
        )
    if not trained.is_run(arguments.model):
        raise UserError(
            f'{arguments.model} does not say which captures it was trained on: score the folder of '
            'the run.'
        )
    with open_for_reading(arguments.model) as checkpoints:
        config = checkpoints.config(denoiser.step)
    if arguments.held_out and config.captures.single:
        raise UserError(
            f'{arguments.model} was trained on single images and held nothing out: score without '
            '--held-out.'
        )
    return config


@dataclasses.dataclass(frozen=True)
class _TrainedParts:
    """Which parts of the given scenes a run was trained on.

    Attributes:
      model: folder of the run.
      columns: for every scene the run knows, how many columns from the left it was trained on; 0
        if it was held out.
      doubt: why this may be incomplete; '' if it is not in doubt.
    """

    model: Path
    columns: dict[str, int]
    doubt: str

    @property
    def names(self) -> list[str]:
        """Names of the scenes that the run knows, held out or not."""
        return list(self.columns)

    def trained_whole(self, scene: 'SceneCaptures') -> bool:
        """Whether too little of the scene was held out to be scored."""
        return self.columns.get(scene.name, 0) > scene.captures_NHWC.shape[2] - _MIN_COLUMNS

    def facts(self, scene: str, *, held_out: bool) -> dict[str, Any]:
        """Returns the fields of a row that say what the model was trained on.

        Args:
          scene: its name; '' for the row of all scenes.
          held_out: whether only held-out parts are scored.
        """
        columns = self.columns.get(scene, 0) if scene else max(self.columns.values(), default=0)
        return {
            'trained_columns': columns,
            'trained_on': bool(columns) and not held_out,
            'held_out': held_out,
            'doubt': self.doubt,
        }

    def warnings(self, *, held_out: bool) -> list[str]:
        """Returns the warnings to print below the table."""
        sentences = [self.doubt] if self.doubt else []
        trained_on = [name for name, columns in self.columns.items() if columns]
        if trained_on and not held_out:
            sentences.append(
                f'The model was trained on {listed(trained_on)}: estimates there are too good. '
                '--held-out scores only what it was not trained on.'
            )
        return sentences


def _find_trained_parts(
    scenes: 'Sequence[SceneCaptures]', arguments: argparse.Namespace, config: 'Config'
) -> _TrainedParts:
    """Finds what the run was trained on; with --held-out also logs what is scored.

    Raises:
      UserError: with --held-out, nothing was held out, or that is unknown.
    """
    from n2n_jax.captures import trained_captures
    from n2n_jax.runtime.progress import ProgressLine

    model = arguments.model
    if not config.captures.paths:
        return _TrainedParts(model, {}, '')
    record = trained_captures.of_run(model, config)
    if arguments.held_out and not record.scenes:
        raise UserError(f'{record.doubt} Or score without --held-out.')
    columns = {}
    with ProgressLine('looking for training captures', len(scenes)) as progress:
        for k, scene in enumerate(scenes):
            found = record.recognize(scene.captures_NHWC)
            if found is not None:
                columns[scene.name] = found.columns
            progress.update(k + 1)
    trained = _TrainedParts(model, columns, record.doubt)
    if not arguments.held_out:
        return trained
    new = [scene.name for scene in scenes if scene.name not in columns]
    whole = [scene.name for scene in scenes if trained.trained_whole(scene)]
    parts = [name for name, number in columns.items() if number and name not in whole]
    kept_out = [name for name, number in columns.items() if not number]
    if len(whole) == len(scenes):
        raise UserError(
            f'{model} was trained on the whole of all these scenes, so none of them is held out. '
            'Give captures that it was not trained on, or score without --held-out.'
        )
    for names, words in (
        (whole, 'Skipped, as the model was trained on all of them'),
        (parts, 'Scored on the held-out part at the right'),
        (kept_out, 'Held out of training, scored whole'),
        (new, 'New to the model, scored whole'),
    ):
        if names:
            _log.info('%s: %s.', words, listed(names))
    return trained


def _cached(denoiser: 'Denoiser') -> 'Restore':
    """Returns the denoiser with a cache: scores and coverage need the same captures denoised."""
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
    scenes: 'list[ScoredScene]',
    restore: 'Restore',
    *,
    training: bool,
) -> dict[str, float]:
    """Logs and returns, by scene, the share of new captures' values inside the intervals."""
    from n2n_jax.captures import network_range, scene_captures
    from n2n_jax.denoise import uncertainty

    try:
        calibration = uncertainty.load(run, step=denoiser.step)
        if calibration is None:
            calibration = uncertainty.calibrate_run(run, denoiser)
    except UserError as error:
        _log.info('No intervals, as they are calibrated on held-out captures: %s', error)
        return {}
    in_range = [
        network_range.to_network_range(
            scene_captures.SceneCaptures(scene.name, scene.captures_NHWC, scene.measured_HWC),
            denoiser.config,
        )
        for scene in scenes
    ]
    shares = uncertainty.coverage(calibration, in_range, restore)
    words = uncertainty.coverage_in_words(shares)
    if training:
        words += (
            ' They were calibrated on part of these captures, so this does not verify them '
            'independently.'
        )
    _log.info('%s', words)
    return shares
