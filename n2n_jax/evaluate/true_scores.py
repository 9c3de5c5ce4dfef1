"""Scores results against a clean image.

N captures of a scene or results, H height, W width, C channels.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

import jax
import numpy as np
from scipy import ndimage

from n2n_jax.evaluate import metrics
from n2n_jax.evaluate.methods import Method
from n2n_jax.evaluate.truth_noise import TruthNoise

# Keys of errors against the clean image, and of the same in dB.
_PSNR_KEYS = {
    'mse_true': 'psnr_true',
    'mse_true_corrected': 'psnr_true_corrected',  # minus the noise of the clean image
    'mse_true_all': 'psnr_true_all',
}
# One program: outside of jit, JAX compiles each of its hundred operations for each shape.
_ssim_map = jax.jit(metrics.ssim_map)

# Scores of a scene whose clean image is not known.
UNKNOWN: dict[str, float | None] = dict.fromkeys(
    (*_PSNR_KEYS, *_PSNR_KEYS.values(), 'psnr_true_first', 'ssim_true')
)


@dataclasses.dataclass(frozen=True)
class Truth:
    """The clean image of a scene; all arrays in the range of the network.

    Attributes:
      clean_HWC: the clean image.
      captures_NHWC: the captures of the scene.
      mask_HWC: True where no capture is clipped and all were measured.
      measured_HWC: True where values were measured.
      noise: noise of the clean image; None if none was found.
    """

    clean_HWC: np.ndarray
    captures_NHWC: np.ndarray
    mask_HWC: np.ndarray
    measured_HWC: np.ndarray
    noise: TruthNoise | None

    def scores(self, method: Method) -> dict[str, float | None]:
        """Scores results over the mask and over all measured values, by key of the row."""
        results_NHWC, mask_HWC = method.results_NHWC, self.mask_HWC
        squares_NHWC = (results_NHWC.astype(np.float64) - self.clean_HWC) ** 2
        mse = _mean_square(squares_NHWC, mask_HWC)
        corrected = mse
        if mse is not None and self.noise is not None:
            corrected = self.noise.corrected(
                mse,
                [result_HWC[mask_HWC] for result_HWC in results_NHWC],
                self.captures_NHWC[:, mask_HWC],
                method.made_of,
            )
        errors = (mse, corrected, _mean_square(squares_NHWC, self.measured_HWC))
        named = dict(zip(_PSNR_KEYS, errors, strict=True))
        return {
            **named,
            **{_PSNR_KEYS[name]: _psnr(error) for name, error in named.items()},
            # The first result alone, over all measured values.
            'psnr_true_first': _psnr(_mean_square(squares_NHWC[:1], self.measured_HWC)),
            'ssim_true': self._ssim(results_NHWC),
        }

    def _ssim(self, results_NHWC: np.ndarray) -> float | None:
        """Averages SSIM over fully measured windows; None if there is none."""
        margin = metrics.SSIM_WINDOW // 2
        whole_HWC = ndimage.minimum_filter(
            self.measured_HWC, (metrics.SSIM_WINDOW, metrics.SSIM_WINDOW, 1), mode='nearest'
        )[margin:-margin, margin:-margin]
        if not whole_HWC.any():  # or the scene is smaller than the window
            return None
        clean_NHWC = np.broadcast_to(self.clean_HWC, results_NHWC.shape)
        map_NHWC = _ssim_map(np.float32(results_NHWC), np.float32(clean_NHWC))
        return float(np.mean(np.asarray(map_NHWC)[:, whole_HWC]))


def means(
    scored: Mapping[str, Sequence[tuple[str, Mapping[str, float | None]]]],
    mean_of: Literal['dB', 'mse'],
) -> dict[str, dict[str, float | None]]:
    """Averages each method's true scores over the scenes where all methods have that score.

    Otherwise the best methods would lose their best scenes, where their error is too small to be
    told from the noise of the clean image.

    Args:
      scored: by method, name and scores of each scene.
      mean_of: what is averaged over scenes.

    Returns:
      By method the averages, and the number of scenes behind `psnr_true_corrected`.
    """
    every = [one for of_method in scored.values() for one in of_method]
    keys = list(every[0][1])
    unknown = {key: {scene for scene, scores in every if scores[key] is None} for key in keys}
    found = {}
    for name, of_method in scored.items():
        averages: dict[str, float | None] = {
            key: _mean_known(
                [scores[key] for scene, scores in of_method if scene not in unknown[key]]
            )
            for key in keys
        }
        if mean_of == 'mse':
            averages |= {decibels: _psnr(averages[of]) for of, decibels in _PSNR_KEYS.items()}
        known = [scene for scene, _ in of_method if scene not in unknown['psnr_true_corrected']]
        found[name] = {**averages, 'n_true_corrected': len(known)}
    return found


def _mean_square(squares_NHWC: np.ndarray, mask_HWC: np.ndarray) -> float | None:
    return float(squares_NHWC[:, mask_HWC].mean()) if mask_HWC.any() else None


def _psnr(mse: float | None) -> float | None:
    return None if mse is None else float(-10 * np.log10(max(mse, 1e-12)))


def _mean_known(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
