"""Evaluation rows as Markdown tables: results.md."""

from typing import Any

from n2n_jax.evaluate import metrics, protocol_text
from n2n_jax.evaluate.metrics import Metric
from n2n_jax.runtime import result_rows

_Row = dict[str, Any]


def markdown(rows: list[_Row]) -> str:
    """Returns rows of results.json as Markdown tables, followed by their protocols."""
    tables = []
    measured = [row for row in rows if 'metrics' in row]
    estimated = [row for row in rows if 'psnr_estimate' in row]
    protocols = list(dict.fromkeys(row['protocol'] for row in rows))
    if measured:
        tables += [measured_table(measured), *map(_note, _shown(measured))]
    if estimated:
        tables.append(_estimated_table(estimated))
    # Early versions wrote 'realisations'.
    fixed = [row.get('realizations', row.get('realisations', 0)) for row in rows]
    for num in dict.fromkeys(fixed):
        if num:
            tables.append(f'Trained on {num} fixed noisy version{"s" * (num > 1)} of each image.')
    for k, protocol in enumerate(protocols):
        number = f' {k + 1}' if len(protocols) > 1 else ''
        tables.append(f'Protocol{number}: {protocol}.')
    return '\n\n'.join(filter(None, tables)) + '\n'


def measured_table(rows: list[_Row]) -> str:
    """Returns the scores on clean images as a table.

    It has columns for protocol and id only where rows would look the same.
    """
    protocols = list(dict.fromkeys(row['protocol'] for row in rows))
    shown = _shown(rows)
    titles, bars = ['step', 'set', 'noise', 'images'], ['---:', '---', '---', '---:']
    for metric in shown:
        found = [f'{metric.title} in', f'{metric.title} out']
        if metric == metrics.PSNR:
            found = [found[0], f'{found[1]} (95 %)', 'gain']
        titles += found
        bars += ['---:'] * len(found)
    several = len(protocols) > 1
    with_methods = any('method' in row for row in rows)
    if with_methods:
        titles[0], bars[0] = 'method', '---'
    alike = [(_method(r), r['set'], r['noise'], r['n'], r['protocol']) for r in rows]
    by_id = len(set(alike)) < len(alike)
    titles += ['protocol'] * several + ['id'] * by_id
    bars += ['---:'] * several + ['---'] * by_id
    lines = [f'| {" | ".join(titles)} |', f'|{"|".join(bars)}|']
    for row in rows:
        first = _method(row) if with_methods else str(row['step'])
        cells = [first, row['set'], row['noise'], str(row['n'])]
        cells += [cell for metric in shown for cell in _cells(metric, row)]
        cells += [str(protocols.index(row['protocol']) + 1)] * several
        cells += [row.get('id', '')] * by_id
        lines.append(f'| {" | ".join(cells)} |')
    return '\n'.join(lines)


def _method(row: _Row) -> str:
    """Returns what was scored: a baseline, or the network at a step."""
    return row.get('method', f'step {row["step"]}')


def _shown(rows: list[_Row]) -> list[Metric]:
    return metrics.in_tables(name for row in rows for name in row['metrics'])


def _cells(metric: Metric, row: _Row) -> list[str]:
    score = row['metrics'].get(metric.name)
    if score is None:  # evaluated by fewer metrics
        return ['', '']
    before, after = (metric.text(score[end]) for end in ('in', 'out'))
    if metric != metrics.PSNR:
        return [before, after]
    low, high = map(metric.text, row['ci95'])
    return [before, f'**{after}** ({low} to {high})', metric.change(score)]


def _note(metric: Metric) -> str:
    """Says of a metric what the protocol does not; '' for nothing."""
    if metric.name in protocol_text.METRICS:
        return ''
    sees = 'clamped and rounded to 8 bits' if metric.rounded else 'clamped only'
    return f'{metric.title}: {metric.better} is better; output {sees}.'


def _estimated_table(rows: list[_Row]) -> str:
    lines = [
        '| step | scenes held out | PSNR in, estimated | PSNR out, estimated (95 %) | gain |',
        '|---:|---:|---:|---:|---:|',
    ]
    for row in rows:
        raw = row['psnr_estimate_input']
        lines.append(
            f'| {row["step"]} | {row["n"]} | {"" if raw is None else f"{raw:.2f}"} '
            f'| {result_rows.in_words(row)} | {result_rows.gain_in_words(row)} |'
        )
    return '\n'.join(lines)
