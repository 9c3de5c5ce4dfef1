"""Kodak24: the 24 scanned photographs of the Kodak Lossless True Color Image Suite."""

import re

import tensorflow_datasets as tfds

from n2n_jax.data.sources.tfds_builders.image_set import ImageSet

# Rich Franzen's page, the usual source of the suite.
_HOME = 'https://r0k.us/graphics/kodak'

_DESCRIPTION = """
24 photographs of 768x512 or 512x768 pixels; not the variant cropped to 500x500 that some denoising
repositories distribute under the same name.
"""


class Kodak24(ImageSet):
    """The Kodak suite: split 'test', ids kodim01 to kodim24."""

    name = 'kodak24'
    URLS = {f'kodim{i:02}': f'{_HOME}/kodak/kodim{i:02}.png' for i in range(1, 25)}  # noqa: RUF012
    MANUAL_DOWNLOAD_INSTRUCTIONS = 'A folder with kodim01.png (or 01.png) to kodim24.png inside.'
    COUNTS = {'test': 24}  # noqa: RUF012
    SIZES = frozenset({(768, 512), (512, 768)})

    def _info(self) -> tfds.core.DatasetInfo:
        return self.describe(
            description=_DESCRIPTION,
            homepage=f'{_HOME}/',
            license='Released by the Eastman Kodak Company for unrestricted usage (homepage).',
        )

    def image_id(self, stem: str) -> str:
        """Returns the id from a file name; copies call the first image kodim01, 01 or 1."""
        number = re.search(r'[0-9]+$', stem)
        return f'kodim{int(number[0]):02}' if number else stem
