"""The fields of a config: each with its default, its help, and the values that are possible."""

import dataclasses
import math
from typing import Any

from n2n_jax.runtime.errors import UserError

Field = dataclasses.Field


@dataclasses.dataclass(frozen=True)
class Bounds:
    """What a number may be; floats are finite besides.

    Attributes:
      low, high: the ends.
      open_low, open_high: whether the ends themselves are left out.
    """

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def hold(self, value: float) -> bool:
        """Whether the value is possible. NaN and infinities never are."""
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return (isinstance(value, int) or math.isfinite(value)) and above and below

    def __str__(self) -> str:
        """What is possible, in words; '' for every finite number."""
        ends = []
        if math.isfinite(self.low):
            ends.append(f'above {self.low}' if self.open_low else f'{self.low} or more')
        if math.isfinite(self.high):
            ends.append(f'below {self.high}' if self.open_high else f'{self.high} or less')
        if len(ends) == 2 and not (self.open_low or self.open_high):
            return f'between {self.low} and {self.high}'
        return ' and '.join(ends)


def at_least(low: float) -> Bounds:
    """No smaller than `low`."""
    return Bounds(low)


def above(low: float) -> Bounds:
    """Larger than `low`."""
    return Bounds(low, open_low=True)


def field(
    default: Any, help: str, bounds: Bounds | None = None, *, choices: tuple[str, ...] = ()
) -> Any:
    """A field of a config.

    Args:
      default: its value where nothing else is said.
      help: what it does, as a sentence fragment with units.
      bounds: of a number.
      choices: of a text with few possible values.
    """
    metadata = {'help': help, 'bounds': bounds or Bounds(), 'choices': choices}
    return dataclasses.field(default=default, metadata=metadata)


def check_value(name: str, value: Any, its_field: Field) -> None:
    """Checks a value by itself.

    Args:
      name: of the key, for messages.
      value: of the type of the field.
      its_field: made by `field`.

    Raises:
      UserError: the value is not possible; says which are.
    """
    choices, bounds = its_field.metadata['choices'], its_field.metadata['bounds']
    if choices and value not in choices:
        raise UserError(f'{name}={value!r} is not possible: choose from {", ".join(choices)}.')
    if type(value) not in (int, float) or bounds.hold(value):
        return
    words = str(bounds)
    if not math.isfinite(value):
        words = f'{words}, and a finite number' if words else 'a finite number'
    number = f'{value:g}' if isinstance(value, float) else value
    raise UserError(f'{name}={number} is not possible: write {words}.')


def from_text(name: str, text: str, its_field: Field) -> Any:
    """The value that a text on the command line stands for.

    Raises:
      UserError: it stands for none of the type of the field.
    """
    kind = its_field.type
    try:
        return _TRUTH[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError):
        raise wrong_type(name, text, its_field) from None


def wrong_type(name: str, value: Any, its_field: Field) -> UserError:
    """The error for a value of another type than that of the field."""
    return UserError(
        f"Config key '{name}' takes {_ARTICLES[its_field.type]}, not {value!r} "
        f'(default: {its_field.default!r}).'
    )


_TRUTH = {
    **dict.fromkeys(('true', 't', '1', 'yes', 'y', 'on'), True),
    **dict.fromkeys(('false', 'f', '0', 'no', 'n', 'off'), False),
}
_ARTICLES = {int: 'a whole number', float: 'a number', str: 'text', bool: 'True or False'}
