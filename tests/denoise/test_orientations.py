"""The eight flips and rotations."""

import numpy as np

from n2n_jax.denoise.orientations import ORIENTATIONS, oriented, oriented_back


def test_there_are_eight_orientations_and_each_can_be_undone():
    image = np.arange(24).reshape(4, 3, 2)
    seen = {oriented(image, o).tobytes() for o in ORIENTATIONS}
    assert len(seen) == 8
    for o in ORIENTATIONS:
        np.testing.assert_array_equal(oriented_back(oriented(image, o), o), image)
