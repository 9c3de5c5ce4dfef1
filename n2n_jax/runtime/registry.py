"""Registries of choices by name, to which a user's own file may add, see `user_code`.

Adding is one line, in the project and in a file of one's own: `models.REGISTRY['mine'] = Mine`. A
file of one's own cannot replace what is there, and adds all of its entries or none.
"""

import collections
import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from n2n_jax.runtime.errors import UserError

T = TypeVar('T')

_NAME = re.compile('[a-z][a-z0-9_]*')  # what the specs of configs can spell


class Registry(collections.UserDict[str, T]):
    """Choices by name.

    Attributes:
      what: kind of its entries, for messages, such as 'network'.
    """

    def __init__(
        self,
        what: str,
        entries: Mapping[str, T],
        *,
        takes: str,
        holds: Callable[[Any], bool] = callable,
    ):
        """Makes a registry.

        Args:
          what: see above.
          entries: those of the project.
          takes: what an entry is, in words.
          holds: checks whether a value can be an entry.
        """
        super().__init__()
        self.data.update(entries)  # the module of a registry may be imported by a user's file
        self.what, self._takes, self._holds = what, takes, holds
        self._files: dict[str, str] = {}  # files of users by the name that they added

    def __setitem__(self, name: str, entry: T) -> None:
        """Adds an entry.

        Raises:
          UserError: a user's file adds it, and the name is taken or invalid, or the entry is of
            another kind.
        """
        if _addition is not None:
            self._check(_addition.file, name, entry)
            self._files[name] = _addition.file
            _addition.made.append((self, name))
        super().__setitem__(name, entry)

    def __delitem__(self, name: str) -> None:
        """Removes an entry."""
        super().__delitem__(name)
        self._files.pop(name, None)

    def added_by(self, name: str) -> str:
        """Returns the user's file that has added an entry; '' for those of the project."""
        return self._files.get(name, '')

    def _check(self, file: str, name: str, entry: T) -> None:
        if name in self._files:
            raise UserError(
                f"{file} adds the {self.what} '{name}', and so has {self._files[name]}, with other "
                'code: one program can use only one of them. Use them in separate programs, or '
                'give one another name and train it again.'
            )
        if name in self:
            raise UserError(
                f"{file} adds the {self.what} '{name}', but n2n_jax has one of that name: choose "
                'another.'
            )
        if not (isinstance(name, str) and _NAME.fullmatch(name)):
            raise UserError(
                f'{file} adds the {self.what} {name!r}: write a name of lower-case letters, digits '
                "and '_' that begins with a letter."
            )
        if not self._holds(entry):
            raise UserError(
                f"{file} adds the {self.what} '{name}', which is {entry!r}: it must be "
                f'{self._takes}.'
            )
        own_name = getattr(entry, 'name', name)
        if isinstance(own_name, str) and own_name != name:
            raise UserError(
                f"{file} adds the {self.what} '{name}', whose own name is '{own_name}': make them "
                'the same.'
            )


class _Addition:
    """What a user's file has added so far."""

    def __init__(self, file: str):
        self.file = file
        self.made: list[tuple[Registry[Any], str]] = []


_addition: _Addition | None = None  # of the file that is being run


@contextlib.contextmanager
def adding(file: str) -> Iterator[list[tuple[Registry[Any], str]]]:
    """Lets a user's file add entries; if the body fails, what it added is removed.

    Args:
      file: its path, for messages.

    Yields:
      What was added so far: registries and names.
    """
    global _addition
    outer, _addition = _addition, _Addition(file)
    made = _addition.made
    try:
        yield made
    except BaseException:
        for entries, name in made:
            del entries[name]
        raise
    finally:
        _addition = outer
