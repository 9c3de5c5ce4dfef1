"""All checks on scenes, and what was found out about each.

N captures of a scene, H height, W width, C channels, B bins, L lags.
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
from n2n_jax.captures.find import Scene, read_scene
from n2n_jax.captures.measure import regions
from n2n_jax.captures.measure.noise_model import NoiseModel
from n2n_jax.captures.scene_captures import SceneCaptures
from n2n_jax.images.constant_areas import constant_mask
from n2n_jax.runtime.config import MOST_CHANNELS
from n2n_jax.runtime.errors import UserError

NEIGHBORS = 'neighbors'  # the check of images that are alone, see `n2n_jax.captures.audit.single`
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
    """What was found out about one scene.

    Attributes:
      name: of the scene.
      shape: captures, height, width, channels; empty if it could not be read.
      kind: of the numbers, such as 'uint8'.
      findings: of all checks.
      noise: the line of its variance; None if it could not be read.
      autocorrelation_LL: of the noise.
      sampled: whether it is so large that only regions of it were looked at.
      digests: one per capture, equal for equal pixels.
      constants: what was left out of all checks, such as a border.
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
        """For JSON."""
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
    """All checks on one scene; of a very large one on a grid of regions.

    Borders and other constants (see `n2n_jax.images.constant_areas`) are left out of all checks.
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
        findings = [_perhaps_by_shift(finding) for finding in findings]
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
    """Why no check can be made of what was measured; '' if they can."""
    num, h, w, _ = captures_NHWC.shape
    if num < 2:
        return 'It holds one capture, and two are needed'
    if min(h, w) < _SMALLEST_SIDE:
        return (
            f'{w}x{h} pixels were measured, and {_SMALLEST_SIDE}x{_SMALLEST_SIDE} are the fewest '
            'to tell anything by'
        )
    if not np.isfinite(captures_NHWC).all():
        return 'It holds NaN or infinite pixels: leave it out'
    largest = max(abs(float(captures_NHWC.max())), abs(float(captures_NHWC.min())))
    if largest and not _SMALLEST_VALUE < largest < _LARGEST_VALUE:
        return (
            f'It holds values of {largest:.2g}, whose squares are beyond all numbers: bring all '
            'captures to another unit'
        )
    return ''


def _perhaps_by_shift(finding: Finding) -> Finding:
    """Edges that do not cancel in a difference are alike in neighboring pixels and in colors."""
    checks = 'correlation', 'channels', 'outlier', 'shared noise'
    if finding.verdict == FINE or finding.check not in checks:
        return finding
    words = f'{finding.advice}. The shift may be all there is to it: mend that first'
    return dataclasses.replace(finding, advice=words)


def digest(capture_HWC: np.ndarray) -> str:
    """Equal for equal pixels."""
    return hashlib.sha256(np.ascontiguousarray(capture_HWC).data).hexdigest()


def read(scene: Scene, like: SceneCaptures | None) -> SceneCaptures | SceneAudit:
    """The captures of a scene, or why they cannot be trained on.

    Args:
      scene: where they are.
      like: a scene that was read before: all must have its channels and type.
    """
    try:
        captures_NHWC = read_scene(scene)
    except UserError as error:
        return _unusable(scene.name, str(error), (), '')
    shape, kind = captures_NHWC.shape, captures_NHWC.dtype
    why = ''
    bad = _first_with_nan(captures_NHWC)
    if bad is not None:
        why = f'{scene.captures[bad].path} holds NaN or infinite pixels: leave it out.'
    elif shape[-1] > MOST_CHANNELS:
        name = scene.captures[0].path
        why = f'{name} has {shape[-1]} channels, and a network takes at most {MOST_CHANNELS}.'
    elif like is not None:
        first = like.captures_NHWC
        if shape[-1] != first.shape[-1]:
            why = f'It has {shape[-1]} channels, {like.name} has {first.shape[-1]}.'
        elif kind != first.dtype:
            why = f'It holds {kind} numbers, {like.name} {first.dtype}.'
        why += ' One model is trained on scenes of one kind: convert it, or leave it out.' * bool(
            why
        )
    if why:
        return _unusable(scene.name, why, shape, str(kind))
    return SceneCaptures(scene.name, captures_NHWC)


def _first_with_nan(captures_NHWC: np.ndarray) -> int | None:
    """The first capture that is not finite where others are measured."""
    if captures_NHWC.dtype.kind != 'f' or np.isfinite(captures_NHWC).all():
        return None
    measured_HWC = ~constant_mask(captures_NHWC)
    bad_N = [not np.isfinite(x[measured_HWC]).all() for x in captures_NHWC]
    return bad_N.index(True) if any(bad_N) else None


def _unusable(name: str, why: str, shape: tuple[int, ...], kind: str) -> SceneAudit:
    finding = Finding(name, 'files', float('nan'), 'not usable', UNUSABLE, why.rstrip('.'))
    return SceneAudit(name, shape, kind, (finding,))


def with_copies_between(scenes: Sequence[SceneAudit]) -> list[SceneAudit]:
    """Adds a warning to scenes that hold a capture of an earlier scene.

    What is held out would have been trained on.
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
                f'a capture of it is also one of {", ".join(others)}: what is held out to score a '
                'model would have been trained on. Leave one out',
            )
            scene = dataclasses.replace(scene, findings=(*scene.findings, finding))
        marked.append(scene)
    return marked


def audit(scenes: Sequence[SceneCaptures]) -> list[Finding]:
    """All checks on all scenes."""
    audited = with_copies_between([audit_scene(scene) for scene in scenes])
    return [finding for scene in audited for finding in scene.findings]


def columns(findings: Sequence[Finding]) -> list[str]:
    """The checks that make up the table: all, or the one there is for images that are alone."""
    return [NEIGHBORS] if any(f.check == NEIGHBORS for f in findings) else list(CHECKS)


def markdown(findings: Sequence[Finding]) -> str:
    """A row per scene, and the advice below."""
    scenes: dict[str, dict[str, Finding]] = {}
    for finding in findings:
        scenes.setdefault(finding.scene, {})[finding.check] = finding
    marks = {FINE: '', WARNING: ' (!)', UNUSABLE: ' (!!)'}
    checks = columns(findings)
    table = [['scene', 'verdict', *checks]]
    for name, cells in scenes.items():
        row = [_escaped(name), max((f.verdict for f in cells.values()), key=ORDER.index)]
        for check in checks:
            finding = cells.get(check)
            row.append(f'{finding.text}{marks[finding.verdict]}' if finding else '-')
        table.append(row)
    widths = [max(len(row[k]) for row in table) for k in range(len(table[0]))]
    lines = [
        '| ' + ' | '.join(f'{cell:{width}}' for cell, width in zip(row, widths, strict=True)) + ' |'
        for row in table
    ]
    lines.insert(1, '|' + '|'.join('-' * (width + 2) for width in widths) + '|')
    lines.append('')
    for verdict, text, names in advice_by_scene(findings):
        listed = ', '.join(names[:5]) + (f' and {len(names) - 5} more' if len(names) > 5 else '')
        lines.append(f'{verdict}: {listed}: {text}.')
    lines.append(f'Verdict: {worst(findings)}.')
    return '\n'.join(lines)


def _escaped(name: str) -> str:
    return name.replace('|', '\\|')
