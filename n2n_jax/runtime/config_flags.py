"""Parses the command line of `python -m n2n_jax.main`: a config file, and its keys as flags."""

import argparse
import functools
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from n2n_jax.runtime import config_field, config_file, config_table, user_code
from n2n_jax.runtime.config import Config, fields, from_config_dict
from n2n_jax.runtime.config_versions import RENAMED, REPLACED
from n2n_jax.runtime.errors import UserError, did_you_mean

MODES = ('train', 'evaluate', 'follow')
_WIDTHS = (72, 110)  # of the help, in characters
_KEY = 'config.'  # prefix of a key that is used as a flag


class Parsed(NamedTuple):
    """The parsed command line.

    Attributes:
      config: the config of the file, with the values of the command line.
      workdir: folder of the run.
      mode: one of `MODES`.
    """

    config: Config
    workdir: Path
    mode: str


def parse(argv: Sequence[str], description: str) -> Parsed:
    """Reads the flags and runs the config file.

    Args:
      argv: arguments without the name of the program.
      description: text before the flags in --help, which ends the program with status 0.

    Raises:
      UserError: a flag or a value is wrong; says which.
    """
    parser = _Parser(
        usage=argparse.SUPPRESS, description=description, allow_abbrev=False, add_help=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    _add_flags(parser)
    add_keys(parser)
    flags, unknown = parser.parse_known_args(_normalize_for_argparse(argv))
    if unknown:
        raise unknown_argument(unknown[0])
    for name in ('config', 'workdir'):
        if not getattr(flags, name):
            raise UserError(f'--{name} is missing. See --help.')
    return Parsed(load(flags.config, flags), Path(flags.workdir), flags.mode)


def load(file_and_variants: str, flags: argparse.Namespace) -> Config:
    """Returns the config of a file, with the values of the command line.

    Args:
      file_and_variants: such as 'configs/unet_gauss.py:quick'.
      flags: the values of the flags of `add_keys`.

    Raises:
      UserError: the file or a value is wrong; says which.
    """
    values = config_file.load(file_and_variants)
    with values.unlocked():
        values.update(_overrides(flags))
    folder = Path(file_and_variants.partition(':')[0]).parent
    return user_code.located(from_config_dict(values), folder)


def _overrides(flags: argparse.Namespace) -> dict[str, Any]:
    """Returns the values that are set on the command line, in sections."""
    values: dict[str, Any] = {}
    for key, its_field in fields():
        if hasattr(flags, key):
            section, _, name = key.rpartition('.')
            value = config_field.from_text(key, getattr(flags, key), its_field)
            (values.setdefault(section, {}) if section else values)[name] = value
    return values


def _add_flags(parser: argparse.ArgumentParser) -> None:
    flags = parser.add_argument_group('flags')
    flags.add_argument(
        '--config', metavar='FILE.py[:VARIANTS]',
        help='config file, with variants after a colon: FILE.py:quick,clean',
    )  # fmt: skip
    flags.add_argument('--workdir', metavar='DIR', help='folder of the run, made if missing')
    flags.add_argument(
        '--mode', choices=MODES, default=MODES[0],
        help='train; evaluate the last checkpoint of the workdir; or follow a run that is being '
        'trained, or will be, and evaluate each of its checkpoints (default: train)',
    )  # fmt: skip
    flags.add_argument(
        '-h', '--help', '--helpshort', '--helpfull', action=_Help, help='show this text'
    )  # fmt: skip


def add_keys(parser: argparse.ArgumentParser) -> None:
    """Adds every key of a config as a flag without help, also under its earlier names."""
    earlier = {new: old for old, new in RENAMED.items()}
    for key, its_field in fields():
        names = [key, earlier[key]] if key in earlier else [key]
        flags = [f'--{_KEY}{name}' for name in names]
        add = functools.partial(
            parser.add_argument, dest=key, default=argparse.SUPPRESS, help=argparse.SUPPRESS
        )
        if its_field.type is bool:  # may stand alone
            add(*flags, nargs='?', const='True')
            add(f'--no{_KEY}{key}', action='store_const', const='False')
        else:
            add(*flags)


def _normalize_for_argparse(argv: Sequence[str]) -> list[str]:
    """Doubles single dashes, and joins values such as -0.5 to their flags."""
    words: list[str] = []
    for word in argv:
        if re.match(r'-[\d.]', word) and words and re.fullmatch(r'--[^=]+', words[-1]):
            words[-1] += f'={word}'
        else:
            words.append(f'-{word}' if re.match(r'-[a-z]{2}', word) else word)
    return words


def is_unknown_key(word: str) -> bool:
    """Checks whether an argument looks like a config key, and is none."""
    name = word.lstrip('-').partition('=')[0]
    return name.startswith(_KEY) and name.removeprefix(_KEY) not in dict(fields())


def unknown_argument(word: str) -> UserError:
    """Returns the error for an argument that no parser knows."""
    name = word.lstrip('-').partition('=')[0]
    if not word.startswith('-'):
        return UserError(f"Unknown argument '{word}': write --config FILE --workdir DIR.")
    if name.startswith(_KEY):
        key, keys = name.removeprefix(_KEY), [key for key, _ in fields()]
        if key in REPLACED:
            return UserError(f"Config key '{key}' is gone: {REPLACED[key]}.")
        return UserError(f"Unknown config key '{key}'. {did_you_mean(key, keys)}")
    known = ('config', 'workdir', 'mode', 'help')
    return UserError(f"Unknown flag '--{name}'. {did_you_mean(name, known)} See --help.")


class _Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises UserErrors instead of ending the program."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f'{message[:1].upper()}{message[1:]}. See --help.')


class _Help(argparse.Action):
    """Prints the flags, then every key of a config."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str):
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *unused: Any) -> NoReturn:
        del unused
        width = min(max(shutil.get_terminal_size().columns, _WIDTHS[0]), _WIDTHS[1])
        print(f'{parser.format_help()}\n{config_table.help_text(width)}', flush=True)
        sys.exit(0)
