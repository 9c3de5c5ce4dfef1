"""Set14: fourteen varied test images, among them photographs, a comic and a slide."""

import tensorflow_datasets as tfds

from n2n_jax.data.sources.tfds_builders.image_set import ImageSet

_NAMES = (
    'baboon', 'barbara', 'bridge', 'coastguard', 'comic', 'face', 'flowers',
    'foreman', 'lenna', 'man', 'monarch', 'pepper', 'ppt3', 'zebra',
)  # fmt: skip

# The set no longer has a page of its own: this is the copy of DnCNN's authors, pinned to a commit.
_HOME = 'https://raw.githubusercontent.com/cszn/DnCNN/e93b27812d3ff523a3a79d19e5e50d233d7a8d0a'

_DESCRIPTION = """
14 images of 250x361 to 768x512 pixels. 'bridge' is gray and is stored as RGB by repetition.
"""
_CITATION = """
@inproceedings{zeyde2010single,
  title={On Single Image Scale-Up Using Sparse-Representations},
  author={Zeyde, Roman and Elad, Michael and Protter, Matan},
  booktitle={Curves and Surfaces}, pages={711--730}, year={2010}
}
"""


class Set14(ImageSet):
    """Set14 (Zeyde et al. 2010): split 'test', ids as in DnCNN's copy."""

    name = 'set14'
    URLS = {name: f'{_HOME}/testsets/Set14/{name}.bmp' for name in _NAMES}  # noqa: RUF012
    MANUAL_DOWNLOAD_INSTRUCTIONS = 'A folder with the 14 images inside (baboon.bmp, ...).'
    COUNTS = {'test': 14}  # noqa: RUF012

    def _info(self) -> tfds.core.DatasetInfo:
        return self.describe(
            description=_DESCRIPTION,
            homepage='https://github.com/cszn/DnCNN/tree/master/testsets/Set14',
            citation=_CITATION,
            license='Not stated; a test set of published research.',
        )
