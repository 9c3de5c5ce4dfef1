"""The numbers of a table, from the records of its cells.

S seeds, I images.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from n2n_jax.bench.tables import statistics
from n2n_jax.bench.tables.cells import Cell, asked
from n2n_jax.bench.tables.records import Record, Score
from n2n_jax.bench.tables.statistics import Estimate, Spread
from n2n_jax.bench.tables.table import Arm, Table
from n2n_jax.data.sources import name_of
from n2n_jax.evaluate.metrics import PSNR


@dataclasses.dataclass(frozen=True)
class Result:
    """An arm on one set under one noise.

    Attributes:
      arm: the arm.
      image_set: name of the set.
      noise: spec of the noise.
      psnr: of the output; None if all runs diverged.
      psnr_in: of the noisy images.
      seed_sd: standard deviation over the seeds of this arm; NaN for one.
      others: means of the other metrics, by name.
      difference: to the control arm; None without one.
      p: of that difference, adjusted for all differences of the table; NaN without one.
      published: what the source reports; None if it does not.
      diverged: number of runs that diverged, which the numbers leave out.
      curve: PSNR by step, averaged over seeds; only its end for runs that are scored once.
      row: the row of the first seed, for the protocol.
      best: name of the image of highest PSNR.
      worst: name of the image of lowest PSNR.
    """

    arm: Arm
    image_set: str
    noise: str
    psnr: Estimate | None
    psnr_in: float
    seed_sd: float
    others: Mapping[str, float]
    difference: Estimate | None
    p: float
    published: float | None
    diverged: int
    curve: Mapping[int, float]
    row: Mapping[str, Any]
    best: str
    worst: str


@dataclasses.dataclass(frozen=True)
class _Scores:
    """The scores of an arm on one set under one noise, of all seeds that are done."""

    arm: Arm
    wanted: Mapping[str, Any]
    found: list[Score]
    diverged: int

    @property
    def psnr_SI(self) -> np.ndarray:
        return np.array([score.per_image[PSNR.name] for score in self.found])


_Key = tuple[str, str, str, str]  # group, arm, set, noise


def results(table: Table, cells: Sequence[Cell], records: Mapping[str, Record]) -> list[Result]:
    """Returns the results of the cells that are done, in the order of the table's arms."""
    scores = _collected(cells, records)
    psnrs = {key: one.psnr_SI for key, one in scores.items() if one.found}
    differences_SI: dict[_Key, np.ndarray] = {}
    for key, one in scores.items():
        control = (key[0], one.arm.control, *key[2:])
        if one.arm.control and key in psnrs and control in psnrs:
            differences_SI[key] = _differences(psnrs[key], psnrs[control], scores[control].arm)
    spread = _spread(psnrs, scores)
    of_differences = _spread(differences_SI, scores)
    p_values = statistics.holm(
        [statistics.wilcoxon(x_SI.mean(axis=0)) for x_SI in differences_SI.values()]
    )
    p_of = dict(zip(differences_SI, p_values, strict=True))
    return [
        _result(
            one,
            spread[key[2:]],
            None
            if key not in differences_SI
            else statistics.estimate(differences_SI[key], of_differences[key[2:]]),
            p_of.get(key, float('nan')),
        )
        for key, one in scores.items()
        if one.found or one.diverged
    ]


def _collected(cells: Sequence[Cell], records: Mapping[str, Record]) -> dict[_Key, _Scores]:
    collected: dict[_Key, _Scores] = {}
    for cell in cells:
        if cell.searched is not None:
            continue
        record = records.get(cell.key)
        for wanted in asked(cell.config.eval):
            key = cell.arm.group, cell.arm.name, name_of(wanted['set']), wanted['noise']
            one = collected.setdefault(key, _Scores(cell.arm, wanted, [], 0))
            score = None if record is None else record.score(wanted)
            if score is not None:
                one.found.append(score)
            elif record is not None and record.diverged:
                collected[key] = dataclasses.replace(one, diverged=one.diverged + 1)
    return collected


def _differences(one_SI: np.ndarray, control_SI: np.ndarray, control: Arm) -> np.ndarray:
    """Returns the differences to the control arm, (S, I), seed by seed."""
    if control.method:  # which has no seed
        return np.asarray(one_SI - control_SI)
    return statistics.paired_seeds(one_SI, control_SI)


def _spread(
    values: Mapping[_Key, np.ndarray], scores: Mapping[_Key, _Scores]
) -> dict[tuple[str, str], Spread]:
    """Pools the spread over seeds of all arms on one set under one noise."""
    columns = dict.fromkeys(key[2:] for key in scores)
    return {
        column: statistics.pooled(
            [x_SI.mean(axis=1) for key, x_SI in values.items() if key[2:] == column]
        )
        for column in columns
    }


def _result(one: _Scores, spread: Spread, difference: Estimate | None, p: float) -> Result:
    image_set, noise = name_of(one.wanted['set']), one.wanted['noise']
    published = one.arm.published.get((image_set, noise), one.arm.published.get(image_set))
    if not one.found:
        return Result(
            one.arm, image_set, noise, None, float('nan'), float('nan'), {}, None, p, published,
            one.diverged, {}, {}, '', '',
        )  # fmt: skip
    psnr_SI, first = one.psnr_SI, one.found[0]
    per_image_I, means_S = psnr_SI.mean(axis=0), psnr_SI.mean(axis=1)
    others = {
        name: float(np.mean([score.per_image[name] for score in one.found]))
        for name in first.per_image
        if name != PSNR.name
    }
    return Result(
        one.arm,
        image_set,
        noise,
        statistics.estimate(psnr_SI, Spread(float('nan'), 0) if one.arm.method else spread),
        first.row['metrics'][PSNR.name]['in'],
        float(means_S.std(ddof=1)) if len(means_S) > 1 else float('nan'),
        others,
        difference,
        p,
        published,
        one.diverged,
        _curve(one, float(psnr_SI.mean())),
        first.row,
        first.images[int(per_image_I.argmax())],
        first.images[int(per_image_I.argmin())],
    )


def _curve(one: _Scores, last: float) -> dict[int, float]:
    steps = sorted(set.intersection(*(set(score.curve) for score in one.found)))
    curve = {step: float(np.mean([score.curve[step] for score in one.found])) for step in steps}
    return {**curve, one.found[0].row['step']: last}
