"""The one error a person can cause."""


class UserError(ValueError):
    """Something the user can put right.

    The message is one or two plain sentences: what is wrong, with the file or the number, and what
    to write instead. Programs show it without a traceback and exit with status 2.
    """
