"""Errors that end a program with a sentence in place of a traceback."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Something the user can put right.

    The message is one or two plain sentences: what is wrong, with the file or the number, and what
    to write instead. Programs show it without a traceback and exit with status 2.
    """


class CheckpointError(OSError):
    """A checkpoint could not be written."""


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """A sentence that names the closest choice, or all of them when none is close."""
    choices = list(choices)
    close = difflib.get_close_matches(word, choices, n=1)
    if close:
        return f"Did you mean '{close[0]}'?"
    return f'Choose from: {", ".join(choices)}.'
