"""Choices with options of their own, written as one text: `dncnn:depth=17,width=64`.

The name is one of a registry. Its options are the fields of the dataclass that the registry holds
under the name (a network is one too), with their types, defaults and bounds:

    @dataclasses.dataclass(frozen=True)
    class SGD:
        momentum: Annotated[float, Bounds(0, 1, open_high=True)] = 0.9
        nesterov: bool = False

    REGISTRY = {'sgd': SGD}
    make('optim.name', 'sgd:momentum=0.95,nesterov', REGISTRY)  # SGD(0.95, nesterov=True)

A value without a key sets the first option: `charbonnier:0.001`. An option that takes True or False
may stand alone, as `nesterov` does. Several numbers of one option have dashes between them:
`widths=64-64-32`.
"""

import dataclasses
import functools
import re
import types
import typing
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal

from n2n_jax.runtime.config_field import BOOLEANS, Bounds
from n2n_jax.runtime.errors import UserError, did_you_mean
from n2n_jax.runtime.registry import Registry

# What a registry holds: a dataclass, or one with some fields set.
Maker = type | functools.partial[Any]

_NAMES_OF_TYPES: dict[object, str] = {
    int: 'a whole number',
    float: 'a number',
    bool: 'True or False',
    str: 'text',
}

_OPTION = re.compile(r'\s*[A-Za-z_]\w*\s*=')  # where an option starts


@dataclasses.dataclass(frozen=True)
class Choice:
    """A parsed text.

    Attributes:
      name: what is before the colon.
      first: what stands first and without '=': a value or a key; '' if there is none.
      options: the values by key; '' for a key that stands alone.
    """

    name: str
    first: str
    options: Mapping[str, str]

    def __str__(self) -> str:
        """Returns the text."""
        parts = [self.first] if self.first else []
        parts += [f'{key}={value}' if value else key for key, value in self.options.items()]
        return f'{self.name}:{",".join(parts)}' if parts else self.name


@dataclasses.dataclass(frozen=True)
class Option:
    """An option that a choice takes.

    Attributes:
      kind: int, float, bool, str, a `Literal` of texts, or tuple[int, ...] or tuple[float, ...].
      default: its value if it is not written.
      bounds: the valid numbers.
    """

    kind: Any
    default: Any
    bounds: Bounds = dataclasses.field(default_factory=Bounds)

    def parsed(self, text: str, key: str) -> Any:
        """Converts a text to a value.

        Args:
          text: the value as written; '' if the key stands alone.
          key: the option, for messages.

        Raises:
          UserError: it is of another type or out of bounds.
        """
        origin, parts = typing.get_origin(self.kind), typing.get_args(self.kind)
        if origin is Literal:
            if text not in parts:
                raise UserError(f"'{key}={text}' is invalid: choose from {', '.join(parts)}.")
            return text
        if origin is tuple:
            length = len(parts) if parts[-1] is not Ellipsis else 0
            values = tuple(Option(parts[0], 0, self.bounds).parsed(x, key) for x in text.split('-'))
            if length and len(values) != length:
                raise UserError(f"'{key}={text}' must hold {length} numbers with dashes between.")
            return values
        if self.kind is bool:
            if text.lower() not in ('', *BOOLEANS):
                raise self._wrong(text, key)
            return BOOLEANS[text.lower()] if text else True
        try:
            value = self.kind(text)
        except ValueError:
            raise self._wrong(text, key) from None
        if self.kind is not str and not self.bounds.hold(value):
            valid = str(self.bounds) or 'a finite number'
            raise UserError(f"'{key}={text}' is invalid: write {valid}.")
        return value

    def _wrong(self, text: str, key: str) -> UserError:
        return UserError(
            f"'{key}={text}' is invalid: write {_NAMES_OF_TYPES[self.kind]} "
            f'(default: {self.default}).'
        )


def is_maker(entry: object) -> bool:
    """Checks whether a registry may hold this: a dataclass, or a partial of one."""
    kind = entry.func if isinstance(entry, functools.partial) else entry
    return isinstance(kind, type) and dataclasses.is_dataclass(kind)


def parse(text: str) -> Choice:
    """Splits a text such as 'sgd:momentum=0.9,nesterov'.

    Raises:
      UserError: a value without a key is not the first, or a key is written twice.
    """
    name, _, rest = (x.strip() for x in text.partition(':'))
    first, options = '', {}
    for i, part in enumerate(rest.split(',') if rest else []):
        key, equals, value = (x.strip() for x in part.partition('='))
        if not equals and i == 0:
            first = key
        elif not key.isidentifier() or (equals and not value):
            raise UserError(f"'{text}' cannot be parsed at '{part}': write KEY=VALUE.")
        elif key in options:
            raise UserError(f"'{text}' sets '{key}' twice: write it once.")
        else:
            options[key] = value
    return Choice(name, first, options)


def parted(texts: str) -> list[str]:
    """Splits texts at the commas between them, not at those between the options of one.

    Args:
      texts: such as 'nlm,dip:steps=500,rate=0.01,tv'.
    """
    parts: list[str] = []
    for item in texts.split(','):
        if parts and _OPTION.match(item):  # of the choice before it
            parts[-1] += f',{item.strip()}'
        else:
            parts.append(item.strip())
    return parts


def options_of(maker: Maker, reserved: Collection[str] = ()) -> dict[str, Option]:
    """Returns the options of an entry of a registry, in order.

    Args:
      maker: a dataclass, or a partial of one, whose arguments are no options.
      reserved: fields that are set by others.
    """
    kind: Any = maker
    taken = set(reserved)
    if isinstance(maker, functools.partial):
        kind, taken = maker.func, taken | set(maker.keywords)
    hints = typing.get_type_hints(kind, include_extras=True)
    found = {}
    # A field for keywords only, which a base class may have, comes after the options of its own.
    for item in sorted(dataclasses.fields(kind), key=lambda item: item.kw_only is True):
        if item.name in taken or not item.init or item.default is dataclasses.MISSING:
            continue
        hint, bounds = hints[item.name], Bounds()
        if typing.get_origin(hint) is Annotated:
            hint, *extras = typing.get_args(hint)
            bounds = next((extra for extra in extras if isinstance(extra, Bounds)), bounds)
        if _is_kind(hint):
            found[item.name] = Option(hint, item.default, bounds)
    return found


def _is_kind(hint: Any) -> bool:
    if isinstance(hint, types.UnionType):
        return False
    if typing.get_origin(hint) is tuple:
        return typing.get_args(hint)[0] in (int, float)
    return typing.get_origin(hint) is Literal or hint in _NAMES_OF_TYPES


def registry(what: str, entries: Mapping[str, Maker]) -> Registry[Maker]:
    """Makes a registry of choices with options; `what` they are goes into messages."""
    return Registry(what, entries, takes='a dataclass (not an instance of one)', holds=is_maker)


def find(key: str, text: str, registry: Mapping[str, Maker]) -> tuple[Maker, Choice]:
    """Returns the entry that a text names, and the parsed text.

    Args:
      key: the config key of the text, for messages.
      text: such as 'dncnn:depth=17'.
      registry: entries by name.

    Raises:
      UserError: the name is unknown, or the text cannot be parsed.
    """
    choice = parse(text)
    if choice.name not in registry:
        raise UserError(f"Unknown {key} '{choice.name}'. {did_you_mean(choice.name, registry)}")
    return registry[choice.name], choice


def make(
    key: str,
    text: str,
    registry: Mapping[str, Maker],
    *,
    settings: Mapping[str, Any] = types.MappingProxyType({}),
) -> Any:
    """Makes what a text names, with its options.

    Args:
      key: the config key of the text, for messages.
      text: such as 'dncnn:depth=17'.
      registry: dataclasses by name.
      settings: values of the fields that are no options.

    Raises:
      UserError: the name or an option is unknown, or a value is invalid.
    """
    maker, choice = find(key, text, registry)
    options = options_of(maker, settings)
    values = {}
    for name, value in _with_keys(key, choice, options):
        if name not in options:
            takes = did_you_mean(name, options) if options else 'It takes no options.'
            raise UserError(f"{key}={text}: '{choice.name}' has no option '{name}'. {takes}")
        try:
            values[name] = options[name].parsed(value, name)
        except UserError as error:
            raise UserError(f'{key}={text}: {error}') from None
    return maker(**settings, **values)


def _with_keys(key: str, choice: Choice, options: Mapping[str, Option]) -> list[tuple[str, str]]:
    """Returns the written options, with the key of the first one where it was left out."""
    written = list(choice.options.items())
    if not choice.first:
        return written
    if not options:
        raise UserError(f"{key}={choice}: '{choice.name}' takes no options.")
    if choice.first in options:
        return [(choice.first, ''), *written]
    name, option = next(iter(options.items()))
    takes_words = option.kind is str or typing.get_origin(option.kind) is Literal
    if choice.first.isidentifier() and not takes_words:  # a misspelled key, rather than a value
        return [(choice.first, ''), *written]
    return [(name, choice.first), *written]
