"""An image told by its pixels, wherever it was read from and whatever its file is called.

H height, W width, C channels.
"""

import hashlib

import numpy as np


def pixel_hash(image_HWC: np.ndarray) -> str:
    """SHA-256 over type, shape and values of an image as a source reads it, before any change."""
    little_endian = image_HWC.dtype.newbyteorder('<')
    kind = f'{image_HWC.dtype.name} {image_HWC.shape}'
    digest = hashlib.sha256(kind.encode())
    digest.update(np.ascontiguousarray(image_HWC, little_endian).tobytes())
    return digest.hexdigest()


def key_words(digest: str) -> tuple[int, int]:
    """The first 64 bits of a hash, as two numbers to fold into a random key."""
    return int(digest[:8], 16), int(digest[8:16], 16)
