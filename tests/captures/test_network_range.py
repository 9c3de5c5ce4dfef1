"""Pixel values are mapped to the range of the network."""

import numpy as np

from n2n_jax.captures import network_range


def test_values_in_blocks_are_the_values_at_once():
    rng = np.random.default_rng(0)
    for shape in ((2, 1100, 1000, 1), (1100, 1000, 3), (5, 7)):
        pixels = rng.integers(0, 4000, shape).astype(np.uint16)
        want = ((pixels.astype(np.float64) - 100.5) / 3001.25).astype(np.float32)
        np.testing.assert_array_equal(network_range.to_network(pixels, 100.5, 3101.75), want)
