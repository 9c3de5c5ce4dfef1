"""Captures of a photograph, in 8-bit units.

H height, W width, C channels.
"""

import numpy as np

NOISE = 8.0


def noisy(image_HWC, seed):
    return image_HWC + NOISE * np.random.default_rng(seed).standard_normal(image_HWC.shape)
