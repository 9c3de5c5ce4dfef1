"""A run as one self-contained web page: scores, curves, pictures, settings and origin."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from n2n_jax.evaluate import results_table
from n2n_jax.runtime import json_files, result_rows, svg, web_page
from n2n_jax.runtime.config import Config, flatten
from n2n_jax.runtime.progress import duration
from n2n_jax.runtime.workdir import Workdir

FILE = 'report.html'  # in the folder of the run

_MOST_PICTURES = 6  # a page of more would be slow to open
_MOST_CURVES = 6
_WIDE = {'width': 480, 'height': 260}
_OUTLYING = 0.02  # share of the values at each end that do not stretch a plot
# Ends of the keys of scores in metrics.jsonl, and what they are.
_SCORES = {'/psnr': 'PSNR', '/psnr_estimate': 'estimated PSNR'}
# Curves that it has besides scores, with a name for the reader.
_TRAINING = {
    'loss': 'loss',
    'learning_rate': 'learning rate',
    'images_per_second': 'crops per second',
}


def page(run: Path) -> str:
    """Returns the page of a run, complete or not.

    Raises:
      UserError: there is no run, or one of its files is damaged.
    """
    workdir = Workdir(run)
    config = workdir.config()
    rows = workdir.rows()
    name = run.resolve().name
    parts = [f'<h1>{escape(name)}</h1>\n', _state(workdir, rows)]
    if rows:
        last = max(row['step'] for row in rows)
        newest = [row for row in rows if row['step'] == last]
        parts += [
            f'<h2>Scores at step {last:,}</h2>\n',
            web_page.from_markdown(results_table.markdown(newest)),
        ]
        if len(rows) > len(newest):
            table = web_page.from_markdown(results_table.markdown(rows))
            parts.append(f'<details><summary>All steps</summary>\n{table}</details>\n')
    parts += [_curves(workdir.records()), _pictures(workdir, rows)]
    parts += [_settings(config), _origin(run)]
    return web_page.document(name, ''.join(parts))


def _state(workdir: Workdir, rows: Sequence[Mapping[str, Any]]) -> str:
    if workdir.done:  # asked first: the run itself writes its page while it still holds its lock
        done = json_files.read(workdir.path / 'DONE.json', way_out='train it again.')
        seconds = done.get('wall_seconds')
        time = f' in {duration(seconds)}' if seconds else ''
        kind, words = 'fine', f'Complete: {done.get("step", 0):,} steps{time}.'
    elif workdir.in_training:
        kind, words = 'warning', 'In training now: the page shows what there is so far.'
    elif workdir.failure:
        kind, words = 'unusable', f'Ended with an error: {workdir.failure}'
    else:
        kind, words = 'warning', 'Not complete: the same command goes on where it stopped.'
    said = f'<p>Last score: {escape(_in_words(rows[-1]))}.</p>\n' if rows else ''
    return f'<p class="verdict {kind}">{escape(words)}</p>\n{said}'


def _in_words(row: Mapping[str, Any]) -> str:
    if 'psnr_estimate' in row:
        return f'estimated PSNR {result_rows.with_gain_in_words(dict(row))}'
    psnr = row['metrics'].get('psnr')
    scored = f'{row["set"]}, {row["noise"]}'
    return f'{scored}: PSNR {psnr["out"]:.2f} dB, {psnr["in"]:.2f} before' if psnr else scored


def _curves(records: Sequence[Mapping[str, Any]]) -> str:
    keys = sorted({key for record in records for key in record})
    scores = {
        key: f'{words}, dB: {key.removesuffix(end)}'
        for end, words in _SCORES.items()
        for key in keys
        if key.endswith(end)
    }
    titles = {**scores, **_TRAINING}
    figures: list[str] = []
    for key, title in titles.items():
        values = [
            (record['step'], float(record[key]))
            for record in records
            if isinstance(record.get(key), int | float) and math.isfinite(record[key])
        ]
        if len(values) > 1 and len(figures) < _MOST_CURVES:
            figures.append(_curve(title, *zip(*values, strict=True)))
    return f'<h2>Curves</h2>\n<div class="figures">\n{"".join(figures)}</div>\n' if figures else ''


def _curve(title: str, steps: Sequence[int], values: Sequence[float]) -> str:
    ordered = sorted(values)
    skipped = int(_OUTLYING * len(ordered))
    low, high = ordered[skipped], ordered[-1 - skipped]
    margin = 0.05 * (high - low) or abs(low) * 0.05 or 1.0
    plot = svg.Plot((0.0, float(max(steps))), (low - margin, high + margin), **_WIDE)
    marks = [svg.line(plot, steps, values, 'data')]
    drawn = svg.figure(plot, marks, x_label='step', y_label='', title=title)
    return web_page.figure(drawn, f'{title}; {values[-1]:.4g} in the end')


def _pictures(workdir: Workdir, rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns the pictures of the newest evaluation that left some."""
    for step in sorted({row['step'] for row in rows}, reverse=True):
        files = sorted(workdir.evaluation_folder(step).glob('*.png'))
        if files:
            break
    else:
        return ''
    # Files are named after their row, see `Workdir.scores_file`, and a word for the picture.
    titles = {
        workdir.scores_file(dict(row)).stem: f'{row["set"]}, {row["noise"]}: '
        for row in rows
        if row['step'] == step and 'set' in row
    }
    images = ''
    for file in files[:_MOST_PICTURES]:
        row_name, _, word = file.stem.rpartition('_')
        caption = f'{titles[row_name]}{word}' if row_name in titles else file.stem
        images += web_page.image(file.read_bytes(), caption, shrinks=True)
    rest = max(0, len(files) - _MOST_PICTURES)
    note = f'<p class="soft">{rest} more are in the folder evaluation.</p>\n' if rest else ''
    return f'<h2>Pictures of step {step:,}</h2>\n<div class="figures">\n{images}</div>\n{note}'


def _settings(config: Config) -> str:
    values, defaults = flatten(config), flatten(Config())
    changed = {key: value for key, value in values.items() if value != defaults[key]}

    def table(chosen: Mapping[str, Any]) -> str:
        cells = [[f'<code>{key}</code>', escape(repr(value))] for key, value in chosen.items()]
        return web_page.table(('key', 'value'), cells)

    return (
        '<h2>Settings</h2>\n'
        + ('<p>Those that differ from the defaults:</p>\n' + table(changed) if changed else '')
        + f'<details><summary>All settings</summary>\n{table(values)}</details>\n'
    )


def _origin(run: Path) -> str:
    """Returns command, commit, versions and devices."""
    content = json_files.read(run / 'config.json', way_out='choose another run.')
    origin = content.get('provenance')
    if not isinstance(origin, dict):
        return ''
    rows = []
    for key, value in origin.items():
        text = ', '.join(f'{k} {v}' for k, v in value.items()) if isinstance(value, dict) else value
        if text not in ('', None):
            rows.append([escape(key.replace('_', ' ')), escape(str(text))])
    return '<h2>Origin</h2>\n' + web_page.table(('', ''), rows)
