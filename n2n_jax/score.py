"""How good a denoiser is, told from captures alone, beside what one would try first.

N captures of a scene, H height, W width, C channels.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from n2n_jax import io, pair_metrics
from n2n_jax.data.own_captures import SceneCaptures
from n2n_jax.errors import UserError
from n2n_jax.progress import ProgressLine

# Strengths of non-local means to choose from, in units of the noise's standard deviation.
_NLM_STRENGTHS = (0.4, 0.6, 0.8, 1.0, 1.3)
_MOST_SATURATED = 0.01  # share of the values that may lie at an end of the type's range

MODEL = 'model'

Restore = Callable[[np.ndarray], np.ndarray]  # (H, W, C) float32 in the network's range to the same


@dataclasses.dataclass(frozen=True)
class Method:
    """The outcome of one method on one scene.

    Attributes:
      name: of the method.
      map_HWC: whose mean estimates the mean squared error, averaged over the captures.
      first_HWC: what it makes of the first capture, to be held against a clean image.
    """

    name: str
    map_HWC: np.ndarray
    first_HWC: np.ndarray


def score_scene(captures_NHWC: np.ndarray, restore: Restore) -> list[Method]:
    """All methods on one scene.

    Args:
      captures_NHWC: float32 in the range of the network.
      restore: the model.

    Returns:
      The captures as they are, their mean, non-local means with the strength that the captures
      themselves choose, the model; and of three captures or more the two ways to use two of them.
    """
    x = captures_NHWC
    raw_maps = pair_metrics.error_maps(x, x)
    sigma = float(np.sqrt(max(raw_maps.mean(), 1e-12)))
    methods = [
        Method('one capture', raw_maps.mean(axis=0), x[0]),
        # The noise of a mean of N is an N-th of the mean of their noise.
        Method(f'mean of {len(x)} captures', raw_maps.mean(axis=0) / len(x), x.mean(axis=0)),
    ]
    nlm = min(
        (
            _per_capture('non-local means', x, _nlm(strength * sigma, sigma))
            for strength in _NLM_STRENGTHS
        ),
        key=lambda method: method.map_HWC.mean(),
    )
    methods.append(nlm)
    denoised_NHWC = np.stack([restore(capture) for capture in x])
    maps = pair_metrics.error_maps(denoised_NHWC, x)
    methods.append(Method(MODEL, maps.mean(axis=0), denoised_NHWC[0]))
    if len(x) > 2:
        for name, combined_HWC in (
            ('model, mean of two results', denoised_NHWC[:2].mean(axis=0)),
            ('model on the mean of two', restore(x[:2].mean(axis=0))),
        ):
            methods.append(Method(name, _against_third(combined_HWC, x), combined_HWC))
    return methods


def _per_capture(name: str, captures_NHWC: np.ndarray, restore: Restore) -> Method:
    restored_NHWC = np.stack([restore(capture) for capture in captures_NHWC])
    maps = pair_metrics.error_maps(restored_NHWC, captures_NHWC)
    return Method(name, maps.mean(axis=0), restored_NHWC[0])


def _against_third(combined_HWC: np.ndarray, captures_NHWC: np.ndarray) -> np.ndarray:
    """The error of what was made of captures 0 and 1, seen by each of the others.

    E (g - x_k)^2 is the error plus the noise of x_k, and that is E (x_k - x_0)(x_k - x_1).
    """
    x = captures_NHWC.astype(np.float64)
    maps = [(combined_HWC - x_k) ** 2 - (x_k - x[0]) * (x_k - x[1]) for x_k in x[2:]]
    return np.mean(maps, axis=0)


def _nlm(strength: float, sigma: float) -> Restore:
    from skimage.restoration import denoise_nl_means

    def restore(noisy_HWC: np.ndarray) -> np.ndarray:
        restored = denoise_nl_means(
            noisy_HWC, patch_size=5, patch_distance=6, h=strength, sigma=sigma, channel_axis=-1
        )
        return restored.reshape(noisy_HWC.shape).astype(np.float32)  # it drops a single channel

    return restore


def why_not_trusted(captures_NHWC: np.ndarray) -> str:
    """What makes an estimate from these captures worthless; '' if nothing is known to.

    Args:
      captures_NHWC: as they were read, in the type of the files.
    """
    for i, capture in enumerate(captures_NHWC):
        for j in range(i):
            if np.array_equal(capture, captures_NHWC[j]):
                return f'captures {j + 1} and {i + 1} are the same image'
    values = captures_NHWC
    if values.dtype.kind in 'iu':
        low, high = np.iinfo(values.dtype).min, np.iinfo(values.dtype).max
    else:
        low, high = values.min(), values.max()
    for end, word in ((low, 'lowest'), (high, 'highest')):
        share = float(np.mean(values == end))
        if share > _MOST_SATURATED:
            return f'{share:.1%} of the values are the {word} there is: clipped noise has no mean 0'
    return ''


def score(
    scenes: Sequence[SceneCaptures],
    to_network: Callable[[np.ndarray], np.ndarray],
    restore: Restore,
    *,
    truth: dict[str, np.ndarray] | None = None,
) -> list[dict[str, Any]]:
    """One row per scene and method, and one per method over the scenes that can be trusted.

    The latter have the scene ''. If no scene can be trusted they are over all.

    Args:
      scenes: captures as they were read.
      to_network: pixel values to the range of the network, whose white is the peak.
      restore: the model.
      truth: clean images by scene, in the units of the captures.
    """
    rows: list[dict[str, Any]] = []
    patches: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    trues: dict[str, list[float]] = {}
    whys = [why_not_trusted(scene.captures_NHWC) for scene in scenes]
    trusted_only = not all(whys)
    with ProgressLine('scoring', len(scenes)) as progress:
        for k, (scene, why) in enumerate(zip(scenes, whys, strict=True)):
            counts = not (why and trusted_only)
            clean_HWC = None if truth is None else to_network(truth[scene.name])
            for method in score_scene(to_network(scene.captures_NHWC), restore):
                sums = pair_metrics.patch_sums(method.map_HWC)
                if counts:
                    patches.setdefault(method.name, []).append(sums)
                true = None
                if clean_HWC is not None:
                    error = np.mean((method.first_HWC.astype(np.float64) - clean_HWC) ** 2)
                    true = float(-10 * np.log10(max(error, 1e-12)))
                    if counts:
                        trues.setdefault(method.name, []).append(true)
                rows.append(_row(scene.name, method.name, [sums], true, why))
            progress.update(k + 1)
    why = '' if trusted_only else 'no scene can be trusted'
    for name, sums in patches.items():
        true = float(np.mean(trues[name])) if name in trues else None
        rows.append({**_row('', name, sums, true, why), 'n': len(sums)})
    return rows


def _row(
    scene: str,
    method: str,
    patches: list[tuple[np.ndarray, np.ndarray]],
    true: float | None,
    why: str,
) -> dict[str, Any]:
    estimate = pair_metrics.estimate_psnr(patches)
    return {
        'scene': scene,
        'method': method,
        **estimate.as_dict(),
        'psnr_true': true,
        'trusted': not why,
        'why': why,
    }


def read_truth(folder: Path, scenes: Sequence[SceneCaptures]) -> dict[str, np.ndarray]:
    """Clean images by scene: a file named as the scene, or as its first capture.

    Raises:
      UserError: one is missing or of another size.
    """
    files = {path.stem: path for path in io.find_images(folder)}
    truth = {}
    for scene in scenes:
        stems = [scene.name, f'{scene.name}_1', f'{scene.name}_a']
        file = next((files[stem] for stem in stems if stem in files), None)
        if file is None:
            raise UserError(f'{folder} holds no clean image for {scene.name}: name it {stems[0]}.')
        pixels = io.read_image(file).pixels
        truth[scene.name] = pixels.reshape(*pixels.shape[:2], -1)
        if truth[scene.name].shape != scene.captures_NHWC.shape[1:]:
            raise UserError(f'{file} is of another size than the captures of {scene.name}.')
    return truth


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The rows over all scenes, and what cannot be trusted."""
    overall = [row for row in rows if not row['scene']]
    with_truth = any(row['psnr_true'] is not None for row in overall)
    lines = [
        '| method | PSNR, estimated (95 %) |' + (' against the clean image |' if with_truth else '')
    ]
    lines.append('|---|---:|' + ('---:|' if with_truth else ''))
    for row in overall:
        line = f'| {row["method"]} | {pair_metrics.in_words(row)} |'
        lines.append(line + (f' {row["psnr_true"]:.2f} |' if with_truth else ''))
    num_scenes = len({row['scene'] for row in rows if row['scene']})
    lines += [
        '',
        f'Over {overall[0]["n"]} of {num_scenes} scenes; peak: the white of the model. The first '
        'column needs no clean image; it is an estimate.',
    ]
    for row in rows:
        if row['scene'] and row['why'] and row['method'] == MODEL:
            lines.append(f'Not to be trusted: {row["scene"]} ({row["why"]}).')
    return '\n'.join(lines)
