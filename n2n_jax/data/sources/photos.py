"""Six color photographs that come with scikit-image.

The files are read directly from the installed package, because `skimage.data` downloads files that
it does not find there. H height, W width, C channels.
"""

import importlib.resources

import numpy as np
from PIL import Image

# Those in the scikit-image wheels (0.25 and 0.26); most of `skimage.data` is downloaded on demand.
_FILES = {
    'astronaut': 'astronaut.png',
    'chelsea': 'chelsea.png',
    'coffee': 'coffee.png',
    'rocket': 'rocket.jpg',
    'immunohistochemistry': 'ihc.png',
    'motorcycle_left': 'motorcycle_left.png',
}

PHOTO_NAMES: tuple[str, ...] = tuple(_FILES)


def photos() -> dict[str, np.ndarray]:
    """Reads the photographs, without network access.

    Returns:
      name -> uint8 image_HWC with C = 3, in the order of `PHOTO_NAMES`, with sides of 300 to 741
      pixels. `immunohistochemistry` is a micrograph of stained tissue; `motorcycle_left` is the
      left image of a stereo pair.
    """
    folder = importlib.resources.files('skimage') / 'data'
    images = {}
    for name, file in _FILES.items():
        with (folder / file).open('rb') as stream, Image.open(stream) as image:
            images[name] = np.array(image.convert('RGB'))
    return images
