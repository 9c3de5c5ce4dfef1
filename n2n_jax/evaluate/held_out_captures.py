"""Evaluates weights on held-out captures, without a clean image.

N captures of a scene, H height, W width, C channels.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from n2n_jax import models
from n2n_jax.captures.scene_captures import SceneCaptures
from n2n_jax.evaluate import without_clean
from n2n_jax.evaluate.report import Report
from n2n_jax.evaluate.shown_values import DIFFERENCE, ShownValues
from n2n_jax.images import pictures
from n2n_jax.runtime import result_rows
from n2n_jax.runtime.config import ModelConfig
from n2n_jax.runtime.progress import ProgressLine

PROTOCOL = (
    'held-out regions (eval.captures_area), each denoised whole, all values, peak 1 = model.white '
    '- model.black, output not clipped nor rounded; each capture denoised by itself; error against '
    'the clean image estimated from the other captures (see docs/own-captures.md), an estimate and '
    'no measurement; dB of the mean over regions of the squared error; ci95: for these regions, '
    "the noise of their captures alone, bootstrap over patches; input: the captures' own noise"
)

_MOST_PICTURES = 3


class CaptureEvaluator:
    """Evaluates weights on held-out captures.

    Args:
      model: the network to evaluate.
      scenes: held-out captures, in the range of the network.
    """

    def __init__(self, model: ModelConfig, scenes: Sequence[SceneCaptures]) -> None:
        self.scenes = scenes
        self._apply = _jitted_apply(model)
        self._shown = ShownValues.of(model)
        noise_C = np.array(self._shown.noise_C)
        # Unweighted, a dim channel would hardly influence which weights are best.
        self._weights_C = 1 / noise_C**2 if len(noise_C) > 1 else None

    def __call__(self, variables: Any, step: int) -> Report:
        """Estimates the PSNR of the weights of `step` on every scene."""
        images, patches, raw_patches = [], [], []
        weighted: list[tuple[without_clean.Patches, without_clean.Patches]] = []
        triptychs = {}
        with ProgressLine('evaluating captures', len(self.scenes)) as progress:
            for k, scene in enumerate(self.scenes):
                captures_NHWC, mask_HWC = scene.captures_NHWC, scene.measured_HWC
                denoised_NHWC = np.stack(
                    [self._apply(variables, capture[None])[0] for capture in captures_NHWC]
                )
                map_HWC = without_clean.error_maps(denoised_NHWC, captures_NHWC).mean(axis=0)
                raw_HWC = without_clean.error_maps(captures_NHWC, captures_NHWC).mean(axis=0)
                sums = functools.partial(
                    without_clean.patch_sums,
                    mask_HWC=mask_HWC,
                    side=without_clean.patch_side(captures_NHWC),
                )
                patches.append(sums(map_HWC))
                raw_patches.append(sums(raw_HWC))
                if self._weights_C is not None:
                    weighted.append(
                        (sums(map_HWC * self._weights_C), sums(raw_HWC * self._weights_C))
                    )
                images.append({'image': scene.name, **_estimates(patches[-1:], raw_patches[-1:])})
                if k < _MOST_PICTURES:
                    triptychs[f'captures_{k + 1}.png'] = self._draw(captures_NHWC, denoised_NHWC)
                progress.update(k + 1)
        row = {
            'step': step,
            'set': 'held out',
            'noise': 'captures',
            **_estimates(patches, raw_patches),
            **_errors_in_noise_units(weighted),
            'n': len(self.scenes),
            'protocol': PROTOCOL,
        }
        return Report([row], [images], triptychs)

    def _draw(self, captures_NHWC: np.ndarray, denoised_NHWC: np.ndarray) -> np.ndarray:
        """Draws the first capture, its denoised version, the mean of all and the residual."""
        image, difference = self._shown.image, self._shown.difference
        row = [
            ('capture 1', image(captures_NHWC[0])),
            ('denoised', image(denoised_NHWC[0])),
            (f'mean of {len(captures_NHWC)} captures', image(captures_NHWC.mean(axis=0))),
            (DIFFERENCE, difference(captures_NHWC[0], denoised_NHWC[0])),
        ]
        return pictures.grid([row])


_ScenePatches = list[without_clean.Patches]


def _estimates(patches: _ScenePatches, raw_patches: _ScenePatches) -> dict[str, Any]:
    # Averages squared errors, not dB: they are unbiased, and one scene whose error is too small to
    # measure does not make the result infinite.
    raw = without_clean.estimate_psnr(raw_patches, mean_of='mse').as_dict()
    return {
        **without_clean.estimate_psnr(patches, mean_of='mse').as_dict(),
        'psnr_estimate_input': raw['psnr_estimate'],
        'mse_estimate_input': raw['mse_estimate'],
    }


def _errors_in_noise_units(
    weighted: Sequence[tuple[without_clean.Patches, without_clean.Patches]],
) -> dict[str, float | None]:
    """Estimates the errors in units of each channel's noise, used to choose the best weights."""
    if not weighted:
        return {}
    model, raw = (
        without_clean.estimate_psnr(parts, mean_of='mse').as_dict()
        for parts in zip(*weighted, strict=True)
    )
    return {
        result_rows.IN_NOISE: model['mse_estimate'],
        f'{result_rows.IN_NOISE}_error': model['mse_error'],
        f'{result_rows.IN_NOISE}_input': raw['mse_estimate'],
    }


@functools.lru_cache(maxsize=4)
def _jitted_apply(config: ModelConfig) -> Callable[[Any, jax.Array], jax.Array]:
    """Returns the compiled network, shared by evaluators so that each image size compiles once."""
    return jax.jit(models.build(config).apply)
