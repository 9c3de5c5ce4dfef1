"""Which files are read, by the endings of their names; the one list of them."""

from collections.abc import Iterable
from pathlib import Path

PICTURE_SUFFIXES = ('.png', '.tif', '.tiff', '.jpg', '.jpeg', '.bmp', '.webp')
NUMPY_SUFFIXES = ('.npy', '.npz')
EXR_SUFFIX = '.exr'
TIFF_SUFFIXES = ('.tif', '.tiff')
OTHER_SUFFIXES = (*NUMPY_SUFFIXES, EXR_SUFFIX)
SUFFIXES = (*PICTURE_SUFFIXES, *OTHER_SUFFIXES)


def suffix_of(path: Path) -> str:
    """The ending of a name in small letters, with its dot."""
    return path.suffix.lower()


def either(words: Iterable[str]) -> str:
    """'a, b or c'."""
    *others, last = words
    return f'{", ".join(others)} or {last}' if others else last
