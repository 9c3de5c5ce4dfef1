"""The numbers of a table, from the records of its cells.

S seeds, I images.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from n2n_jax.bench.tables import statistics
from n2n_jax.bench.tables.cells import Cell, asked
from n2n_jax.bench.tables.records import Record, Score
from n2n_jax.bench.tables.statistics import NO_SEED, Compared, Estimate
from n2n_jax.bench.tables.table import ANY_SET, Arm, Table
from n2n_jax.data.sources import name_of
from n2n_jax.evaluate.metrics import PSNR, parse_list
from n2n_jax.runtime.errors import UserError


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
      others: the other metrics of the table, by name.
      difference: to the control arm; None without one.
      other_differences: those of the other metrics, by name.
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
    others: Mapping[str, Estimate]
    difference: Estimate | None
    other_differences: Mapping[str, Estimate]
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
    by_seed: dict[int, Score]
    diverged: int

    @property
    def found(self) -> list[Score]:
        return [self.by_seed[seed] for seed in sorted(self.by_seed)]

    def of(self, metric: str) -> dict[int, np.ndarray]:
        """Returns the scores of each image, (I,), by seed, of the seeds that have this metric."""
        return {
            seed: np.array(score.per_image[metric])
            for seed, score in self.by_seed.items()
            if metric in score.per_image
        }


_Key = tuple[str, str, str, str]  # group, arm, set, noise


def results(table: Table, cells: Sequence[Cell], records: Mapping[str, Record]) -> list[Result]:
    """Returns the results of the cells that are done, in the order of the table's arms.

    Raises:
      UserError: cells that are compared were scored on different images, or with different weights.
    """
    _check_files([records[cell.key] for cell in cells if cell.key in records])
    scores = _collected(cells, records)
    controls = {
        key: (key[0], one.arm.control, *key[2:]) for key, one in scores.items() if one.arm.control
    }
    for key, one in scores.items():
        _check_images([one, *filter(None, [scores.get(controls.get(key, key))])])
    compared = {
        metric.name: _compared(scores, controls, metric.name)
        for metric in parse_list(table.metrics)
    }
    return [_result(key, one, compared) for key, one in scores.items() if one.found or one.diverged]


def _compared(
    scores: Mapping[_Key, _Scores], controls: Mapping[_Key, _Key], metric: str
) -> Compared[_Key]:
    found = {key: by_seed for key, one in scores.items() if (by_seed := one.of(metric))}
    return statistics.compared(
        found,
        {key: control for key, control in controls.items() if key in found and control in found},
        lambda key: key[2:],
    )


def _collected(cells: Sequence[Cell], records: Mapping[str, Record]) -> dict[_Key, _Scores]:
    collected: dict[_Key, _Scores] = {}
    for cell in cells:
        if cell.searched is not None:
            continue
        record = records.get(cell.key)
        for wanted in asked(cell.config.eval):
            key = cell.arm.group, cell.arm.name, name_of(wanted['set']), wanted['noise']
            one = collected.setdefault(key, _Scores(cell.arm, wanted, {}, 0))
            score = None if record is None else record.score(wanted)
            if score is not None:
                one.by_seed[NO_SEED if cell.arm.method else cell.seed] = score
            elif record is not None and record.diverged:
                collected[key] = dataclasses.replace(one, diverged=one.diverged + 1)
    return collected


def _check_files(used: Sequence[Record]) -> None:
    """Raises UserError if cells of a table had different files of the same name."""
    seen: dict[str, tuple[str, Record]] = {}
    for record in used:
        for name, digest in record.files.items():
            first_digest, first = seen.setdefault(name, (digest, record))
            if first_digest != digest:
                raise UserError(
                    f'{first.title} and {record.title} were run with different files as {name} '
                    f'(SHA-256 {first_digest} and {digest}), and cannot be compared. Move the '
                    'records of one kind out of the folder, and run them again with the same '
                    f'--file {name}.'
                )


def _check_images(compared: Sequence[_Scores]) -> None:
    """Raises UserError if scores that are compared are not of the same images."""
    found = [(one, score) for one in compared for score in one.found]
    hashes = {score.row['images_sha256']: one.arm.title for one, score in found}
    if len(hashes) > 1:
        image_set = name_of(compared[0].wanted['set'])
        raise UserError(
            f'{" and ".join(dict.fromkeys(hashes.values()))}: these cells were scored on different '
            f'images of {image_set}, and cannot be compared. Move the records of one kind out of '
            'the folder, and run them again with the same --data.'
        )


def _result(key: _Key, one: _Scores, compared: Mapping[str, Compared[_Key]]) -> Result:
    _, _, image_set, noise = key
    published = _published(one.arm, image_set, noise)
    unknown = Result(
        arm=one.arm,
        image_set=image_set,
        noise=noise,
        psnr=None,
        psnr_in=math.nan,
        seed_sd=math.nan,
        others={},
        difference=None,
        other_differences={},
        p=math.nan,
        published=published,
        diverged=one.diverged,
        curve={},
        row={},
        best='',
        worst='',
    )
    if not one.found:
        return unknown
    first = one.found[0]
    psnr_SI = np.array([score.per_image[PSNR.name] for score in one.found])
    per_image_I = psnr_SI.mean(axis=0)
    of_psnr = compared[PSNR.name]
    others = {name: of for name, of in compared.items() if name != PSNR.name}
    return dataclasses.replace(
        unknown,
        psnr=of_psnr.means[key],
        psnr_in=first.row['metrics'][PSNR.name]['in'],
        seed_sd=statistics.seed_sd(one.of(PSNR.name)),
        others={name: of.means[key] for name, of in others.items() if key in of.means},
        difference=of_psnr.differences.get(key),
        other_differences={
            name: of.differences[key] for name, of in others.items() if key in of.differences
        },
        p=of_psnr.p.get(key, math.nan),
        curve=_curve(one, float(psnr_SI.mean())),
        row=first.row,
        best=first.images[int(per_image_I.argmax())],
        worst=first.images[int(per_image_I.argmin())],
    )


def _published(arm: Arm, image_set: str, noise: str) -> float | None:
    for key in ((image_set, noise), image_set, ANY_SET):
        if key in arm.published:
            return arm.published[key]
    return None


def _curve(one: _Scores, last: float) -> dict[int, float]:
    steps = sorted(set.intersection(*(set(score.curve) for score in one.found)))
    curve = {step: float(np.mean([score.curve[step] for score in one.found])) for step in steps}
    return {**curve, one.found[0].row['step']: last}
