"""Trains the models that come with n2n_jax, writes their files and cards, and checks the cards."""

import dataclasses
import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

from n2n_jax.bench.tables import costs
from n2n_jax.bench.tables.places import BSDS300_TEST, BSDS500, KODAK24, SET14, Places
from n2n_jax.evaluate.with_clean import Evaluator
from n2n_jax.models import model_file, trained, zoo
from n2n_jax.models.zoo import Recipe, card
from n2n_jax.models.zoo.card import Card
from n2n_jax.runtime import json_files
from n2n_jax.runtime.atomic_files import write_text
from n2n_jax.runtime.config import Config, changed
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.parallel import make_layout
from n2n_jax.runtime.staged_files import staged
from n2n_jax.runtime.workdir import provenance
from n2n_jax.train import loop

_log = logging.getLogger(__name__)

TOLERANCE = 0.02  # dB by which a card may differ from what another machine finds

_CHANGES = {
    'model.name': 'drunet_xs',
    'data.train': BSDS500,
    'data.batch_size': 8,
    'optim.name': 'muon',  # far better than Adam in as many steps, see docs/results
    'optim.learning_rate': 2e-3,
    'optim.clip_norm': 1.0,
    'optim.ema_decay': 0.999,
    'train.log_every': 200,
    'train.checkpoint_every': 1000,
    'eval.in_loop': False,
    'eval.sets': f'kodak24={KODAK24},bsds300={BSDS300_TEST},set14={SET14}',
    'eval.metrics': 'psnr,ssim',
}
_BUDGETS: dict[str, dict[str, Any]] = {
    'quick': {
        'data.train': 'dead_leaves:20',
        'data.crop': 32,
        'train.steps': 20,
        'optim.warmup_steps': 2,
        'eval.sets': 'photos',
        'eval.max_images': 1,
    },
    'cpu': {'data.crop': 64, 'train.steps': 7_000},
    'full': {'data.crop': 128, 'data.batch_size': 16, 'train.steps': 400_000},
}


class Difference(NamedTuple):
    """A number of a card, and what was found now.

    Attributes:
      what: set, noise and metric.
      on_card: the number on the card.
      now: the same number now.
    """

    what: str
    on_card: float
    now: float

    @property
    def is_small(self) -> bool:
        """Whether it is within `TOLERANCE` dB, or a hundredth of that for metrics without unit."""
        most = TOLERANCE if abs(self.on_card) > 1 else TOLERANCE / 100
        return abs(self.now - self.on_card) <= most  # False for NaN


def config_of(recipe: Recipe, budget: str, *, seed: int = 0) -> Config:
    """Returns the config that a model is trained and scored with.

    Args:
      recipe: the model.
      budget: 'quick' only tries whether it works; 'cpu' takes half an hour on two cores; 'full'
        is for a GPU.
      seed: of the run.
    """
    values = {**_CHANGES, 'model.channels': recipe.channels, **recipe.changes, **_BUDGETS[budget]}
    return changed(Config(seed=seed), values)


def train(
    recipe: Recipe, budget: str, folder: Path, places: Places, *, seed: int = 0
) -> list[Path] | None:
    """Trains a model, or goes on with it, and writes its file and its card.

    Args:
      recipe: the model.
      budget: see `config_of`.
      folder: for the run, which gets a folder of its own, and the two files.
      places: where the images lie.
      seed: of the run.

    Returns:
      The files; None if the user has stopped it.
    """
    config = config_of(recipe, budget, seed=seed)
    run = folder / f'{recipe.name}-{budget}-seed{seed}'
    if not loop.train(places.located(config), run):
        return None
    file = folder / f'{recipe.name}{model_file.SUFFIX}'
    path = file.with_suffix('.json')
    with staged([file, path], overwrite=True) as staging:  # both, once the scores are known
        written = staging[file]
        sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        model_file.write(written, trained.load(run, sharding))
        content = Card(
            name=recipe.name,
            summary=recipe.summary,
            not_for=recipe.not_for,
            sha256=_sha256(written),
            bytes=written.stat().st_size,
            parameters=costs.num_parameters(config.model),
            config=config,
            training=card.training(
                json_files.read(run / 'DONE.json', way_out='train it again.'), config
            ),
            data=card.data(config),
            scores=_scores(written, config, places),
            scored_by=card.provenance(provenance()),
        )
        write_text(staging[path], content.dumps())
    return [file, path]


def check(name: str, places: Places) -> list[Difference]:
    """Scores a model again as its card says, and returns all numbers of the card.

    Args:
      name: of the model.
      places: where the images lie.

    Raises:
      UserError: there is no such model, its file is another than that of the card, or images are
        missing or others.
    """
    known = card.read(name)
    file = zoo.file_of(name)
    if _sha256(file) != known.sha256:
        raise UserError(f'{file} is not the file that its card describes: install n2n_jax again.')
    now = {_where(row): row for row in _scores(file, known.config, places)}
    differences = []
    for row in known.scores:
        found = now[_where(row)]
        if found['images_sha256'] != row['images_sha256']:
            raise UserError(f'The images of {row["set"]} are others than those of the card.')
        for metric, values in row['metrics'].items():
            for side, value in values.items():
                what = f'{_where(row)}: {metric} {side}'
                differences.append(Difference(what, value, found['metrics'][metric][side]))
    return differences


def _scores(file: Path, config: Config, places: Places) -> list[dict[str, Any]]:
    """Scores the weights as they are in the file, in float16."""
    layout = make_layout(batch_size=jax.device_count())
    found = trained.load(file, layout.replicated)
    config = dataclasses.replace(config, model=found.config)
    report = Evaluator(places.located(config), layout)(found.variables, found.step)
    return card.scores(report.rows)


def _where(row: Mapping[str, Any]) -> str:
    return f'{row["set"]}, {row["noise"]}'


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
