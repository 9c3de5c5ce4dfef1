"""A table as Markdown: the question, the numbers at a glance, all of them, and the protocol."""

import collections
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from n2n_jax.bench.tables import findings
from n2n_jax.bench.tables.cells import SEARCH_SET, asked
from n2n_jax.bench.tables.records import Record
from n2n_jax.bench.tables.results import Result
from n2n_jax.bench.tables.runner import Outcome
from n2n_jax.bench.tables.statistics import Estimate, p_in_words
from n2n_jax.bench.tables.table import Table
from n2n_jax.evaluate.metrics import PSNR, Metric, parse_list
from n2n_jax.runtime.progress import duration

_NOT_SEARCHED = 'one for all arms; with this budget they are not searched, so not matched.'


def markdown(
    table: Table, budget: str, outcome: Outcome, found: Sequence[Result], *, images: Sequence[Path]
) -> str:
    """Returns the page of a table.

    Args:
      table: the table.
      budget: name of the budget.
      outcome: how far it has come.
      found: its results.
      images: its plot and its pictures, in the same folder, as far as there are any.
    """
    others = parse_list(table.metrics)[1:]
    parts = [
        f'# {table.title}',
        table.question,
        f'From {table.source}. Budget **{budget}**: {table.in_words(budget)}.',
        _incomplete(outcome),
        _glance(found),
        findings.markdown(table, found),
        *(f'![{table.title}]({image.name})' for image in images),
        _differences(found, others),
        _all_numbers(found, others),
        _searches(outcome),
        _runs(outcome),
        '## How to read it',
        '\n'.join(f'* {line}' for line in _notes(table, budget, outcome, found)),
    ]
    return '\n\n'.join(filter(None, parts)) + '\n'


def description(table: Table) -> str:
    """Returns what a table is before it was run, as Markdown."""
    lines = [f'# {table.title}', '', table.question, '', f'From {table.source}.', '']
    lines += [f'* {name}: {table.in_words(name)}' for name in table.budgets]
    lines += ['', '| arm | changes | published |', '|---|---|---|']
    for arm in table.arms:
        changes = ', '.join(f'`{key}={value}`' for key, value in arm.changes.items())
        published = ', '.join(
            f'{key if isinstance(key, str) else " ".join(key)} {psnr:g}'
            for key, psnr in arm.published.items()
        )
        lines.append(
            f'| {arm.title} | {f"`{arm.method}`" if arm.method else changes} | {published} |'
        )
    lines += ['', f'Learning rates: {table.rates}']
    if table.published_with:
        lines += ['', f'Published numbers: {table.published_with}']
    return '\n'.join(lines) + '\n'


def _incomplete(outcome: Outcome) -> str:
    done = sum(cell.key in outcome.records for cell in outcome.cells)
    lines = []
    if not outcome.complete:
        total = len(outcome.cells)
        lines.append(
            f'**Not complete**: {done} of {total} cells are done'
            + (', and others wait for these.' if outcome.waiting else '.')
        )
    lines += [f'* Failed: {title}: {why}' for title, why in outcome.failed.items()]
    lines += [f'* Waits for its learning rate: {title}' for title in outcome.waiting]
    return '\n'.join(lines)


def _columns(found: Iterable[Result]) -> list[tuple[str, str]]:
    """Returns the columns of the first table: sets, by noise where a group has several."""
    return list(dict.fromkeys((result.image_set, _noise_of(result, found)) for result in found))


def _noise_of(result: Result, found: Iterable[Result]) -> str:
    same = {r.noise for r in found if r.arm.title == result.arm.title}
    return result.noise if len(same) > 1 else ''


def _glance(found: Sequence[Result]) -> str:
    """PSNR by arm and set; published numbers in parentheses."""
    if not found:
        return ''
    columns = _columns(found)
    by_arm: dict[str, dict[tuple[str, str], Result]] = {}
    for result in found:
        column = result.image_set, _noise_of(result, found)
        by_arm.setdefault(result.arm.title, {})[column] = result
    titles = ['PSNR, dB', *(' '.join(filter(None, column)) for column in columns)]
    lines = [f'| {" | ".join(titles)} |', '|---|' + '---:|' * len(columns)]
    for title, results in by_arm.items():
        cells = [_glance_cell(results.get(column)) for column in columns]
        lines.append(f'| {title} | {" | ".join(cells)} |')
    return '\n'.join(lines)


def _glance_cell(result: Result | None) -> str:
    if result is None:
        return ''
    text = 'diverged' if result.psnr is None else f'**{result.psnr.mean:.2f}**'
    return text if result.published is None else f'{text} ({result.published:.2f})'


def _differences(found: Sequence[Result], others: Sequence[Metric]) -> str:
    """One line per comparison with a control arm."""
    compared = [result for result in found if result.difference is not None]
    if not compared:
        return ''
    shown = [m for m in others if any(m.name in result.other_differences for result in compared)]
    titles = [
        'arm', 'control', 'set', f'difference, dB (95 %, {_over(found)})', 'images alone',
        'seeds alone', 'p (Holm)', *(f'{metric.title} (95 %)' for metric in shown),
    ]  # fmt: skip
    lines = [
        '## Differences to the control',
        '',
        f'| {" | ".join(titles)} |',
        '|---|---|---|' + '---:|' * (len(titles) - 3),
    ]
    for result in compared:
        difference = result.difference
        assert difference is not None
        cells = [
            result.arm.title,
            result.arm.control,
            _set(result, found),
            f'**{difference.mean:+.2f}** ({_interval(difference.over_both, "+.2f")})',
            _interval(difference.over_images, '+.2f'),
            _interval(difference.over_seeds, '+.2f'),
            p_in_words(result.p),
            *(_other(result.other_differences.get(m.name), f'+{m.form}') for m in shown),
        ]
        lines.append(f'| {" | ".join(cells)} |')
    return '\n'.join(lines)


def _other(difference: Estimate | None, form: str) -> str:
    if difference is None:
        return ''
    return f'{difference.mean:{form}} ({_interval(difference.over_both, form)})'


def _over(found: Sequence[Result]) -> str:
    """Says what the intervals are over."""
    return 'images and seeds' if _has_seeds(found) else 'images'


def _has_seeds(found: Sequence[Result]) -> bool:
    return any(result.psnr is not None and result.psnr.seeds > 1 for result in found)


def _set(result: Result, found: Iterable[Result]) -> str:
    return ' '.join(filter(None, (result.image_set, _noise_of(result, found))))


def _interval(ends: tuple[float, float], form: str) -> str:
    if math.isnan(ends[0]):
        return ''
    return f'{ends[0]:{form}} to {ends[1]:{form}}'


def _all_numbers(found: Sequence[Result], others: Sequence[Metric]) -> str:
    if not found:
        return ''
    others = [m for m in others if any(m.name in result.others for result in found)]
    titles = [
        'arm', 'set', 'noise', 'images', 'seeds', 'PSNR in', f'PSNR out (95 %, {_over(found)})',
        'sd over seeds',
        *(metric.title for metric in others), 'published',
    ]  # fmt: skip
    lines = [
        '## All numbers',
        '',
        f'| {" | ".join(titles)} |',
        '|---|---|---|' + '---:|' * (len(titles) - 3),
    ]
    for result in found:
        psnr = result.psnr
        if psnr is None:
            cells = ['', str(result.diverged), '', 'diverged', '', *('' for _ in others)]
        else:
            cells = [
                str(psnr.images),
                '' if result.arm.method else _seeds(psnr, result.diverged),
                f'{result.psnr_in:.2f}',
                f'**{psnr.mean:.2f}** ({_interval(psnr.over_both, ".2f")})',
                '' if math.isnan(result.seed_sd) else f'{result.seed_sd:.3f}',
                *(
                    metric.text(result.others[metric.name].mean)
                    if metric.name in result.others
                    else ''
                    for metric in others
                ),
            ]
        cells.append('' if result.published is None else f'{result.published:.2f}')
        first = f'| {result.arm.title} | {result.image_set} | {result.noise} '
        lines.append(f'{first}| {" | ".join(cells)} |')
    return '\n'.join(lines)


def _seeds(psnr: Estimate, diverged: int) -> str:
    return f'{psnr.seeds} ({diverged} diverged)' if diverged else str(psnr.seeds)


def _searches(outcome: Outcome) -> str:
    """The scores that learning rates were chosen by."""
    by_arm: dict[str, dict[float, str]] = {}
    for cell in outcome.cells:
        record = outcome.records.get(cell.key)
        if cell.searched is None or record is None:
            continue
        found = [record.score(wanted) for wanted in asked(cell.config.eval)]
        psnrs = [one.row['metrics'][PSNR.name]['out'] for one in found if one is not None]
        text = PSNR.text(sum(psnrs) / len(psnrs)) if psnrs else 'diverged'
        by_arm.setdefault(cell.arm.title, {})[cell.searched] = text
    if not by_arm:
        return ''
    rates = sorted({rate for texts in by_arm.values() for rate in texts})
    lines = [
        f'## Learning rates, PSNR on {SEARCH_SET}, one seed',
        '',
        f'| arm | {" | ".join(f"{rate:g}" for rate in rates)} |',
        '|---|' + '---:|' * len(rates),
    ]
    for title, texts in by_arm.items():
        lines.append(f'| {title} | {" | ".join(texts.get(rate, "") for rate in rates)} |')
    return '\n'.join(lines)


def _runs(outcome: Outcome) -> str:
    """What the runs of each arm were, and what they took."""
    lines = [
        '## Runs',
        '',
        '| arm | learning rate | steps | crops | parameters | training time | s per megapixel '
        '| folder of seed 0 |',
        '|---|---:|---:|---:|---:|---:|---:|---|',
    ]
    by_arm: dict[str, list[tuple[Record, float, int]]] = {}
    for cell in outcome.cells:
        if cell.searched is None and cell.key in outcome.records:
            rate, steps = cell.config.optim.learning_rate, cell.config.train.steps
            by_arm.setdefault(cell.arm.title, []).append((outcome.records[cell.key], rate, steps))
    if not by_arm:
        return ''
    for title, runs in by_arm.items():
        record, rate, steps = runs[0]
        seconds = sum(run.seconds for run, _, _ in runs) / len(runs)
        cells = ['', '', '', ''] if not record.parameters else [
            f'{rate:g}', str(steps), f'{record.crops:,}', f'{record.parameters:,}'
        ]  # fmt: skip
        speeds = [run.seconds_per_megapixel for run, _, _ in runs if run.seconds_per_megapixel]
        cells += [duration(seconds), f'{min(speeds):.2f}' if speeds else '', record.key]
        lines.append(f'| {title} | {" | ".join(cells)} |')
    return '\n'.join(lines)


def _notes(table: Table, budget: str, outcome: Outcome, found: Sequence[Result]) -> Iterable[str]:
    searched = table.budget(budget).searches or not any(arm.rates for arm in table.arms)
    yield f'Learning rates: {table.rates if searched else _NOT_SEARCHED}'
    if table.published_with:
        yield f'Published numbers: {table.published_with}'
    if found and not _has_seeds(found):
        yield (
            '**One seed**: intervals and p are about the images alone. How far another seed would '
            'move these numbers is not known, and often it is further than the intervals are wide.'
        )
    yield (
        'Intervals: over images by bootstrap (of paired differences where arms are compared), over '
        "seeds by Student's t with a standard deviation pooled over the arms, except those whose "
        "runs scatter far more than the others'; p by Wilcoxon's signed-rank test over images, "
        'adjusted after Holm for all differences of PSNR in this table.'
    )
    for protocol in dict.fromkeys(r.row['protocol'] for r in found if r.row):
        yield f'Protocol: {protocol}.'
    used = [outcome.records[cell.key] for cell in outcome.cells if cell.key in outcome.records]
    for what, values in (
        ('Commit', (record.code for record in used)),
        ('jax', (record.run['packages']['jax'] for record in used)),
        ('Device', (_device(record) for record in used)),
    ):
        counts = collections.Counter(values)
        listed = ', '.join(
            f'{value} ({count} cells)' if len(counts) > 1 else value
            for value, count in counts.items()
        )
        if listed:
            yield f'{what}: {listed}.'


def _device(record: Record) -> str:
    device = str(record.run['device'])
    return f'{device} ({record.run["cpu_count"]} cores)' if device.endswith('cpu') else device
