"""The card of a model, written by its training: what it was trained on, how well it denoises."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from n2n_jax.models import zoo
from n2n_jax.runtime import json_files
from n2n_jax.runtime.config import Config, from_saved, to_saved
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.progress import duration

# Keys of a row of scores that a card keeps.
_KEPT = ('set', 'noise', 'metrics', 'ci95', 'n', 'protocol', 'images_sha256')
# Keys of a provenance that it keeps: no paths, and no commands, which have some.
_PROVENANCE = ('n2n_jax', 'commit', 'python', 'packages', 'device', 'cpu_count', 'date')

# What training sets are, and what may be done with them.
_DATA = {
    'tfds:bsds500/train+test': '400 photographs of BSDS500: train and test, not val, which holds '
    'the test images of BSDS300 (Arbelaez et al. 2011). Its page says: "If you use the resources '
    'in this page, please cite the paper".',
}


@dataclasses.dataclass(frozen=True)
class Card:
    """What is known of a model.

    Attributes:
      name: its name.
      summary: what it is for.
      not_for: what it is not for.
      sha256: of its file.
      bytes: size of its file.
      parameters: number of its weights.
      config: how it was trained and scored; data sets by name, not by the paths they had.
      training: 'steps', 'crops', 'seconds', and 'by', the provenance.
      data: what it was trained on, in words.
      scores: one for each set and noise, as in results.json.
      scored_by: provenance of the scores.
    """

    name: str
    summary: str
    not_for: str
    sha256: str
    bytes: int
    parameters: int
    config: Config
    training: Mapping[str, Any]
    data: str
    scores: Sequence[Mapping[str, Any]]
    scored_by: Mapping[str, Any]

    def dumps(self) -> str:
        """Returns the card as JSON."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return json_files.dumps({**values, **to_saved(self.config)}, indent=1) + '\n'


def training(done: Mapping[str, Any], config: Config) -> dict[str, Any]:
    """Returns what a card says of a training, from the DONE.json of the run."""
    return {
        'steps': done['step'],
        'crops': done['step'] * config.data.batch_size,
        'seconds': done['wall_seconds'],
        'by': provenance(done['provenance']),
    }


def provenance(of_run: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a card keeps of the provenance of a run."""
    return {key: of_run[key] for key in _PROVENANCE if key in of_run}


def scores(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns what a card keeps of rows as in results.json."""
    return [{key: row[key] for key in _KEPT} for row in rows]


def data(config: Config) -> str:
    """Returns what a config trains on, in words."""
    return _DATA.get(config.data.train, config.data.train)


def read(name: str) -> Card:
    """Reads the card of a model that comes with n2n_jax.

    Raises:
      UserError: there is no such model, or its card is missing or damaged.
    """
    file = zoo.file_of(zoo.existing(name)).with_suffix('.json')
    try:
        content = json_files.read(file, way_out='install n2n_jax again.')
        values = {field.name: content[field.name] for field in dataclasses.fields(Card)}
        return Card(**{**values, 'config': from_saved(content)})
    except FileNotFoundError:
        raise UserError(f'{file} is missing: install n2n_jax again.') from None
    except (KeyError, TypeError):
        raise UserError(f'{file} is damaged: install n2n_jax again.') from None


def markdown(card: Card) -> str:
    """Returns the card as a page."""
    return '\n'.join(_lines(card))


def _lines(card: Card) -> Iterator[str]:
    config, run = card.config, card.training
    yield f'# {card.name}'
    yield ''
    yield f'For {card.summary}.'
    yield ''
    yield f'**Not for**: {card.not_for}'
    yield ''
    yield '| set | noise | images | PSNR in, dB | PSNR out, dB (95 %) | SSIM in | SSIM out |'
    yield '|---|---|---:|---:|---:|---:|---:|'
    for row in card.scores:
        psnr, ssim = row['metrics']['psnr'], row['metrics']['ssim']
        low, high = row['ci95']
        yield (
            f'| {row["set"]} | {row["noise"]} | {row["n"]} | {psnr["in"]:.2f} | '
            f'**{psnr["out"]:.2f}** ({low:.2f} to {high:.2f}) | {ssim["in"]:.4f} | '
            f'{ssim["out"]:.4f} |'
        )
    yield ''
    yield f'Protocol: {card.scores[0]["protocol"]}.'
    yield ''
    yield f'* Network: {config.model.name}, {card.parameters:,} weights, {card.bytes / 1e6:.1f} MB.'
    yield f'* Trained on: {card.data}'
    yield (
        f'* Pairs: input {config.noise.input}, target {config.target_spec}, drawn anew for every '
        'crop; it has seen no clean image as a target.'
        if config.target_spec != 'clean'
        else f'* Pairs: input {config.noise.input}, clean targets.'
    )
    yield (
        f'* {run["steps"]:,} steps of {config.data.batch_size} crops of {config.data.crop} pixels '
        f'a side, seed {config.seed}, {duration(run["seconds"])} on {run["by"]["device"]} '
        f'({run["by"]["cpu_count"]} CPU cores), {run["by"]["date"].split()[0]}.'
    )
    packages = ', '.join(f'{name} {version}' for name, version in run['by']['packages'].items())
    yield f'* n2n_jax {run["by"]["n2n_jax"]}, commit {run["by"]["commit"]}; {packages}.'
    yield f'* SHA-256 of its file: {card.sha256}.'
