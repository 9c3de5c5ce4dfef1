"""What a table found, in plain words: which arms are better, worse or not told apart."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from n2n_jax.bench.tables.results import Result
from n2n_jax.bench.tables.statistics import Estimate
from n2n_jax.bench.tables.table import Table
from n2n_jax.evaluate.metrics import PSNR, Metric, parse_list

# Where the interval of an estimate is, in words: sorts an estimate into one of several kinds.
_Sort = Callable[[Estimate], str]


def markdown(table: Table, found: Sequence[Result]) -> str:
    """Returns the findings on the first set as Markdown; '' if there are none yet.

    The 95 % interval of a difference, over images and over seeds where there are several, tells
    what it is: within the margin of the table, or else on one side of zero, or on both.
    """
    if not found:
        return ''
    on_first = [result for result in found if result.image_set == found[0].image_set]
    lines = [
        f'* {metric.title}{f", {metric.unit}" if metric.unit else ""}{noise}, {line}'
        for metric in (PSNR, *parse_list(table.judged_by)[1:])
        for noise, results in _by_noise(on_first).items()
        for line in (
            _signs(metric, results)
            if metric.better == 'nearer to 0'
            else _comparisons(metric, results, table.margin if metric == PSNR else 0.0)
        )
    ]
    title = f'## What was found on {found[0].image_set}'
    return '\n'.join([title, '', *lines]) if lines else ''


def _by_noise(found: Sequence[Result]) -> dict[str, list[Result]]:
    """Groups results by noise where an arm is scored under several; else they are one group."""
    noises = {title: {r.noise for r in found if r.arm.title == title} for title in _titles(found)}
    by_noise: dict[str, list[Result]] = {}
    for result in found:
        several = len(noises[result.arm.title]) > 1
        by_noise.setdefault(f', {result.noise}' if several else '', []).append(result)
    return by_noise


def _titles(found: Sequence[Result]) -> list[str]:
    return list(dict.fromkeys(result.arm.title for result in found))


def _comparisons(metric: Metric, found: Sequence[Result], margin: float) -> Iterable[str]:
    """Yields one line per control and kind of outcome."""

    def kind(estimate: Estimate) -> str:
        low, high = estimate.over_both
        if -margin <= low and high <= margin:
            return f'within {margin:g} {metric.unit} of'
        if low <= 0 <= high:
            return 'not told apart from'
        return 'better than' if (low > 0) == (metric.better == 'larger') else 'worse than'

    for control in dict.fromkeys(result.arm.control for result in found):
        differences = {
            result.arm.title: difference
            for result in found
            if result.arm.control == control
            and (difference := _difference(result, metric)) is not None
        }
        for words, named in _sorted(metric, differences, kind).items():
            yield f'**{words} {control}**: {named}.'


def _signs(metric: Metric, found: Sequence[Result]) -> Iterable[str]:
    """Yields one line for the arms above zero and one for those below; zero would be best."""

    def kind(estimate: Estimate) -> str:
        low, high = estimate.over_both
        return 'not told from 0' if low <= 0 <= high else 'above 0' if low > 0 else 'below 0'

    values = {
        result.arm.title: result.others[metric.name]
        for result in found
        if metric.name in result.others
    }
    for words, named in _sorted(metric, values, kind).items():
        yield f'**{words}**: {named}.'


def _sorted(metric: Metric, estimates: Mapping[str, Estimate], kind: _Sort) -> dict[str, str]:
    """Lists estimates by kind."""
    by_kind: dict[str, list[str]] = {}
    for title, estimate in estimates.items():
        text = f'{title} ({_in_words(estimate, f"+{metric.form}")})'
        by_kind.setdefault(kind(estimate), []).append(text)
    return {words: '; '.join(listed) for words, listed in by_kind.items()}


def _difference(result: Result, metric: Metric) -> Estimate | None:
    if metric == PSNR:
        return result.difference
    return result.other_differences.get(metric.name)


def _in_words(estimate: Estimate, form: str) -> str:
    low, high = estimate.over_both
    if math.isnan(low):
        return f'{estimate.mean:{form}}'
    return f'{estimate.mean:{form}}, {low:{form}} to {high:{form}}'
