"""Pictures of a table: the same details, pixel by pixel, as each arm denoises them.

H height, W width, C channels.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from n2n_jax.bench.tables.cells import Cell, asked
from n2n_jax.bench.tables.places import Places
from n2n_jax.bench.tables.results import Result
from n2n_jax.bench.tables.runner import Outcome, run_folder
from n2n_jax.data.sources import name_of
from n2n_jax.evaluate.metrics import PSNR
from n2n_jax.evaluate.with_clean import Evaluator
from n2n_jax.images import pictures
from n2n_jax.models import weights
from n2n_jax.runtime.checkpoint import open_for_reading
from n2n_jax.runtime.config import changed
from n2n_jax.runtime.parallel import Layout, make_layout
from n2n_jax.runtime.workdir import Workdir

_SIDE = 160  # pixels of a detail
_MOST_COLUMNS = 7
_MOST_GROUPS_WITH_BOTH = 3  # groups that show their best image, too

_Column = tuple[str, np.ndarray]  # caption and image


def draw(
    outcome: Outcome, found: Sequence[Result], folder: Path, places: Places
) -> np.ndarray | None:
    """Draws the worst image of each group's first arm, and the best if there are few groups.

    Args:
      outcome: how far the table has come.
      found: its results.
      folder: of the table; arms whose run of seed 0 is not in it are left out.
      places: where images and weights lie.

    Returns:
      The page, uint8, (H, W, 3); None if no run is there.
    """
    layout = make_layout(1)
    groups: dict[str, list[Cell]] = {}
    for cell in outcome.cells:
        run = Workdir(run_folder(folder, cell))
        has_run = not cell.arm.method and cell.searched is None and cell.seed == 0 and run.done
        if has_run and cell.key in outcome.records:
            groups.setdefault(cell.arm.group, []).append(cell)
    rows = []
    for cells in groups.values():
        first = next((r for r in found if r.arm == cells[0].arm and r.psnr is not None), None)
        if first is None:
            continue
        words = ('worst', 'best') if len(groups) <= _MOST_GROUPS_WITH_BOTH else ('worst',)
        for word in words:
            image = getattr(first, word)
            row = list(_row(cells, first, image, outcome, (folder, places, layout)))
            columns = -(-len(row) // -(-len(row) // _MOST_COLUMNS))  # rows of about one length
            rows += [row[k : k + columns] for k in range(0, len(row), columns)]
    return pictures.grid(rows) if rows else None


def _row(
    cells: Sequence[Cell],
    first: Result,
    image: str,
    outcome: Outcome,
    surroundings: tuple[Path, Places, Layout],
) -> Iterator[_Column]:
    """Yields the noisy detail, that of each arm, and the clean one."""
    folder, places, layout = surroundings
    clean_HWC = np.zeros((1, 1, 3))
    for k, cell in enumerate(cells):
        part = next(
            one for one in asked(cell.config.eval)
            if (name_of(one['set']), one['noise']) == (first.image_set, first.noise)
        )  # fmt: skip
        wanted = {'eval.sets': part['set'], 'eval.noise': part['noise'], 'eval.metrics': PSNR.name}
        config = places.located(changed(cell.config, wanted))
        evaluator = Evaluator(config, layout)
        with open_for_reading(run_folder(folder, cell)) as checkpoints:
            variables = weights.shipped_variables(
                checkpoints, checkpoints.newest_step, layout.replicated
            )
        clean_HWC, noisy_HWC, denoised_HWC = map(
            _detail, evaluator.example(variables, first.image_set, image, first.noise)
        )
        if k == 0:
            group = '' if first.arm.group in first.noise else f'{first.arm.group}: '
            yield f'{group}{first.noise}', noisy_HWC
        score = outcome.records[cell.key].score(part)
        assert score is not None
        psnr = score.per_image[PSNR.name][score.images.index(image)]
        yield f'{cell.arm.name} {psnr:.2f}', denoised_HWC
    yield f'clean {Path(image).name}', clean_HWC


def _detail(image_HWC: np.ndarray) -> np.ndarray:
    """Returns the middle of an image."""
    top, left = (max(0, (side - _SIDE) // 2) for side in image_HWC.shape[:2])
    return image_HWC[top : top + _SIDE, left : left + _SIDE]
