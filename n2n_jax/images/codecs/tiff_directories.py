"""Checks the chain of directories (IFDs) of a TIFF file before anything else is read.

By hand, because tifffile skips truncated or damaged directories with only a log line, and follows
circular pointers forever.
"""

import io
import struct
from typing import BinaryIO, NamedTuple

from n2n_jax.images.codecs.tiff_tags import MOST_TAGS, ByteOrder
from n2n_jax.runtime.errors import UserError


class Chain(NamedTuple):
    """Byte order and positions of the directories.

    Attributes:
      order: byte order, '<' or '>'.
      big: whether the file is a BigTIFF.
      offsets: byte offset of each directory, one per page.
    """

    order: ByteOrder
    big: bool
    offsets: tuple[int, ...]


def read_chain(file: BinaryIO) -> Chain:
    """Follows the directories from the file header to the last one.

    Raises:
      UserError: the chain is circular.
      EOFError: a directory is missing or truncated.
    """
    end = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(16)
    order: ByteOrder = '>' if head[:2] == b'MM' else '<'
    big = head[2:4] in (b'+\0', b'\0+')
    count_format, word, entry_bytes = ('Q', 'Q', 20) if big else ('H', 'I', 12)
    word_bytes, count_bytes = struct.calcsize('=' + word), struct.calcsize('=' + count_format)
    pointer = head[8:16] if big else head[4:8]
    found: dict[int, None] = {}  # an ordered set
    while len(pointer) == word_bytes:
        (offset,) = struct.unpack(order + word, pointer)
        if not offset:
            break
        if offset in found:
            raise UserError('is damaged: its pages form a loop.')
        found[offset] = None
        if offset >= end:
            raise EOFError(f'page {len(found)} is missing')
        file.seek(offset)
        count = file.read(count_bytes)
        num_tags = struct.unpack(order + count_format, count)[0] if len(count) == count_bytes else 0
        if not 0 < num_tags <= MOST_TAGS:
            raise EOFError(f'page {len(found)} is missing')
        file.seek(num_tags * entry_bytes, 1)
        pointer = file.read(word_bytes)
    else:
        raise EOFError(f'page {len(found) + 1} is missing')
    if not found:
        raise UserError('holds no images.')
    return Chain(order, big, tuple(found))
