"""BSDS500: photographs that denoisers are usually trained on, with BSDS300's test images."""

from pathlib import Path

import tensorflow_datasets as tfds

from n2n_jax.data.sources.tfds_builders.image_set import ImageFiles, ImageSet, image_paths

# The copy of the Berkeley Institute for Data Science, pinned to a commit. No checksum is
# registered, because GitHub does not guarantee that the archive of a commit stays byte-identical.
# It has over 140 MB, most of it segmentations.
URL = 'https://github.com/BIDS/BSDS500/archive/a04b7c6c3a9f0ace74bf205c72a43d32e1c72722.tar.gz'

_DESCRIPTION = """
500 photographs of 481x321 or 321x481 pixels. 'train' (200) is the training set of BSDS300, 'val'
(100) is the test set of BSDS300, called 'BSD300' in papers, and 'test' (200) was added by BSDS500.
Denoisers are trained on 'train+test' and tested on 'val'.
"""
_CITATION = """
@article{arbelaez2011contour,
  title={Contour Detection and Hierarchical Image Segmentation},
  author={Arbelaez, Pablo and Maire, Michael and Fowlkes, Charless and Malik, Jitendra},
  journal={IEEE Transactions on Pattern Analysis and Machine Intelligence},
  volume={33}, number={5}, pages={898--916}, year={2011}
}
"""


class Bsds500(ImageSet):
    """BSDS500 (Arbelaez et al. 2011): 'train', 'val' (BSDS300's test images) and 'test'."""

    name = 'bsds500'
    MANUAL_DOWNLOAD_INSTRUCTIONS = 'A folder with train/*.jpg, val/*.jpg and test/*.jpg inside.'
    COUNTS = {'train': 200, 'val': 100, 'test': 200}  # noqa: RUF012
    SIZES = frozenset({(481, 321), (321, 481)})

    def _info(self) -> tfds.core.DatasetInfo:
        return self.describe(
            description=_DESCRIPTION,
            homepage='https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/resources.html',
            citation=_CITATION,
            license='Research use; its authors ask that the paper be cited.',
        )

    def find_images(self, folder: Path) -> dict[str, ImageFiles]:
        """Finds the images of each split in the folder named after it."""
        paths = image_paths(folder)
        return {
            split: [(path.stem, path) for path in paths if path.parent.name == split]
            for split in self.COUNTS
        }

    def download_images(self, dl_manager: tfds.download.DownloadManager) -> dict[str, ImageFiles]:
        """Downloads the archive and finds the images in it."""
        return self.find_images(Path(dl_manager.download_and_extract(URL)))
