"""`n2n audit`: whether captures are fit to train on."""

import argparse
import json
import logging
import sys
from typing import Any

from n2n_jax.commands import options

_log = logging.getLogger(__name__)


def add_parser(commands: Any) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        'audit',
        help='check noisy captures before training on them',
        description='Checks captures. Exit status: 0 fine, 1 warnings, 2 unusable.',
    )
    options.add_captures(parser)
    parser.add_argument(
        '--json', type=options.path, metavar='FILE', help='write the findings there'
    )
    parser.add_argument('--force', action='store_true', help='overwrite FILE')
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    from n2n_jax import audit
    from n2n_jax.data import own_captures
    from n2n_jax.workdir import write_text

    options.check_free(arguments.json, '--json', arguments)
    captures = options.captures(arguments)
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
