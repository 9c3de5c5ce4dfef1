"""The chain of directories of a TIFF file, followed once before anything else is read.

By hand, because tifffile leaves out directories that are cut off or damaged with no more than a
line in its log, and follows pointers that lead in a circle forever.
"""

import io
import struct
from typing import BinaryIO, NamedTuple

from n2n_jax.images.codecs.tiff_tags import MOST_TAGS
from n2n_jax.runtime.errors import UserError


class Chain(NamedTuple):
    """Where the directories are.

    Attributes:
      order: of bytes, '<' or '>'.
      big: BigTIFF.
      offsets: of the directories, one a page.
    """

    order: str
    big: bool
    offsets: tuple[int, ...]


def chain(file: BinaryIO) -> Chain:
    """Follows the directories from the head of a file to the last.

    Raises:
      UserError: they lead in a circle.
      EOFError: one of them is not there or not whole.
    """
    end = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(16)
    order = '>' if head[:2] == b'MM' else '<'
    big = head[2:4] in (b'+\0', b'\0+')
    count_format, word, entry_bytes = ('Q', 'Q', 20) if big else ('H', 'I', 12)
    word_bytes, count_bytes = struct.calcsize('=' + word), struct.calcsize('=' + count_format)
    pointer = head[8:16] if big else head[4:8]
    found: dict[int, None] = {}  # in order
    while len(pointer) == word_bytes:
        (offset,) = struct.unpack(order + word, pointer)
        if not offset:
            break
        if offset in found:
            raise UserError('is damaged: its pages point at each other in a circle.')
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
