"""Denoising a photograph: the U-Net compared with BM3D, which is given the noise level."""

from collections.abc import Iterator

import jax
import numpy as np

from n2n_jax import models
from n2n_jax.bench.speed.report import Row
from n2n_jax.bench.speed.timing import medians_in_turns
from n2n_jax.data.sources import photos
from n2n_jax.denoise.denoiser import Denoiser
from n2n_jax.runtime.config import ModelConfig


def rows(quick: bool) -> Iterator[Row]:
    """Measures seconds for a color image; skipped if `quick`, as BM3D takes a minute."""
    if quick:
        return
    import bm3d

    config = ModelConfig(name='unet')
    variables = jax.jit(lambda: models.init(config, jax.random.key(0)))()
    denoiser = Denoiser(config, variables, step=0)
    clean_HWC = np.tile(photos.photos()['astronaut'], (2, 3, 1)).astype(np.float32) / 255
    noise_HWC = np.random.default_rng(0).normal(0, 25 / 255, clean_HWC.shape)
    noisy_HWC = clean_HWC + noise_HWC.astype(np.float32)
    ours = medians_in_turns({'ours': lambda: denoiser(noisy_HWC)})['ours']
    theirs = medians_in_turns(
        {'BM3D': lambda: bm3d.bm3d_rgb(noisy_HWC, 25 / 255)}, repeats=1, warm_ups=0
    )['BM3D']
    height, width, _ = noisy_HWC.shape
    yield Row(f'denoising of a {width}x{height} photograph', ours, theirs, 's', 'BM3D')
