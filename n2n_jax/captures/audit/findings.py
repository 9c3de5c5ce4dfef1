"""Results of checks on captures: a number, a verdict and advice."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

FINE, WARNING, UNUSABLE = 'fine', 'warning', 'unusable'
ORDER = (FINE, WARNING, UNUSABLE)


@dataclasses.dataclass(frozen=True)
class Finding:
    """The result of one check on one scene.

    Attributes:
      scene: name of the scene.
      check: name of the check.
      value: the number behind the verdict; NaN if not measurable.
      text: the number as shown to the user.
      verdict: 'fine', 'warning' or 'unusable'.
      advice: what to do; '' if fine.
      numbers: further numbers for the JSON report.
    """

    scene: str
    check: str
    value: float
    text: str
    verdict: str
    advice: str = ''
    numbers: dict[str, Any] = dataclasses.field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Converts to JSON content, with NaN and infinity as null."""
        return without_nan(dataclasses.asdict(self))


def finding_of(
    check: str,
    value: float,
    text: str,
    verdict: str,
    advice: str = '',
    numbers: dict[str, Any] | None = None,
) -> Finding:
    """Returns a finding without the name of the scene, which is filled in later."""
    return Finding('', check, float(value), text, verdict, advice, numbers or {})


def worst(findings: Sequence[Finding]) -> str:
    """Returns the verdict on all scenes: unusable only if every scene is."""
    by_scene: dict[str, str] = {}
    for finding in findings:
        before = by_scene.get(finding.scene, FINE)
        by_scene[finding.scene] = max(before, finding.verdict, key=ORDER.index)
    verdicts = list(by_scene.values())
    if all(verdict == FINE for verdict in verdicts):
        return FINE
    return UNUSABLE if all(verdict == UNUSABLE for verdict in verdicts) else WARNING


def advice_by_scene(findings: Sequence[Finding]) -> list[tuple[str, str, list[str]]]:
    """Groups advice: verdict, advice and the names of its scenes, the worst first."""
    scenes: dict[tuple[str, str], list[str]] = {}
    for finding in findings:
        if finding.advice:
            scenes.setdefault((finding.verdict, finding.advice), []).append(finding.scene)
    rows = [(verdict, text, names) for (verdict, text), names in scenes.items()]
    return sorted(rows, key=lambda row: -ORDER.index(row[0]))


def without_nan(content: Any) -> Any:
    """Returns content for JSON, with non-finite floats as None."""
    if isinstance(content, dict):
        return {key: without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [without_nan(value) for value in content]
    return None if isinstance(content, float) and not np.isfinite(content) else content
