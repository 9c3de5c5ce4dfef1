"""Natural sort order: 'img2' before 'img10'."""

import re

Key = list[str | tuple[int, str]]


def natural_key(text: str) -> Key:
    """Returns a case-insensitive sort key that orders 'img2' before 'img10'."""
    # Splitting at digits puts text at even and numbers at odd indices, so only like is compared.
    parts = re.split(r'(\d+)', text.casefold())
    return [_number(part) if i % 2 else part for i, part in enumerate(parts)]


def _number(digits: str) -> tuple[int, str]:
    """Returns a key that sorts as int(digits), which Python refuses for thousands of digits."""
    digits = digits.lstrip('0')
    return len(digits), digits
