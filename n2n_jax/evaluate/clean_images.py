"""The clean images that an evaluation adds its noise to.

H height, W width, C channels, P channels of auxiliary planes.
"""

import numpy as np

from n2n_jax.data.sources import guided
from n2n_jax.data.sources.source import ImageSource, to_float, with_channels
from n2n_jax.evaluate.metrics import Metric
from n2n_jax.images.pixel_hash import pixel_hash
from n2n_jax.models import planes
from n2n_jax.runtime.config import ModelConfig
from n2n_jax.runtime.errors import UserError


class CleanImages:
    """An evaluation set: images in the network's format and hashes of their pixels.

    Args:
      name: name of the set in `eval.sets`.
      source: reads the images.
      replicas: number of noisy versions of each image.
      model: of the network that sees them: its channels and its planes.
      most: use only the first `most` images; 0: all.
      demanding: the metric that needs the largest images.

    Raises:
      UserError: an image is too small for the metric, or the source lacks a plane.
    """

    def __init__(
        self,
        name: str,
        source: ImageSource,
        replicas: int,
        *,
        model: ModelConfig,
        most: int,
        demanding: Metric,
    ):
        self.name, self._source, self.replicas = name, source, replicas
        self._channels = model.channels
        self._wanted = planes.given(model)
        guided.check_planes(source, self._wanted, f'the evaluation set {name}')
        num_images = min(len(source.names), most or len(source.names))
        self.names = source.names[:num_images]
        self.sizes = [source.size(i) for i in range(num_images)]
        self._hashes: dict[int, str] = {}
        for image_name, (height, width) in zip(self.names, self.sizes, strict=True):
            if min(height, width) < demanding.smallest_side:
                raise UserError(
                    f'{image_name} of the evaluation set {name} is {width}x{height}, but '
                    f'{demanding.title} needs at least {demanding.smallest_side} pixels a side: '
                    'remove it from the set.'
                )

    def read(self, i: int) -> np.ndarray:
        """Reads image i, (H, W, C) float32 in [0, 1]."""
        image_HWC = self._source.read(i)
        if i not in self._hashes:
            self._hashes[i] = pixel_hash(image_HWC)
        return to_float(with_channels(image_HWC, self._channels))

    def read_planes(self, i: int) -> np.ndarray:
        """Reads the planes of image i, of which there is one at least: (H, W, P), in [0, 1]."""
        found = [to_float(plane) for plane in guided.read_planes(self._source, i, self._wanted)]
        return np.concatenate(found, axis=-1)

    def hash(self, i: int) -> str:
        """Returns the `pixel_hash` of image i."""
        if i not in self._hashes:
            self.read(i)
        return self._hashes[i]

    def hashes(self) -> list[str]:
        """Returns the hashes of all images, in order."""
        return [self.hash(i) for i in range(len(self.names))]
