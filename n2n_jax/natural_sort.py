"""The order that people expect of numbered names."""

import re


def natural_key(text: str) -> list[str | int]:
    """Sorts 'img2' before 'img10', whatever the case of the letters."""
    # Splitting at digits puts text at even and numbers at odd places, so that like meets like.
    parts = re.split(r'(\d+)', text.casefold())
    return [int(part) if i % 2 else part for i, part in enumerate(parts)]
