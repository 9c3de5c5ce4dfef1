"""Errors that end a program with a sentence instead of a traceback."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """An error that the user can fix.

    The message is one or two plain sentences: what is wrong, with the file or the number, and what
    to do about it. Programs show it without a traceback and exit with status 2.
    """


class CheckpointError(OSError):
    """A checkpoint could not be written."""


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Returns a sentence with the closest choice, or with all choices if none is close."""
    choices = list(choices)
    close = difflib.get_close_matches(word, choices, n=1)
    if close:
        return f"Did you mean '{close[0]}'?"
    return f'Choose from: {", ".join(choices)}.'
