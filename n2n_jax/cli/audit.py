"""`n2n audit`: checks whether captures are fit to train on."""

import argparse
import logging
import sys
from typing import Any

from n2n_jax.cli import options
from n2n_jax.runtime.errors import UserError

_log = logging.getLogger(__name__)

_MAX_NOISE_LINES = 20


def add_parser(commands: Any) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        'audit',
        help='check noisy captures before training on them',
        description='Checks whether captures are fit to train on. Exit status: 0 fine, 1 warnings, '
        '2 unusable.',
    )
    options.add_captures(parser)
    parser.add_argument(
        '--single', action='store_true',
        help='treat every image as a scene of its own and check its noise for n2n train --single',
    )  # fmt: skip
    parser.add_argument(
        '--json', type=options.path, metavar='FILE', help='write all numbers to FILE'
    )
    parser.add_argument(
        '--html', type=options.path, metavar='FILE', help='write a report with plots to FILE'
    )
    parser.add_argument('--force', action='store_true', help='overwrite FILE')
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    from n2n_jax.captures import audit, scene_captures
    from n2n_jax.captures.audit import html_page
    from n2n_jax.runtime import json_files
    from n2n_jax.runtime.atomic_files import write_text
    from n2n_jax.runtime.progress import ProgressLine

    options.check_free(arguments.json, '--json', arguments)
    options.check_free(arguments.html, '--html', arguments)
    found = scene_captures.find(options.captures(arguments))
    if not found:
        raise UserError(f'There are no images in {", ".join(map(str, arguments.paths))}.')
    options.check_report_files([arguments.json, arguments.html], found)
    details = html_page.Details()
    scenes, first = [], None
    with ProgressLine('auditing', len(found)) as progress:
        for k, scene in enumerate(found):
            captures = audit.read(scene, first)
            if isinstance(captures, audit.SceneAudit):
                scenes.append(captures)
            else:
                first = first or scene_captures.SceneCaptures(
                    captures.name, captures.captures_NHWC[:, :1, :1].copy()
                )
                audit_one = audit.audit_single if arguments.single else audit.audit_scene
                scenes.append(audit_one(captures))
                if arguments.html and scenes[-1].noise is not None:
                    details.add(scenes[-1], captures.captures_NHWC)
            progress.update(k + 1)
    scenes = audit.with_copies_between(scenes)
    findings = [finding for scene in scenes for finding in scene.findings]
    verdict = audit.worst(findings)
    _log.info('%s', audit.markdown(findings))
    for audited in scenes[:_MAX_NOISE_LINES]:
        if audited.noise is not None:
            _log.info('Noise of %s: %s.', audited.name, html_page.line_in_words(audited.noise))
        if audited.sampled:
            _log.info('%s is large: only nine regions of it were checked.', audited.name)
        for constant in audited.constants:
            _log.info('%s: %s: excluded from all checks.', audited.name, constant.in_words())
    if arguments.json:
        content = {'verdict': verdict, 'scenes': [scene.as_dict() for scene in scenes]}
        write_text(arguments.json, json_files.dumps(content, indent=1))
        _log.info('%s', arguments.json)
    if arguments.html:
        write_text(arguments.html, html_page.page(scenes, details.by_scene()))
        _log.info('%s', arguments.html)
    status = {audit.FINE: 0, audit.WARNING: 1, audit.UNUSABLE: 2}[verdict]
    if status:
        sys.exit(status)
