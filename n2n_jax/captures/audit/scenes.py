"""Runs all checks on scenes and collects their results.

N captures of a scene, H height, W width, C channels, L lags.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from n2n_jax.captures.audit.alignment import brightness, residual, shift
from n2n_jax.captures.audit.clipping import saturation
from n2n_jax.captures.audit.consistency import duplicates, outliers, same_scene, shares_noise
from n2n_jax.captures.audit.constants import Constant
from n2n_jax.captures.audit.findings import (
    FINE,
    ORDER,
    UNUSABLE,
    WARNING,
    Finding,
    advice_by_scene,
    without_nan,
    worst,
)
from n2n_jax.captures.audit.noise import autocorrelation, channels, correlation, noise
from n2n_jax.captures.audit.view import View
from n2n_jax.captures.measure import regions
from n2n_jax.captures.measure.noise_model import NoiseModel
from n2n_jax.captures.scene_captures import SceneCaptures
from n2n_jax.captures.scene_files import Scene, read_scene
from n2n_jax.images.constant_areas import constant_mask
from n2n_jax.runtime.config import MOST_CHANNELS
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.name_list import listed

NEIGHBORS = 'neighbors'  # the check of single images, see `n2n_jax.captures.audit.single`
_SMALLEST_SIDE = 8  # pixels
_LARGEST_VALUE, _SMALLEST_VALUE = 1e150, 1e-150
Check = Callable[[View], Finding]
CHECKS: dict[str, Check] = {
    'duplicates': duplicates,
    'shared noise': shares_noise,
    'same scene': same_scene,
    'shift': shift,
    'brightness': brightness,
    'residual': residual,
    'correlation': correlation,
    'channels': channels,
    'saturation': saturation,
    'outlier': outliers,
    'noise': noise,
}


@dataclasses.dataclass(frozen=True)
class SceneAudit:
    """The results of all checks on one scene.

    Attributes:
      name: name of the scene.
      shape: captures, height, width, channels; empty if it could not be read.
      kind: name of the pixel type, such as 'uint8'.
      findings: one per check.
      noise: the fitted noise model; None if the scene could not be read.
      autocorrelation_LL: autocorrelation of the noise; None likewise.
      sampled: whether only regions of a large scene were checked.
      digests: pixel hash of each capture.
      constants: constant areas that were excluded from all checks, such as a border.
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    findings: tuple[Finding, ...]
    noise: NoiseModel | None = None
    autocorrelation_LL: np.ndarray | None = None
    sampled: bool = False
    digests: tuple[str, ...] = ()
    constants: tuple[Constant, ...] = ()

    @property
    def verdict(self) -> str:
        """The worst of its findings."""
        return max((finding.verdict for finding in self.findings), key=ORDER.index)

    def as_dict(self) -> dict[str, Any]:
        """Converts to JSON content."""
        noise = None
        if self.noise is not None:
            noise = {
                'gain': self.noise.gain,
                'read': self.noise.read,
                'r2': self.noise.r2,
                'misfit': self.noise.misfit,
                'signal': self.noise.signal_B.tolist(),
                'variance': self.noise.variance_B.tolist(),
                'standard_error': self.noise.error_B.tolist(),
                'used': self.noise.used_B.tolist(),
            }
        lags = self.autocorrelation_LL
        return without_nan(
            {
                'scene': self.name,
                'verdict': self.verdict,
                'shape': list(self.shape),
                'type': self.kind,
                'sampled': self.sampled,
                'constants': [constant.as_dict() for constant in self.constants],
                'findings': [finding.as_dict() for finding in self.findings],
                'noise': noise,
                'autocorrelation': None if lags is None else lags.tolist(),
            }
        )


def audit_scene(scene: SceneCaptures) -> SceneAudit:
    """Runs all checks on one scene; on a grid of regions if it is very large.

    Borders and other constants (see `n2n_jax.images.constant_areas`) are excluded.
    """
    captures_NHWC = scene.captures_NHWC
    view = View(captures_NHWC, scene.measured_HWC)
    why = _why_not_measurable(view.captures_NHWC)
    if why:
        return _unusable(scene.name, why, captures_NHWC.shape, str(captures_NHWC.dtype))
    findings = [
        dataclasses.replace(check(view), scene=scene.name, check=name)
        for name, check in CHECKS.items()
    ]
    if any(finding.check == 'shift' and finding.verdict != FINE for finding in findings):
        findings = [_mention_shift(finding) for finding in findings]
    return SceneAudit(
        name=scene.name,
        shape=captures_NHWC.shape,
        kind=str(captures_NHWC.dtype),
        findings=tuple(findings),
        noise=view.model,
        autocorrelation_LL=autocorrelation(view),
        sampled=regions.is_sampled(view.whole_NHWC),
        digests=tuple(digest(capture) for capture in captures_NHWC),
        constants=view.constants,
    )


def _why_not_measurable(captures_NHWC: np.ndarray) -> str:
    """Returns why a scene cannot be checked; '' if it can."""
    num, h, w, _ = captures_NHWC.shape
    if num < 2:
        return 'It holds only one capture, but two are needed'
    if min(h, w) < _SMALLEST_SIDE:
        return (
            f'{w}x{h} pixels were measured, but at least {_SMALLEST_SIDE}x{_SMALLEST_SIDE} are '
            'needed'
        )
    if not np.isfinite(captures_NHWC).all():
        return 'It holds NaN or infinite pixels: remove it'
    largest = max(abs(float(captures_NHWC.max())), abs(float(captures_NHWC.min())))
    if largest and not _SMALLEST_VALUE < largest < _LARGEST_VALUE:
        return (
            f'It holds values of {largest:.2g}, whose squares leave the range of float64: scale '
            'all captures by the same factor'
        )
    return ''


def _mention_shift(finding: Finding) -> Finding:
    """Adds to the advice that a shift may be the cause.

    Edges that do not cancel in a difference are correlated between neighboring pixels and colors.
    """
    checks = 'correlation', 'channels', 'outlier', 'shared noise'
    if finding.verdict == FINE or finding.check not in checks:
        return finding
    advice = f'{finding.advice}. The shift may be the only cause: fix that first'
    return dataclasses.replace(finding, advice=advice)


def digest(capture_HWC: np.ndarray) -> str:
    """Returns a hash of the pixels."""
    return hashlib.sha256(np.ascontiguousarray(capture_HWC).data).hexdigest()


def read(scene: Scene, like: SceneCaptures | None) -> SceneCaptures | SceneAudit:
    """Reads the captures of a scene; returns an audit if they cannot be trained on.

    Args:
      scene: its files.
      like: a scene that was read before, whose channels and type all must share.
    """
    try:
        captures_NHWC = read_scene(scene)
    except UserError as error:
        return _unusable(scene.name, str(error), (), '')
    shape, kind = captures_NHWC.shape, captures_NHWC.dtype
    why = ''
    bad = _first_with_nan(captures_NHWC)
    if bad is not None:
        why = f'{scene.captures[bad].path} holds NaN or infinite pixels: remove it.'
    elif shape[-1] > MOST_CHANNELS:
        name = scene.captures[0].path
        why = f'{name} has {shape[-1]} channels, but a network takes at most {MOST_CHANNELS}.'
    elif like is not None:
        first = like.captures_NHWC
        if shape[-1] != first.shape[-1]:
            why = f'It has {shape[-1]} channels, but {like.name} has {first.shape[-1]}.'
        elif kind != first.dtype:
            why = f'It holds {kind} values, but {like.name} holds {first.dtype}.'
        why += ' All scenes must have the same channels and type: convert it, or remove it.' * bool(
            why
        )
    if why:
        return _unusable(scene.name, why, shape, str(kind))
    return SceneCaptures(scene.name, captures_NHWC)


def _first_with_nan(captures_NHWC: np.ndarray) -> int | None:
    """Returns the first capture with non-finite values outside constant areas, or None."""
    if captures_NHWC.dtype.kind != 'f' or np.isfinite(captures_NHWC).all():
        return None
    measured_HWC = ~constant_mask(captures_NHWC)
    bad_N = [not np.isfinite(x[measured_HWC]).all() for x in captures_NHWC]
    return bad_N.index(True) if any(bad_N) else None


def _unusable(name: str, why: str, shape: tuple[int, ...], kind: str) -> SceneAudit:
    finding = Finding(name, 'files', float('nan'), 'not usable', UNUSABLE, why.rstrip('.'))
    return SceneAudit(name, shape, kind, (finding,))


def with_copies_between(scenes: Sequence[SceneAudit]) -> list[SceneAudit]:
    """Adds a warning to scenes that contain a capture of an earlier scene.

    Otherwise held-out captures could be part of the training data.
    """
    first_with: dict[str, str] = {}
    marked = []
    for scene in scenes:
        others = list(dict.fromkeys(first_with[d] for d in scene.digests if d in first_with))
        for digest in scene.digests:
            first_with.setdefault(digest, scene.name)
        if others:
            finding = Finding(
                scene.name,
                'between scenes',
                len(others),
                f'as in {others[0]}',
                WARNING,
                f'one of its captures is also in {", ".join(others)}, so a model could be scored '
                'on captures that it was trained on: remove one',
            )
            scene = dataclasses.replace(scene, findings=(*scene.findings, finding))
        marked.append(scene)
    return marked


def audit(scenes: Sequence[SceneCaptures]) -> list[Finding]:
    """Runs all checks on all scenes."""
    audited = with_copies_between([audit_scene(scene) for scene in scenes])
    return [finding for scene in audited for finding in scene.findings]


def columns(findings: Sequence[Finding]) -> list[str]:
    """Returns the names of the checks in the table: all, or the only one for single images."""
    return [NEIGHBORS] if any(f.check == NEIGHBORS for f in findings) else list(CHECKS)


def markdown(findings: Sequence[Finding]) -> str:
    """Formats a table with a row per scene, and the advice below."""
    scenes: dict[str, dict[str, Finding]] = {}
    for finding in findings:
        scenes.setdefault(finding.scene, {})[finding.check] = finding
    marks = {FINE: '', WARNING: ' (!)', UNUSABLE: ' (!!)'}
    checks = columns(findings)
    table = [['scene', 'verdict', *checks]]
    for name, cells in scenes.items():
        row = [_escaped(name), max((f.verdict for f in cells.values()), key=ORDER.index)]
        for check in checks:
            cell = cells.get(check)
            row.append(f'{cell.text}{marks[cell.verdict]}' if cell else '-')
        table.append(row)
    widths = [max(len(row[k]) for row in table) for k in range(len(table[0]))]
    lines = [
        '| ' + ' | '.join(f'{cell:{width}}' for cell, width in zip(row, widths, strict=True)) + ' |'
        for row in table
    ]
    lines.insert(1, '|' + '|'.join('-' * (width + 2) for width in widths) + '|')
    lines.append('')
    for verdict, text, names in advice_by_scene(findings):
        lines.append(f'{verdict}: {listed(names)}: {text}.')
    lines.append(f'Verdict: {worst(findings)}.')
    return '\n'.join(lines)


def _escaped(name: str) -> str:
    return name.replace('|', '\\|')
