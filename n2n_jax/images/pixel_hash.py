"""Hash of an image's pixels, independent of file name, format and location.

H height, W width, C channels.
"""

import hashlib

import numpy as np


def pixel_hash(image_HWC: np.ndarray) -> str:
    """Returns the SHA-256 of type, shape and values of an image as read from its source."""
    little_endian = image_HWC.dtype.newbyteorder('<')
    kind = f'{image_HWC.dtype.name} {image_HWC.shape}'
    digest = hashlib.sha256(kind.encode())
    digest.update(np.ascontiguousarray(image_HWC, little_endian).tobytes())
    return digest.hexdigest()


def key_words(digest: str) -> tuple[int, int]:
    """Returns the first 64 bits of a hash as two integers to fold into a random key."""
    return int(digest[:8], 16), int(digest[8:16], 16)
