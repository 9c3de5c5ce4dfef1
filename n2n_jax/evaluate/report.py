"""Reports of evaluations: writes them to the workdir and prints a summary."""

import dataclasses
import logging
from typing import Any

import numpy as np

from n2n_jax.evaluate import results_table
from n2n_jax.evaluate.metrics import Metric, in_tables
from n2n_jax.images import pictures
from n2n_jax.models.weights import weights_hash
from n2n_jax.runtime import json_files, result_rows
from n2n_jax.runtime.atomic_files import write_text
from n2n_jax.runtime.config import Config
from n2n_jax.runtime.config_identity import config_hash
from n2n_jax.runtime.parallel import is_main_process
from n2n_jax.runtime.workdir import Workdir, devices

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Report:
    """The outcome of one evaluation.

    Attributes:
      rows: one per set and noise, as in results.json.
      images: per-image scores, one list per row.
      triptychs: pictures by file name, uint8: worst, median and best image of each row.
    """

    rows: list[dict[str, Any]]
    images: list[list[dict[str, Any]]]
    triptychs: dict[str, np.ndarray]


def origin(config: Config, variables: Any) -> dict[str, Any]:
    """Returns columns that identify the weights, their run and the devices they are scored on."""
    return {
        'training_seed': config.seed,
        'config_sha256': config_hash(config),
        'weights_sha256': weights_hash(variables),
        'device': devices(),
    }


def record(report: Report, step: int, workdir: Workdir, of: dict[str, Any]) -> None:
    """Writes a report into the workdir and prints its table, on the main process only.

    Args:
      report: the report to write.
      step: step of the scored weights.
      workdir: the run's workdir.
      of: columns to add to every row, see `origin`.
    """
    if not is_main_process():
        return
    folder = workdir.evaluation_folder(step)
    for name, pixels in report.triptychs.items():
        pictures.save(folder / name, pixels)
    rows = [{**row, **of} for row in report.rows]
    for row, images in zip(rows, report.images, strict=True):
        content = {**row, 'num_rows': len(rows), 'images': images}
        write_text(workdir.scores_file(row), json_files.dumps(content, indent=1))
    if not rows:
        _log.info(
            'step %d: no score without a second capture or a clean image; pictures in %s',
            step,
            folder,
        )
        return
    workdir.add_rows(
        rows, table=results_table.markdown
    )  # last: a row implies that its pictures exist
    lines = [summary(report)]
    if any('metrics' in row for row in rows):  # for estimates the summary line is enough
        lines.append(results_table.markdown(rows).split('\n\nProtocol')[0])
    _log.info('%s\nPictures in %s', '\n'.join(lines), folder)


def summary(report: Report) -> str:
    """Formats one line per row, for the log."""
    return '\n'.join(_row_text(row) for row in report.rows)


def _row_text(row: dict[str, Any]) -> str:
    if 'psnr_estimate' in row:
        return (
            f'step {row["step"]}: held-out captures, PSNR estimated without a clean image: '
            f'{result_rows.with_gain_in_words(row)}'
        )
    scores = ', '.join(_score_text(m, row['metrics'][m.name]) for m in in_tables(row['metrics']))
    return f'step {row["step"]}: {row["set"]}, {row["noise"]}: {scores}'


def _score_text(metric: Metric, score: dict[str, float]) -> str:
    number = f'{metric.text(score["out"])} {metric.unit}'.rstrip()
    return f'{metric.title} {number} ({metric.change(score)})'
