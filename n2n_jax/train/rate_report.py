"""The files of a learning-rate range test: its numbers as JSON, and their plot."""

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

from n2n_jax.runtime import json_files
from n2n_jax.runtime.atomic_files import renamed_when_complete, write_text
from n2n_jax.runtime.config import Config, to_saved
from n2n_jax.runtime.workdir import provenance
from n2n_jax.train.rate_finder import Measured, Suggestion

JSON, PLOT = 'rate.json', 'rate.png'


def can_plot() -> bool:
    """Checks whether matplotlib is installed, which is in no dependency but those of extras."""
    return importlib.util.find_spec('matplotlib') is not None


def write(folder: Path, config: Config, measured: Measured, suggestion: Suggestion) -> None:
    """Writes rate.json, and rate.png if there is anything to plot it with.

    Args:
      folder: made if it is missing.
      config: the config of the test.
      measured: its losses.
      suggestion: what they say.

    Raises:
      UserError: a file has the name of the folder, or the reverse.
      OSError: a file cannot be written.
    """
    found: dict[str, Any] = dataclasses.asdict(suggestion)
    content = {
        **{key: found[key] for key in ('recommended', 'steepest', 'turn', 'sentences')},
        'ended': measured.ended,
        'learning_rates': measured.rates_N.tolist(),
        'losses': measured.losses_N.tolist(),
        'smoothed': suggestion.smoothed_N.tolist(),
        **to_saved(config),
        'provenance': provenance(),
    }
    write_text(folder / JSON, json_files.dumps(content, indent=1))
    if can_plot():
        _plot(folder / PLOT, config, measured, suggestion)


def _plot(file: Path, config: Config, measured: Measured, suggestion: Suggestion) -> None:
    """Plots the loss of each step and the smoothed loss over the rate, both axes logarithmic."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5), layout='constrained')
    axes.plot(measured.rates_N, measured.losses_N, color='0.75', label='loss of each step')
    axes.plot(measured.rates_N, suggestion.smoothed_N, color='tab:blue', label='smoothed')
    for rate, what, color in (
        (suggestion.steepest, 'steepest fall', 'tab:green'),
        (suggestion.turn, 'rises from here', 'tab:red'),
        (suggestion.recommended, 'recommended', 'black'),
    ):
        if rate is not None:
            axes.axvline(rate, color=color, linestyle='--', label=f'{what}: {rate:.2g}')
    axes.set_xscale('log')
    if measured.losses_N.size:
        axes.set_yscale('log')
    axes.set_xlabel('learning rate')
    axes.set_ylabel('training loss')
    axes.set_title(f'{config.model.name}, {config.optim.name}')
    axes.legend()
    with renamed_when_complete(file) as opened:
        figure.savefig(opened, format='png', dpi=120)
    pyplot.close(figure)
