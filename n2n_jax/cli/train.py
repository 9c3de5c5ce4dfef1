"""`n2n train`: trains a model on the user's captures."""

import argparse
import dataclasses
import logging
import sys
from typing import TYPE_CHECKING, Any

from n2n_jax.cli import options
from n2n_jax.runtime import console
from n2n_jax.runtime.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from n2n_jax.runtime.config import CapturesConfig, Config
    from n2n_jax.runtime.workdir import Workdir
    from n2n_jax.train.planning import Planned
    from n2n_jax.train.prepared import Prepared

_log = logging.getLogger(__name__)


def add_parser(commands: Any) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        'train',
        help='train on your own noisy captures',
        description=(
            'Trains a denoiser on two or more noisy captures of each scene, without any clean '
            'image; with --single, on one or more unrelated noisy images.'
        ),
    )
    options.add_captures(parser)
    options.add_fix(parser)
    parser.add_argument(
        '--workdir', required=True, type=options.run_folder, metavar='RUN',
        help='folder of the run; if it holds this run already, it is resumed',
    )  # fmt: skip
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        '--minutes', type=float, metavar='N',
        help='time from the first step to the finished model, evaluations included (default: 20)',
    )  # fmt: skip
    length.add_argument(
        '--steps', type=int, metavar='N',
        help='number of steps, in place of --minutes; a larger number extends a complete run',
    )  # fmt: skip
    parser.add_argument(
        '--pairing', choices=('1:1', '1:X', 'X:1'),
        help='1:1: any two captures are a pair; 1:X (default): one capture is the input, the mean '
        'of all others the target; X:1: the reverse',
    )  # fmt: skip
    parser.add_argument(
        '--single', action='store_true',
        help='treat every image as a scene of its own and pair neighboring pixels; assumes that '
        'their noise is independent and has mean 0; gives no PSNR',
    )  # fmt: skip
    parser.add_argument(
        '--allow-correlated-noise', action='store_true',
        help='with --single: train even if the noise of neighboring pixels seems correlated',
    )  # fmt: skip
    parser.add_argument(
        '--held-out', type=float, metavar='SHARE',
        help='share of the scenes (or of each scene, if there are few) to keep out of training '
        'and score the model on (default: 0.2)',
    )  # fmt: skip
    parser.add_argument(
        '--model', default='', metavar='NAME',
        help='network (default: unet), any of model.name, with options as in dncnn:depth=12',
    )  # fmt: skip
    options.add_imports(parser)
    parser.add_argument(
        '--init-from', type=options.run_folder, metavar='MODEL',
        help='fine-tune: start from the weights of a run (its folder), of a file, or of a model '
        'that n2n models lists',
    )  # fmt: skip
    parser.add_argument(
        '--patience', type=int, metavar='N',
        help='stop after N evaluations in a row without improvement; a run has up to ten '
        '(default: 5; 0: never stop early)',
    )  # fmt: skip
    parser.add_argument('--batch-size', type=int, metavar='N', help='crops per step (default: 8)')
    parser.add_argument(
        '--seed', type=int, metavar='N',
        help='seed of the initial weights, crops and order of training (default: 0)',
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    from n2n_jax.captures import corrections
    from n2n_jax.runtime.workdir import Workdir
    from n2n_jax.train import loop

    if arguments.single and arguments.held_out is not None:
        raise UserError(
            '--single holds nothing out, because single images cannot be scored: leave out '
            '--held-out.'
        )
    if arguments.steps is not None and arguments.steps < 1:
        raise UserError(f'--steps {arguments.steps}: must be at least 1.')
    console.keep_compiled_code()
    captures = options.captures(arguments)
    captures = dataclasses.replace(
        captures,
        pairing=arguments.pairing or ('1:1' if arguments.single else '1:X'),
        allow_correlated_noise=arguments.allow_correlated_noise,
        held_out=captures.held_out if arguments.held_out is None else arguments.held_out,
    )
    corrections.parse(captures.fix)
    workdir = Workdir(arguments.workdir)
    planned = _planned(workdir, captures, arguments)
    prepared = planned.prepared
    complete = loop.train(prepared.config, arguments.workdir, prepared=prepared, pace=planned.pace)
    if not complete:
        sys.exit(console.EXIT_INTERRUPTED)
    _finish(arguments.workdir, prepared)


def _planned(
    workdir: 'Workdir', captures: 'CapturesConfig', arguments: argparse.Namespace
) -> 'Planned':
    """Returns a new plan, or that of the run in the workdir; exits quietly on Ctrl-C."""
    from n2n_jax.runtime.config import Config
    from n2n_jax.train import planning
    from n2n_jax.train.planning import Options, Planned
    from n2n_jax.train.prepared import prepare

    workdir.check_free()
    if (workdir.path / 'config.json').exists():
        config = _resumed(workdir, captures, arguments)
        prepared = prepare(config, check=workdir.check)
        return Planned(prepared.settled(prepared.config))
    workdir.check(Config())  # now, because planning takes a while
    given = {
        name: getattr(arguments, name)
        for name in (
            'steps',
            'minutes',
            'batch_size',
            'seed',
            'patience',
            'model',
            'init_from',
            'imports',
        )
        if getattr(arguments, name) is not None
    }
    if 'init_from' in given:
        given['init_from'] = str(given['init_from'])
    if not ('steps' in given or 'minutes' in given):
        _log.info('Training for %g minutes; --minutes changes that.', Options().minutes)
    try:
        planned = planning.plan(captures, Options(**given))
    except KeyboardInterrupt:
        _log.info('Stopped while planning. Nothing was written; the same command starts over.')
        sys.exit(console.EXIT_INTERRUPTED)
    if planned.interrupted:
        with workdir.claimed(planned.prepared.config):
            pass
        _log.info('Stopped. The plan is saved in %s; the same command starts it.', workdir.path)
        sys.exit(console.EXIT_INTERRUPTED)
    return planned


def _finish(run: 'Path', prepared: 'Prepared') -> None:
    """Calibrates the intervals of a complete run, and logs its verdict and where results are."""
    from n2n_jax.denoise import uncertainty
    from n2n_jax.denoise.denoiser import Denoiser
    from n2n_jax.evaluate import verdict
    from n2n_jax.evaluate.held_out_captures import CaptureEvaluator
    from n2n_jax.runtime.heartbeat import heartbeat

    if isinstance(prepared.evaluator, CaptureEvaluator):
        denoiser = Denoiser.load(run)
        held_out = prepared.evaluator.scenes
        with heartbeat('Calibrating intervals'):
            try:
                uncertainty.calibrate_run(run, denoiser, held_out=held_out)
            except UserError as error:
                _log.info('No intervals, as they are calibrated on held-out captures: %s', error)
        with heartbeat('Comparing with non-local means'):
            said = verdict.after_training(held_out, denoiser.denoise, run)
    else:
        said = verdict.use(run)
    for what, name in (('Scores', 'results.md'), ('Pictures', 'evaluation')):
        if (run / name).exists():
            _log.info('%s: %s', what, run / name)
    _log.info('%s', said)


def _resumed(
    workdir: 'Workdir', captures: 'CapturesConfig', arguments: argparse.Namespace
) -> 'Config':
    """Returns the config of the run in the workdir, with more steps if they were asked for.

    Raises:
      UserError: the arguments describe a different run.
    """
    from n2n_jax.runtime import user_code
    from n2n_jax.runtime.config import check

    config = workdir.config()
    asked = dataclasses.replace(config, imports=arguments.imports)
    given = user_code.resolved(asked, workdir.path).imports
    config = dataclasses.replace(config, imports=user_code.merged(config.imports, given))
    workdir.check(config)  # a run that has saved nothing yet may get other code
    user_code.run_kept(config, workdir.path)
    _check_same(config, captures, arguments, done=workdir.done)
    settings = config.train
    if arguments.steps is not None and arguments.steps > settings.steps:
        config = _extended(config, arguments.steps, workdir)
    elif arguments.minutes is not None and workdir.done:
        _log.info(
            'This run is complete: %d steps. To extend it, give --steps with a larger number.',
            settings.steps,
        )
    elif arguments.minutes is not None:
        _log.info(
            'Continuing to step %d as planned; --minutes is ignored when resuming.', settings.steps
        )
    if arguments.patience is not None and not captures.single:
        settings = dataclasses.replace(config.train, patience=arguments.patience)
        config = dataclasses.replace(config, train=settings)
    check(config)
    return config


def _extended(config: 'Config', steps: int, workdir: 'Workdir') -> 'Config':
    """Returns the config of a complete run with more steps; early stopping counts from its end."""
    ended = max((row['step'] for row in workdir.rows()), default=config.train.steps)
    settings = dataclasses.replace(config.train, steps=steps, patience_from=ended)
    return dataclasses.replace(config, train=settings)


def _check_same(
    config: 'Config', captures: 'CapturesConfig', arguments: argparse.Namespace, *, done: bool
) -> None:
    """Raises UserError if the arguments do not describe the run of `config`."""
    if config.captures.paths != captures.paths:
        raise UserError(
            f'{arguments.workdir} holds a run on other captures '
            f'({config.captures.paths or "none"}): choose another --workdir.'
        )
    was, now = dataclasses.asdict(config.captures), dataclasses.asdict(captures)
    for name, value in (
        ('steps', config.train.steps),
        ('batch_size', config.data.batch_size),
        ('seed', config.seed),
        ('model', config.model.name),
        ('init_from', config.model.init_from),
    ):
        asked = getattr(arguments, name)
        was[name] = value
        now[name] = value if asked in (None, '') else type(value)(asked)
    if done and now['steps'] > was['steps']:  # extends a complete run
        was['steps'] = now['steps']
    for name, value in was.items():
        if now[name] != value:
            option = '--' + name.replace('_', '-')
            advice = 'use the same to resume it, or choose another --workdir.'
            if name == 'steps' and now[name] > value:
                advice = 'it can be extended once it is complete.'
            raise UserError(
                f'{arguments.workdir} holds a run with {option} {value or "left out"}, not '
                f'{now[name] or "left out"}: {advice}'
            )
