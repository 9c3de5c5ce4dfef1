"""The order that people expect of numbered names."""

import re

Key = list[str | tuple[int, str]]


def natural_key(text: str) -> Key:
    """Sorts 'img2' before 'img10', whatever the case of the letters."""
    # Splitting at digits puts text at even and numbers at odd places, so that like meets like.
    parts = re.split(r'(\d+)', text.casefold())
    return [_number(part) if i % 2 else part for i, part in enumerate(parts)]


def _number(digits: str) -> tuple[int, str]:
    """Sorts as the number does, which Python does not make of thousands of digits."""
    digits = digits.lstrip('0')
    return len(digits), digits
