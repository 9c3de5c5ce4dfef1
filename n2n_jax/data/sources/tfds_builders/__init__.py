"""TensorFlow Datasets builders for the usual benchmark sets of denoising.

Importing this package registers them with TFDS. `checksums.tsv` beside it holds the SHA-256 of
every file with fixed content; TFDS refuses a download that differs.
"""

from n2n_jax.data.sources.tfds_builders.bsds500 import Bsds500
from n2n_jax.data.sources.tfds_builders.kodak24 import Kodak24
from n2n_jax.data.sources.tfds_builders.set14 import Set14

__all__ = ['Bsds500', 'Kodak24', 'Set14']
