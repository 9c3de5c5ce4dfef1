"""Lists every key of a config with its help, for `--help` and the page docs/config.md.

python -m n2n_jax.runtime.config_table > docs/config.md
"""

import dataclasses
import itertools
import textwrap
from collections.abc import Iterator

from n2n_jax.runtime.config import Config, fields
from n2n_jax.runtime.config_field import Field
from n2n_jax.runtime.config_identity import may_change
from n2n_jax.runtime.config_versions import RENAMED

_NO_BREAK = '\N{NO-BREAK SPACE}'  # between words that must stay on one line
_TYPES: dict[object, str] = {
    int: 'whole number',
    float: 'number',
    str: 'text',
    bool: 'True or False',
}

_INTRODUCTION = """# Config keys

<!-- Generated: python -m n2n_jax.runtime.config_table > docs/config.md -->

A config file is Python. It defines `get_config(variant='')`, which starts from the defaults below,
`to_config_dict(Config())`, and changes some of them: see [configs/](../configs). Words after a
colon choose its variants, as in `--config configs/unet_gauss.py:quick,clean`. The command line
overrides the file: `--config.data.crop=128` or `--config.data.crop 128`, in any position. Numbers
must be finite. The same command resumes a run; it may then change the keys marked with *, which do
not affect the weights, and give a complete run more `train.steps`.
`python -m n2n_jax.main --help` lists the same keys. Renamed keys are also accepted under their old
names: {renamed}.
"""


def help_text(width: int) -> str:
    """Returns all sections, keys and helps for a terminal that is `width` characters wide."""
    return '\n\n'.join(
        '\n'.join([f'{name}: {title}', *_help_lines(items, width)])
        for name, title, items in _sections()
    )


def _help_lines(items: list[tuple[str, Field]], width: int) -> Iterator[str]:
    flags = [f'  --config.{key}  ' for key, _ in items]
    column = max(map(len, flags))
    for flag, (_, its_field) in zip(flags, items, strict=True):
        words = '; '.join(filter(None, (its_field.metadata['help'], _limits(its_field))))
        default = f'(default {_shown(its_field.default)})'.replace(' ', _NO_BREAK)
        lines = textwrap.wrap(f'{words} {default}', max(width - column, 30), break_on_hyphens=False)
        yield flag.ljust(column) + f'\n{" " * column}'.join(lines).replace(_NO_BREAK, ' ')


def markdown() -> str:
    """Returns the page docs/config.md."""
    parts = [_INTRODUCTION.format(renamed=', '.join(f'`{name}`' for name in RENAMED))]
    for name, title, items in _sections():
        rows = [
            f'| `{key}`{" *" * may_change(key)} | {_TYPES[its_field.type]} '
            f'| `{its_field.default!r}` | {_escaped(_limits(its_field))} '
            f'| {_escaped(its_field.metadata["help"])} |'
            for key, its_field in items
        ]
        parts.append(
            f'## {name}\n\n{title}.\n\n'
            '| key | type | default | valid values | meaning |\n|---|---|---|---|---|\n'
            + '\n'.join(rows)
            + '\n'
        )
    return '\n'.join(parts)


def _sections() -> Iterator[tuple[str, str, list[tuple[str, Field]]]]:
    """Yields the name, title and keys of each section; keys outside are the 'top level'."""
    titles = {
        section.name: section.type.__doc__ or section.name  # none with python -OO
        for section in dataclasses.fields(Config)
        if dataclasses.is_dataclass(section.type)
    }
    for name, items in itertools.groupby(
        fields(), lambda item: item[0].rpartition('.')[0] or 'top level'
    ):
        yield name, titles.get(name, 'The experiment as a whole').rstrip('.'), list(items)


def _limits(its_field: Field) -> str:
    """Returns the valid values in words, '' if all values of the type are valid."""
    choices = its_field.metadata['choices']
    return f'one of {", ".join(choices)}' if choices else str(its_field.metadata['bounds'])


def _shown(value: object) -> str:
    return 'empty' if value == '' else str(value)


def _escaped(words: str) -> str:
    """Escapes a text for a cell of a Markdown table."""
    for character in '|*<':
        words = words.replace(character, '\\' + character)
    return words


if __name__ == '__main__':
    print(markdown(), end='')
