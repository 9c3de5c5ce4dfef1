"""Reads, filters and packs TIFF directories and their tags.

Values are little-endian in memory, whatever the byte order of the file.
"""

import contextlib
import io
import struct
from collections.abc import Sequence
from typing import BinaryIO, Literal, NamedTuple

import numpy as np

ByteOrder = Literal['<', '>']

# Bytes per value, and per number in it, by tag type: a rational is two numbers (TIFF 6.0, p. 15).
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_NUMBER_BYTES = _TYPE_BYTES | {5: 4, 10: 4}
ASCII, SHORT, LONG, RATIONAL, UNDEFINED, LONG8 = 2, 3, 4, 5, 7, 16
_FORMATS = {SHORT: 'H', LONG: 'I', RATIONAL: 'I', LONG8: 'Q'}

DESCRIPTION = 270
ICC_PROFILE = 34675
_DIRECTORIES = frozenset((34665, 34853, 40965))  # EXIF, GPS, interoperability
MOST_TAGS = 4096  # per directory, tifffile's limit
_MOST_DIRECTORIES = 16  # nested in one; damaged pointers could lead to thousands
# Tags about sample layout, other images in the file, or its old pixels (37724: Photoshop's layers).
# All others are kept.
_OF_THE_PIXELS = frozenset(
    [code for first, last in (
        (254, 259), (262, 266), (277, 281), (288, 293), (320, 325), (338, 341), (512, 521),
        (529, 532),
    ) for code in range(first, last + 1)]
    + [273, 284, 301, 317, 330, 332, 334, 336, 347, 400, ICC_PROFILE, 37724]
)  # fmt: skip


class Tag(NamedTuple):
    """An entry of a directory.

    Attributes:
      code: TIFF tag code.
      kind: TIFF type code of its values.
      length: number of values.
      value: their bytes, little-endian; or a nested directory.
    """

    code: int
    kind: int
    length: int
    value: 'bytes | list[Tag]'


def number_tag(code: int, kind: int, *values: int) -> Tag:
    """Returns a tag of integers; rationals as alternating numerators and denominators."""
    count = len(values) // 2 if kind == RATIONAL else len(values)
    return Tag(code, kind, count, struct.pack(f'<{len(values)}{_FORMATS[kind]}', *values))


def text_tag(code: int, text: bytes) -> Tag:
    """Returns a tag of text."""
    return Tag(code, ASCII, len(text) + 1, text + b'\0')


def icc_profile_tag(icc_profile: bytes) -> Tag:
    """Returns the tag of a color profile."""
    return Tag(ICC_PROFILE, UNDEFINED, len(icc_profile), icc_profile)


def preserved(tags: Sequence[Tag]) -> list[Tag]:
    """Returns the tags that remain valid when pixels change, without the color profile."""
    return [tag for tag in tags if tag.code not in _OF_THE_PIXELS]


def read_directory(file: BinaryIO, offset: int, order: ByteOrder, big: bool = False) -> list[Tag]:
    """Reads the tags of the directory at `offset`; damaged ones are skipped."""
    return _read_directory(file, offset, order, big, {offset})


def _read_directory(
    file: BinaryIO, offset: int, order: ByteOrder, big: bool, seen: set[int]
) -> list[Tag]:
    """Implements `read_directory`; nested directories at `seen` offsets are skipped."""
    count_format, entry_format = ('Q', 'HHQ8s') if big else ('H', 'HHI4s')
    end = file.seek(0, io.SEEK_END)
    if offset >= end:
        return []
    file.seek(offset)
    (length,) = struct.unpack(order + count_format, file.read(struct.calcsize('=' + count_format)))
    if length > MOST_TAGS:
        return []
    entry_bytes = struct.calcsize('=' + entry_format)
    table = file.read(length * entry_bytes)
    table = table[: len(table) - len(table) % entry_bytes]
    tags = []
    for code, kind, count, field in struct.iter_unpack(order + entry_format, table):
        position = struct.unpack(order + ('Q' if big else 'I'), field)[0]
        if code in _DIRECTORIES:
            if position in seen or len(seen) > _MOST_DIRECTORIES:
                continue
            seen.add(position)
            with contextlib.suppress(struct.error):
                if below := _read_directory(file, position, order, big, seen):
                    tags.append(Tag(code, LONG, 1, below))
            continue
        size = count * _TYPE_BYTES.get(kind, 0)
        if size > len(field):
            if position + size > end:
                continue
            file.seek(position)
            value = file.read(size)
        else:
            value = field[:size]
        if size and len(value) == size:
            tags.append(Tag(code, kind, count, _swapped(value, kind, order)))
    return tags


def exif_tags(exif: bytes) -> list[Tag]:
    """Reads the preserved tags of the first directory of an EXIF block."""
    order: ByteOrder = '>' if exif.startswith(b'MM') else '<'
    try:
        (offset,) = struct.unpack(order + 'I', exif[4:8])
        tags = read_directory(io.BytesIO(exif), offset, order)
    except struct.error:  # damaged EXIF is common and no reason to fail
        return []
    return preserved(tags)


def packed_directory(
    tags: Sequence[Tag],
    offset: int,
    *,
    order: ByteOrder = '<',
    big: bool = False,
    is_last: bool = True,
) -> bytes:
    """Packs a directory for writing at a byte offset.

    Args:
      tags: in any order.
      offset: its position in the file, even.
      order: byte order, '<' or '>'.
      big: in BigTIFF format.
      is_last: whether it is the last directory; otherwise the next one must follow immediately.
    """
    count_format, word = ('Q', 'Q') if big else ('H', 'I')
    word_bytes = struct.calcsize('=' + word)
    head = struct.calcsize('=' + count_format) + (4 + 2 * word_bytes) * len(tags) + word_bytes
    entries = []
    values = bytearray()
    for tag in sorted(tags, key=lambda tag: tag.code):
        position = offset + head + len(values)
        if isinstance(tag.value, bytes):
            value = _swapped(tag.value, tag.kind, order)
        else:
            value = packed_directory(tag.value, position, order=order, big=big)
        if isinstance(tag.value, bytes) and len(value) <= word_bytes:
            field = value.ljust(word_bytes, b'\0')
        else:
            field = struct.pack(order + word, position)
            values += value + bytes(len(value) % 2)
        entries.append(struct.pack(f'{order}HH{word}', tag.code, tag.kind, tag.length) + field)
    following = 0 if is_last else offset + head + len(values)
    return b''.join(
        (
            struct.pack(order + count_format, len(tags)),
            *entries,
            struct.pack(order + word, following),
            values,
        )
    )


def _swapped(value: bytes, kind: int, order: ByteOrder) -> bytes:
    """Converts values between byte order `order` and little-endian, in either direction."""
    size = 8 if kind == LONG8 else _NUMBER_BYTES[kind]
    if order == '<' or size == 1:
        return value
    return np.frombuffer(value, f'>u{size}').astype(f'<u{size}').tobytes()
