"""Image files on disk: one reader for all formats.

`open_image` yields an `ImageFile`: its frames, and the rows of each. Training, evaluation and
`n2n denoise` all read through it, so they see the same pixels in every file.
"""

from n2n_jax.images.frames import KINDS, Frame, Metadata
from n2n_jax.images.image_file import ImageFile, open_image
from n2n_jax.images.suffixes import OTHER_SUFFIXES, PICTURE_SUFFIXES, SUFFIXES

__all__ = [
    'KINDS',
    'OTHER_SUFFIXES',
    'PICTURE_SUFFIXES',
    'SUFFIXES',
    'Frame',
    'ImageFile',
    'Metadata',
    'open_image',
]
