"""What a table is: data. `cells` turns it into runs, `runner` runs them, `page` prints the result.

A table asks one question of a paper. Its arms are ways to train (or classical methods), each a few
changes to a config; a budget says how long they are trained and on what they are scored.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from n2n_jax.data.sources import name_of, parted
from n2n_jax.runtime.config import Config, flatten
from n2n_jax.runtime.errors import UserError, did_you_mean

ANY_SET = 'any set'  # key of a published number that is about images nobody else has

Changes = Mapping[str, Any]  # values by the key of a config, such as 'optim.learning_rate'


@dataclasses.dataclass(frozen=True)
class Arm:
    """A row of a table.

    Attributes:
      name: how the table calls it.
      group: the part of the table it is in, such as a kind of noise; arms are compared within it.
      changes: to the config.
      by_budget: further changes in one budget, which come last.
      method: a classical method instead of a network, as in `n2n baselines`; '' for a network.
      control: arm of the group that differences are taken against; '' for none.
      rates: learning rates to choose from by the score of seed 0 on `cells.SEARCH_SET`; empty if
        the changes, or the default of the config, say the rate.
      rate_of: title of the arm whose choice of a rate this one shares; '' for none.
      published: PSNR that the source reports, by set or, in tables of several noises, by
        (set, noise); by `ANY_SET` where its images are not to be had.
      budgets: names of the budgets it is part of; empty for all.
      most_seeds: most seeds worth their time; 0 for as many as are asked for.
    """

    name: str
    group: str = ''
    changes: Changes = dataclasses.field(default_factory=dict)
    by_budget: Mapping[str, Changes] = dataclasses.field(default_factory=dict)
    method: str = ''
    control: str = ''
    rates: tuple[float, ...] = ()
    rate_of: str = ''
    published: Mapping[str | tuple[str, str], float] = dataclasses.field(default_factory=dict)
    budgets: tuple[str, ...] = ()
    most_seeds: int = 0

    @property
    def title(self) -> str:
        """The group and the name."""
        return f'{self.group} / {self.name}' if self.group else self.name


@dataclasses.dataclass(frozen=True)
class Budget:
    """How long the runs of a table are trained, and what they are trained and scored on.

    Attributes:
      changes: to the config of every arm, which those of the arm come after.
      seeds: number of seeds, unless the user says otherwise.
      time: what it takes, in words.
      searches: whether learning rates are searched; else all arms have that of the changes.
    """

    changes: Changes
    seeds: int
    time: str
    searches: bool = True


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of a paper.

    Attributes:
      name: what `n2n bench run` calls it.
      title: its title.
      question: what it asks, in plain words.
      source: the document it is from.
      arms: its rows.
      budgets: by name.
      changes: to the config of all arms, which those of the budget come after.
      published_with: the protocol of the published numbers, and how it differs; '' if there are
        none.
      rates: how the learning rates were chosen; it says so if they are not matched.
      axis: what the level of the noise is; then arms are plotted as lines over it.
      curves: whether to plot PSNR over steps.
      metrics: those its page shows besides PSNR, as in `eval.metrics`.
      margin: a difference to the control, in dB, that does not matter.
      judged_by: those of them that its findings are about besides PSNR.
    """

    name: str
    title: str
    question: str
    source: str
    arms: tuple[Arm, ...]
    budgets: Mapping[str, Budget]
    rates: str
    changes: Changes = dataclasses.field(default_factory=dict)
    published_with: str = ''
    axis: str = ''
    curves: bool = False
    metrics: str = 'ssim'
    judged_by: str = ''
    margin: float = 0.05

    def __post_init__(self) -> None:
        titles = [arm.title for arm in self.arms]
        if len(set(titles)) < len(titles):
            raise ValueError(f'{self.name} has two arms of the same name')
        for arm in self.arms:
            if arm.control:
                self.arm(f'{arm.group} / {arm.control}' if arm.group else arm.control)
            if arm.rate_of:
                self.arm(arm.rate_of)

    def arm(self, title: str) -> Arm:
        """Returns an arm.

        Raises:
          ValueError: there is no such arm.
        """
        for arm in self.arms:
            if arm.title == title:
                return arm
        raise ValueError(f'the table {self.name} has no arm {title}')

    def in_words(self, budget: str) -> str:
        """Says what a budget trains on, for how long, and what it scores."""
        values = {**flatten(Config()), **self.changes, **self.budget(budget).changes}
        most = values['eval.max_images']
        scored = ', '.join(name_of(part) for part in parted(values['eval.sets']))
        return (
            f'{values["data.train"]}, {values["train.steps"]:,} steps of '
            f'{values["data.batch_size"]} crops of {values["data.crop"]}x{values["data.crop"]} '
            f'unless an arm says otherwise, scored on {scored}'
            + (f' (the first {most} images of each)' if most else '')
            + f'; {self.budget(budget).time}'
        )

    def arms_of(self, budget: str) -> Iterator[Arm]:
        """Yields the arms that are part of a budget."""
        return (arm for arm in self.arms if not arm.budgets or budget in arm.budgets)

    def budget(self, name: str) -> Budget:
        """Returns a budget.

        Raises:
          UserError: there is no such budget.
        """
        if name not in self.budgets:
            raise UserError(
                f"{self.name} has no budget '{name}'. {did_you_mean(name, self.budgets)}"
            )
        return self.budgets[name]
