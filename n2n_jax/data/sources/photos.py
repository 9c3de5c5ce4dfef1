"""Six color photographs that are already on the disk of everyone who has scikit-image.

The files are read straight from the installed package: `skimage.data` would look for a file it
does not find on the network. H height, W width, C channels.
"""

import importlib.resources

import numpy as np
from PIL import Image

# Only what the scikit-image wheels (0.25 and 0.26) contain; most of `skimage.data` is a download.
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
    """Reads the photographs; no network is needed or tried.

    Returns:
      name -> uint8 image_HWC with C = 3, in the order of `PHOTO_NAMES`, between 300 and 741 pixels
      a side. `immunohistochemistry` is a stained tissue under a microscope; `motorcycle_left` is
      the left image of a stereo pair.
    """
    folder = importlib.resources.files('skimage') / 'data'
    images = {}
    for name, file in _FILES.items():
        with (folder / file).open('rb') as stream, Image.open(stream) as image:
            images[name] = np.array(image.convert('RGB'))
    return images
