"""Supported file name suffixes; the only list of them."""

from collections.abc import Iterable
from pathlib import Path

PICTURE_SUFFIXES = ('.png', '.tif', '.tiff', '.jpg', '.jpeg', '.bmp', '.webp')
NUMPY_SUFFIXES = ('.npy', '.npz')
EXR_SUFFIX = '.exr'
TIFF_SUFFIXES = ('.tif', '.tiff')
OTHER_SUFFIXES = (*NUMPY_SUFFIXES, EXR_SUFFIX)
SUFFIXES = (*PICTURE_SUFFIXES, *OTHER_SUFFIXES)


def suffix_of(path: Path) -> str:
    """Returns the suffix in lower case, with its dot."""
    return path.suffix.lower()


def either(words: Iterable[str]) -> str:
    """Joins words as 'a, b or c'."""
    *others, last = words
    return f'{", ".join(others)} or {last}' if others else last
