"""Cells of a table: one run each, found again by the hash of its config."""

import dataclasses
import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from n2n_jax import corruptions
from n2n_jax.bench.tables.table import Arm, Changes, Table
from n2n_jax.data.sources import parted
from n2n_jax.runtime import choices
from n2n_jax.runtime.config import Config, EvalConfig, changed, flatten
from n2n_jax.runtime.config_identity import config_hash

SEARCH_SET = (
    'photos'  # that learning rates are chosen on: no table is scored on it but the quick ones
)

# What every cell shares: one score at the end, and few checkpoints.
_ALL: Changes = {
    'eval.every': 0,
    'train.log_every': 50,
    'train.checkpoint_every': 500,
    'train.keep_checkpoints': 0,
    'train.tensorboard': False,
}

# Chooses the rate of an arm from those it has; None if that cannot be told yet.
ChooseRate = Callable[[Arm], float | None]


@dataclasses.dataclass(frozen=True)
class Cell:
    """A run of a table, or a classical method that is scored.

    Attributes:
      arm: the arm of the table.
      seed: seed of the run; 0 for a classical method.
      config: the experiment, with images and files by the names of `places`.
      index: its number among the cells of the table, which does not depend on learning rates.
      searched: learning rate that is tried; None unless the cell is part of a search.
    """

    arm: Arm
    seed: int
    config: Config
    index: int
    searched: float | None = None

    @property
    def title(self) -> str:
        """Names the cell for people."""
        parts = [self.arm.title]
        if self.searched is not None:
            parts.append(f'learning rate {self.searched:g}')
        return ', '.join(parts if self.arm.method else [*parts, f'seed {self.seed}'])

    @property
    def key(self) -> str:
        """Names the folder and the record of the cell: network or method, hash and seed."""
        if self.arm.method:
            digest = hashlib.sha256(f'{self.arm.method} {self.config.model.channels}'.encode())
            return f'{choices.parse(self.arm.method).name}-{digest.hexdigest()[:12]}'
        name = choices.parse(self.config.model.name).name
        return f'{name}-{config_hash(self.config)[:12]}-seed{self.seed}'


def cells(table: Table, budget: str, seeds: int, choose_rate: ChooseRate) -> Iterator[Cell]:
    """Yields the cells of a table, seed by seed, those of searches before what depends on them.

    Classical methods come last: BM3D alone takes longer than the training of a short table.

    Args:
      table: the table.
      budget: name of the budget.
      seeds: number of seeds.
      choose_rate: chooses learning rates; arms whose rate is not known yet are left out.

    Raises:
      UserError: there is no such budget.
    """
    table.budget(budget)  # checks the name
    arms = list(table.arms_of(budget))
    numbers = itertools.count()
    for arm in arms:
        for rate in arm.rates if table.budgets[budget].searches else ():
            yield _cell(table, budget, arm, 0, next(numbers), rate, searching=True)
    for seed in range(seeds):
        for arm in arms:
            if arm.method or seed >= (arm.most_seeds or seeds):
                continue
            number = next(numbers)
            searcher = _searcher(table, budget, arm)
            chosen = None if searcher is None else choose_rate(searcher)
            if searcher is None or chosen is not None:
                yield _cell(table, budget, arm, seed, number, chosen)
    for arm in arms:
        if arm.method:
            yield _cell(table, budget, arm, 0, next(numbers), None)


def _searcher(table: Table, budget: str, arm: Arm) -> Arm | None:
    """Returns the arm whose search finds the rate of this one; None if there is no search."""
    if not table.budgets[budget].searches:
        return None
    arm = table.arm(arm.rate_of) if arm.rate_of else arm
    return arm if arm.rates else None


def waiting(table: Table, budget: str, choose_rate: ChooseRate) -> list[Arm]:
    """Returns the arms that `cells` leaves out, as their learning rate is not known yet."""
    searchers = [(arm, _searcher(table, budget, arm)) for arm in table.arms_of(budget)]
    return [arm for arm, other in searchers if other is not None and choose_rate(other) is None]


def _cell(
    table: Table,
    budget: str,
    arm: Arm,
    seed: int,
    number: int,
    rate: float | None,
    *,
    searching: bool = False,
) -> Cell:
    values = {
        **_ALL,
        **table.changes,
        **table.budgets[budget].changes,
        **arm.changes,
        **arm.by_budget.get(budget, {}),
        'seed': seed,
    }
    if rate is not None:
        values['optim.learning_rate'] = rate
    if searching:
        values['eval.sets'] = SEARCH_SET
    return Cell(arm, seed, changed(Config(), values), number, rate if searching else None)


def asked(evaluation: EvalConfig) -> list[dict[str, Any]]:
    """Returns what an evaluation asks for, one entry per set and noise, as records keep it."""
    return [
        {
            'set': image_set,
            'noise': noise.spec,
            'replicas': evaluation.replicas,
            'max_images': evaluation.max_images,
            'metrics': evaluation.metrics,
            'seed': evaluation.seed,
        }
        for image_set in parted(evaluation.sets)
        for noise in corruptions.parse_list(evaluation.noise)
    ]


def differences(config: Config) -> dict[str, Any]:
    """Returns the values of a config that are not the defaults."""
    defaults: Mapping[str, Any] = flatten(Config())
    return {key: value for key, value in flatten(config).items() if value != defaults[key]}
