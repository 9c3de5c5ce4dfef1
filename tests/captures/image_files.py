"""Small image files, for tests that find and read captures."""

import random

import numpy as np

from n2n_jax.images import image_io


def image(value=0, shape=(6, 8)):
    return np.full(shape, value, np.uint8)


def save(folder, *names):
    """Writes files in shuffled order, with distinct pixel values."""
    order = list(enumerate(names))
    random.Random(0).shuffle(order)
    for value, name in order:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image_io.write_pixels(path, image(value))


def names(scenes):
    return {scene.name: [capture.path.name for capture in scene.captures] for scene in scenes}


def noise(*shape, dtype=np.uint16):
    return np.random.default_rng(0).integers(1, 200, size=shape).astype(dtype)
