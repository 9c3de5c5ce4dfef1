"""Baselines, non-local means and BM3D, with parameters tuned on the captures themselves.

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

# Candidates, in units of the standard deviation of the noise.
_NLM_STRENGTHS = (0.4, 0.6, 0.8, 1.0, 1.3)
_BM3D_STRENGTHS = (0.85, 1.0, 1.2)
_BM3D_STRENGTHS_CORRELATED = (1.0, 1.5, 2.0, 2.7)  # for noise correlated between neighbors
_BM3D_CROP = 128  # side in pixels of the crop that its strength is tuned on: BM3D is slow


def bm3d_installed() -> bool:
    """Checks whether the package `bm3d` is installed (free for non-commercial use only)."""
    return importlib.util.find_spec('bm3d') is not None


def tuned_nlm(captures_NHWC: np.ndarray, measured_HWC: np.ndarray | None = None) -> Restore:
    """Returns non-local means with the strength of least error, estimated from the captures.

    Args:
      captures_NHWC: two or more.
      measured_HWC: False where they hold no measurement: those pixels are ignored in the tuning;
        None: all were measured.
    """
    noise = _mean_over_measured(
        without_clean.error_maps(captures_NHWC, captures_NHWC), measured_HWC
    )
    sigma = float(np.sqrt(max(noise, 1e-12)))
    candidates = [_make_nlm(strength * sigma, sigma) for strength in _NLM_STRENGTHS]
    return _least_error(candidates, captures_NHWC, measured_HWC)


def tuned_bm3d(captures_NHWC: np.ndarray, measured_HWC: np.ndarray | None = None) -> Restore:
    """Returns BM3D (Dabov et al. 2007) between the Anscombe transform and its unbiased inverse.

    The captures determine the noise model, the standard deviation after the transform, and the
    strength (by the error on a central crop). Correlated noise gets larger strengths: passing its
    spectrum to BM3D gains another 0.2 dB on widefield microscopy, but fails with NumPy 2.4 and
    later (bm3d 4.0.3).

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
    correlated = without_clean.patch_side(captures_NHWC) > without_clean.SMALLEST_PATCH
    strengths = _BM3D_STRENGTHS_CORRELATED if correlated else _BM3D_STRENGTHS
    top, left = (max(0, (side - _BM3D_CROP) // 2) for side in captures_NHWC.shape[1:3])
    crops_NHWC = captures_NHWC[:, top : top + _BM3D_CROP, left : left + _BM3D_CROP]
    return _least_error(
        [_make_bm3d(transform, k * sigma) for k in strengths], crops_NHWC, first_only=True
    )


def _least_error(
    candidates: Sequence[Restore],
    captures_NHWC: np.ndarray,
    measured_HWC: np.ndarray | None = None,
    *,
    first_only: bool = False,
) -> Restore:
    """Returns the candidate of least error over the captures, or on the first one only."""
    x = captures_NHWC

    def error(restore: Restore) -> float:
        if first_only and len(x) > 2:
            return _mean_over_measured(
                without_clean.error_map(restore(x[0]), x[1:])[None], measured_HWC
            )
        maps_NHWC = without_clean.error_maps(np.stack([restore(c) for c in x]), x)
        return _mean_over_measured(maps_NHWC, measured_HWC)

    return min(candidates, key=error)


def _mean_over_measured(maps_NHWC: np.ndarray, measured_HWC: np.ndarray | None) -> float:
    """Averages over the measured values; over all if none was measured."""
    if measured_HWC is None or not measured_HWC.any():
        return float(maps_NHWC.mean())
    return float(maps_NHWC[:, measured_HWC].mean())


def _make_nlm(strength: float, sigma: float) -> Restore:
    from skimage.restoration import denoise_nl_means

    def restore(noisy_HWC: np.ndarray) -> np.ndarray:
        restored = denoise_nl_means(
            noisy_HWC, patch_size=5, patch_distance=6, h=strength, sigma=sigma, channel_axis=-1
        )
        # skimage drops the axis of a single channel.
        return restored.reshape(noisy_HWC.shape).astype(np.float32)

    return restore


def _make_bm3d(transform: Anscombe, sigma: float) -> Restore:
    def restore(noisy_HWC: np.ndarray) -> np.ndarray:
        from bm3d import bm3d

        planes = [bm3d(plane_HW, sigma) for plane_HW in transform.forward(noisy_HWC).T]
        return transform.inverse(np.stack(planes).T).astype(np.float32)

    return restore
