"""How a field of a config is declared, checked and parsed.

The fields themselves are in config.py.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from n2n_jax.runtime.errors import UserError

Field = dataclasses.Field


@dataclasses.dataclass(frozen=True)
class Bounds:
    """The interval of valid numbers; floats must also be finite.

    Attributes:
      low, high: the ends of the interval.
      open_low, open_high: whether the ends themselves are excluded.
    """

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def hold(self, value: float) -> bool:
        """Checks whether the value is valid. NaN and infinities never are."""
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return (isinstance(value, int) or math.isfinite(value)) and above and below

    def __str__(self) -> str:
        """Returns the interval in words; '' if every finite number is valid."""
        ends = []
        if math.isfinite(self.low):
            ends.append(f'above {self.low}' if self.open_low else f'{self.low} or more')
        if math.isfinite(self.high):
            ends.append(f'below {self.high}' if self.open_high else f'{self.high} or less')
        if len(ends) == 2 and not (self.open_low or self.open_high):
            return f'between {self.low} and {self.high}'
        return ' and '.join(ends)


def at_least(low: float) -> Bounds:
    """Returns the bounds of numbers that are no smaller than `low`."""
    return Bounds(low)


def above(low: float) -> Bounds:
    """Returns the bounds of numbers larger than `low`."""
    return Bounds(low, open_low=True)


def field(
    default: Any, help: str, bounds: Bounds | None = None, *, choices: tuple[str, ...] = ()
) -> Any:
    """Makes a field of a config.

    Args:
      default: its value if a config does not set it.
      help: what it does, as a sentence fragment with units.
      bounds: the valid numbers; None for all.
      choices: the valid texts; () for all.
    """
    metadata = {'help': help, 'bounds': bounds or Bounds(), 'choices': choices}
    return dataclasses.field(default=default, metadata=metadata)


def check_value(name: str, value: Any, its_field: Field) -> None:
    """Checks a value by itself.

    Args:
      name: full key, for messages.
      value: the value, which has the type of the field.
      its_field: the field, made by `field`.

    Raises:
      UserError: the value is invalid; says which are valid.
    """
    choices, bounds = its_field.metadata['choices'], its_field.metadata['bounds']
    if choices and value not in choices:
        raise UserError(f'{name}={value!r} is invalid: choose from {", ".join(choices)}.')
    if type(value) not in (int, float) or bounds.hold(value):
        return
    valid = str(bounds)
    if not math.isfinite(value):
        valid = f'{valid}, and a finite number' if valid else 'a finite number'
    number = f'{value:g}' if isinstance(value, float) else value
    raise UserError(f'{name}={number} is invalid: write {valid}.')


def from_text(name: str, text: str, its_field: Field) -> Any:
    """Parses a text from the command line.

    Raises:
      UserError: the text is not of the type of the field.
    """
    parse = _PARSERS[its_field.type]
    try:
        return parse(text)
    except (KeyError, ValueError):
        raise wrong_type(name, text, its_field) from None


def wrong_type(name: str, value: Any, its_field: Field) -> UserError:
    """Returns the error for a value that is not of the type of the field."""
    return UserError(
        f"Config key '{name}' takes {_TYPE_NAMES[its_field.type]}, not {value!r} "
        f'(default: {its_field.default!r}).'
    )


BOOLEANS = {
    **dict.fromkeys(('true', 't', '1', 'yes', 'y', 'on'), True),
    **dict.fromkeys(('false', 'f', '0', 'no', 'n', 'off'), False),
}
_PARSERS: dict[object, Callable[[str], Any]] = {
    int: int,
    float: float,
    str: str,
    bool: lambda text: BOOLEANS[text.lower()],
}
_TYPE_NAMES: dict[object, str] = {
    int: 'a whole number',
    float: 'a number',
    str: 'text',
    bool: 'True or False',
}
