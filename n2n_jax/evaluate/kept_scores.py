"""The scores of each image that an evaluated run has kept."""

import dataclasses
from typing import Any

import numpy as np

from n2n_jax.evaluate.metrics import PSNR, REGISTRY
from n2n_jax.runtime import json_files, result_rows, user_code
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.workdir import Workdir

PIXELS, NAMES = 'pixels', 'names'  # how images of two runs are matched


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A row of results.json and its scores of each image.

    Attributes:
      row: the row of results.json.
      paired_by: PIXELS, or NAMES in files of early versions.
      scores: of the output by metric, for each image, by the hash of its pixels or by its name.
    """

    row: dict[str, Any]
    paired_by: str
    scores: dict[str, dict[str, float]]

    def metrics(self) -> list[str]:
        """Returns the names of the metrics that all images have scores by."""
        first, *others = self.scores.values()
        return [name for name in first if all(name in scores for scores in others)]

    def weights_of(self, metric: str) -> str:
        """Returns a hash of the weights that a metric has; '' if it has none."""
        return self.row.get('metric_weights', {}).get(metric, '')


def last_evaluations(workdir: Workdir) -> list[Evaluation]:
    """Reads the evaluations of the last step of each set and noise.

    Raises:
      UserError: the run has no evaluation on clean images, or a file is missing or damaged.
    """
    rows = [row for row in workdir.rows() if 'metrics' in row]
    last = {(row['set'], row['noise']): row['step'] for row in rows}  # steps ascend
    kept = (workdir.path / user_code.FOLDER).is_dir()
    if kept and any(
        name.partition(':')[0] not in REGISTRY for row in rows for name in row['metrics']
    ):
        user_code.run_kept(workdir.config(), workdir.path)  # for metrics of the user's own
    if not last:
        raise UserError(
            f'{workdir.path} holds no evaluation on clean images: run '
            '`python -m n2n_jax.main --mode evaluate` on it.'
        )
    return [
        _read_evaluation(workdir, row)
        for row in rows
        if row['step'] == last[row['set'], row['noise']]
    ]


def _read_evaluation(workdir: Workdir, row: dict[str, Any]) -> Evaluation:
    """Reads the scores of each image, averaged over its noisy versions.

    Noisy versions of one image are not independent samples for the bootstrap over images.
    """
    file = workdir.scores_file(row)
    way_out = f'evaluate {workdir.path} again.'
    try:
        content = json_files.read(file, way_out=way_out)
        captures = [result_rows.upgraded(capture) for capture in content['images']]
        paired_by = PIXELS if all('sha256' in capture for capture in captures) else NAMES
        by_image: dict[str, list[dict[str, Any]]] = {}
        for capture in captures:
            key = capture['sha256' if paired_by == PIXELS else 'image']
            by_image.setdefault(key, []).append(capture)
        scores = {
            image: {
                name: float(np.mean([version['metrics'][name]['out'] for version in versions]))
                for name in versions[0]['metrics']
            }
            for image, versions in by_image.items()
        }
        if not all(PSNR.name in of_image for of_image in scores.values()):
            raise KeyError
    except FileNotFoundError:
        raise UserError(f'{file} is missing: {way_out}') from None
    except UserError:  # which is a ValueError
        raise
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UserError(f'{file} is damaged: {way_out}') from None
    return Evaluation(row, paired_by, scores)
