"""Sets of captures with nothing wrong, of every kind that comes to mind.

N captures of a scene, H height, W width, C channels.
"""

import functools

import numpy as np
from scipy import ndimage

from n2n_jax.data.sources import dead_leaves, photos

SCENES = ('flat', 'ramp', 'photo', 'leaves', 'spots', 'cells', 'grating')
NOISES = ('gaussian', 'poisson', 'mixed')
TYPES = ('uint8', 'uint16', 'float32')
SIDES = (32, 48, 64, 96, 128, 192, 256)
LEVELS = (2.0, 6.0, 15.0, 30.0)  # standard deviation in the middle of the range of 255


@functools.cache
def _photos():
    return tuple(photos.photos().values())


@functools.cache
def _leaves(index):
    return dead_leaves.dead_leaves_image(7, index, 256)


def _scene(kind, side, channels, rng):
    """(H, W, C) from 0 to 1; some are as wide as high, others not."""
    h, w = side, int(side * rng.choice([1, 1, 1.5]))
    rows, columns = np.mgrid[:h, :w]
    if kind == 'flat':
        image_HW = np.full((h, w), rng.uniform(0.2, 0.8))
    elif kind == 'ramp':
        a = rng.uniform(0, 2 * np.pi)
        image_HW = np.cos(a) * rows / h + np.sin(a) * columns / w
        image_HW = (image_HW - image_HW.min()) / np.ptp(image_HW)
    elif kind in ('photo', 'leaves'):
        image_HWC = _photos()[rng.integers(6)] if kind == 'photo' else _leaves(rng.integers(6))
        h, w = min(h, image_HWC.shape[0]), min(w, image_HWC.shape[1])
        top = rng.integers(image_HWC.shape[0] - h + 1)
        left = rng.integers(image_HWC.shape[1] - w + 1)
        image_HWC = image_HWC[top : top + h, left : left + w] / 255.0
        return image_HWC if channels == 3 else image_HWC.mean(axis=-1, keepdims=True)
    elif kind == 'spots':
        image_HW = np.zeros((h, w))
        count = max(3, h * w // 600)
        at = rng.integers(h, size=count), rng.integers(w, size=count)
        image_HW[at] = rng.uniform(0.2, 1, count)
        image_HW = ndimage.gaussian_filter(image_HW, rng.uniform(0.8, 2))
        image_HW /= image_HW.max()
    elif kind == 'cells':
        image_HW = ndimage.gaussian_filter(rng.normal(size=(h, w)), rng.uniform(3, 10))
        image_HW = np.clip(image_HW / np.abs(image_HW).max(), 0, 1)
    else:
        a, period = rng.uniform(0, np.pi), rng.uniform(5, 20)
        phase = (np.cos(a) * rows + np.sin(a) * columns) / period
        image_HW = 0.5 + 0.5 * np.sin(2 * np.pi * phase)
    tint_C = rng.uniform(0.5, 1, channels) if channels == 3 else np.ones(1)
    return image_HW[..., None] * tint_C


def clean_set(seed, *, kind=None, side=None, noise=None, level=None, number=None):
    """What is in the set, and captures_NHWC; a pure function of the arguments."""
    rng = np.random.default_rng([11, seed])
    kind = kind or SCENES[rng.integers(len(SCENES))]
    side = side or SIDES[rng.integers(len(SIDES))]
    noise = noise or NOISES[rng.integers(len(NOISES))]
    level = level or LEVELS[rng.integers(len(LEVELS))]
    number = number or int(rng.integers(2, 6))
    channels = 3 if rng.random() < 0.3 else 1
    of_type = TYPES[rng.integers(len(TYPES))]
    scene_HWC = _scene(kind, side, channels, rng)
    # Nothing is to be clipped: four standard deviations of room at both ends, but for photon
    # counts, which may be 0.
    photons = noise == 'poisson' and rng.random() < 0.5
    black = 0.0 if photons else 5 * level
    clean_HWC = black + scene_HWC * 127
    gain = level**2 / 127
    captures = []
    for _ in range(number):
        x = clean_HWC
        if noise != 'gaussian':
            part = 1.0 if noise == 'poisson' else 0.7
            # Photons of the scene and, unless black is no light at all, of the background.
            x = part * gain * rng.poisson(clean_HWC / (part * gain))
        if noise != 'poisson':
            x = x + rng.normal(0, level * (1.0 if noise == 'gaussian' else 0.7), x.shape)
        captures.append(x)
    x_NHWC = np.stack(captures)
    if of_type == 'float32':
        x_NHWC = np.float32(x_NHWC * rng.choice([1 / 255, 1, 1000]))
    else:
        # 8 bits as they are if they fit; 12 bits in 16.
        of_type = of_type if x_NHWC.max() < 254 and x_NHWC.min() >= 0 else 'uint16'
        if of_type == 'uint16':
            x_NHWC = 8 * x_NHWC + (100 if x_NHWC.min() > 0 else 0)
            if x_NHWC.min() < 0:
                x_NHWC = x_NHWC - x_NHWC.min() + 10
        x_NHWC = np.rint(x_NHWC).astype(of_type)
    what = f'{seed}: {kind} {x_NHWC.shape} {noise} {level:g} {x_NHWC.dtype}'
    return what + (' counts' if photons else ''), x_NHWC
