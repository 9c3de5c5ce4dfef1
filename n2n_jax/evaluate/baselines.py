"""What one would try before training a network, as strong as it can fairly be made from captures.

N captures of a scene, H height, W width, C channels. Images are float32 in the range of the
network.
"""

import importlib.util
from collections.abc import Callable, Sequence

import numpy as np

from n2n_jax.captures.measure.measured_part import measured_part
from n2n_jax.captures.measure.noise_model import noise_model
from n2n_jax.evaluate import without_clean
from n2n_jax.evaluate.anscombe import Anscombe

Restore = Callable[[np.ndarray], np.ndarray]  # (H, W, C) float32 to the same

NLM = 'non-local means'
BM3D = 'BM3D with variance stabilization'

# To choose from, in units of the noise's standard deviation.
_NLM_STRENGTHS = (0.4, 0.6, 0.8, 1.0, 1.3)
_BM3D_STRENGTHS = (0.85, 1.0, 1.2)
_BM3D_STRENGTHS_RELATED = (1.0, 1.5, 2.0, 2.7)  # where the noise of neighbors is related
_BM3D_CROP = 128  # pixels a side of the part that its strength is chosen on: BM3D is slow


def bm3d_installed() -> bool:
    """Whether the package `bm3d` can be imported (free for non-commercial use only)."""
    return importlib.util.find_spec('bm3d') is not None


def tuned_nlm(captures_NHWC: np.ndarray, measured_HWC: np.ndarray | None = None) -> Restore:
    """Non-local means with the strength that has the least error as the captures tell it.

    Args:
      captures_NHWC: two or more.
      measured_HWC: False where they hold no measurement, which tells nothing of the noise; None:
        all is one.
    """
    noise = _mean(without_clean.error_maps(captures_NHWC, captures_NHWC), measured_HWC)
    sigma = float(np.sqrt(max(noise, 1e-12)))
    candidates = [_nlm(strength * sigma, sigma) for strength in _NLM_STRENGTHS]
    return _best(candidates, captures_NHWC, measured_HWC)


def tuned_bm3d(captures_NHWC: np.ndarray, measured_HWC: np.ndarray | None = None) -> Restore:
    """BM3D (Dabov et al. 2007) between the Anscombe transform and its exact unbiased inverse.

    From the captures: the line of the noise's variance over the signal, the standard deviation
    that the transform leaves, and the strength, by the error on a crop in the middle. Noise that
    neighbors share is met by more strength: to tell BM3D its spectrum gains 0.2 dB over that on
    widefield microscopy, and fails with NumPy from 2.4 on (bm3d 4.0.3).

    Args:
      captures_NHWC: two or more.
      measured_HWC: see `tuned_nlm`.
    """
    if measured_HWC is not None:
        captures_NHWC = measured_part(captures_NHWC, measured_HWC).captures_NHWC
    line = noise_model(captures_NHWC)
    transform = Anscombe(line.gain, line.read * abs(line.read))
    transformed_NHWC = transform.forward(captures_NHWC)
    sigma = float(np.sqrt(without_clean.error_maps(transformed_NHWC, transformed_NHWC).mean()))
    related = without_clean.patch_side(captures_NHWC) > without_clean.SMALLEST_PATCH
    strengths = _BM3D_STRENGTHS_RELATED if related else _BM3D_STRENGTHS
    top, left = (max(0, (side - _BM3D_CROP) // 2) for side in captures_NHWC.shape[1:3])
    crops_NHWC = captures_NHWC[:, top : top + _BM3D_CROP, left : left + _BM3D_CROP]
    return _best([_bm3d(transform, k * sigma) for k in strengths], crops_NHWC, few=True)


def _best(
    candidates: Sequence[Restore],
    captures_NHWC: np.ndarray,
    measured_HWC: np.ndarray | None = None,
    *,
    few: bool = False,
) -> Restore:
    """The one with the least error on the captures, or on as few of them as will do."""
    x = captures_NHWC

    def error(restore: Restore) -> float:
        if few and len(x) > 2:
            return _mean(without_clean.error_map(restore(x[0]), x[1:])[None], measured_HWC)
        maps_NHWC = without_clean.error_maps(np.stack([restore(c) for c in x]), x)
        return _mean(maps_NHWC, measured_HWC)

    return min(candidates, key=error)


def _mean(maps_NHWC: np.ndarray, measured_HWC: np.ndarray | None) -> float:
    """Over what was measured; over all if nothing was."""
    if measured_HWC is None or not measured_HWC.any():
        return float(maps_NHWC.mean())
    return float(maps_NHWC[:, measured_HWC].mean())


def _nlm(strength: float, sigma: float) -> Restore:
    from skimage.restoration import denoise_nl_means

    def restore(noisy_HWC: np.ndarray) -> np.ndarray:
        restored = denoise_nl_means(
            noisy_HWC, patch_size=5, patch_distance=6, h=strength, sigma=sigma, channel_axis=-1
        )
        return restored.reshape(noisy_HWC.shape).astype(np.float32)  # it drops a single channel

    return restore


def _bm3d(transform: Anscombe, sigma: float) -> Restore:
    def restore(noisy_HWC: np.ndarray) -> np.ndarray:
        from bm3d import bm3d

        planes = [bm3d(plane_HW, sigma) for plane_HW in transform.forward(noisy_HWC).T]
        return transform.inverse(np.stack(planes).T).astype(np.float32)

    return restore
