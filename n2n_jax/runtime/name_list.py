"""Lists of names in sentences."""

from collections.abc import Iterable


def listed(things: Iterable[object], most: int = 5) -> str:
    """Joins the first names, and counts the others: 'a, b, c, d, e and 3 more'.

    Args:
      things: what to name.
      most: how many to name.
    """
    names = [str(thing) for thing in things]
    more = len(names) - most
    return ', '.join(names[:most]) + (f' and {more} more' if more > 0 else '')
