"""Compares a picture and its denoised version: with a clean original, or with a second capture.

N captures, H height, W width, C channels. A lower-case h: some rows.
"""

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from n2n_jax import corruptions
from n2n_jax.app import views
from n2n_jax.app.job_queue import Job
from n2n_jax.app.models import OfferedModels
from n2n_jax.app.pictures import Picture
from n2n_jax.captures import audit
from n2n_jax.captures.scene_captures import SceneCaptures
from n2n_jax.denoise.choice import Range
from n2n_jax.denoise.denoiser import Denoiser
from n2n_jax.evaluate import baselines, metrics, scored_scenes
from n2n_jax.evaluate import score as score_lib
from n2n_jax.evaluate.baselines.known_noise import KnownNoise
from n2n_jax.evaluate.baselines.noisy_pairs import drawer
from n2n_jax.evaluate.methods import MODEL, ONE, OPTIONAL
from n2n_jax.images import open_image, pictures
from n2n_jax.images.pixel_range import PixelRange
from n2n_jax.models import zoo
from n2n_jax.runtime.config import ModelConfig
from n2n_jax.runtime.errors import UserError

_ROWS = 512  # of an image, scored at a time
_CAPTURE_SIDE = 2048  # pixels of the part of two captures that is scored
_TRIAL_SIDE = 384  # pixels of the part of a clean picture that trials are made on
TRIAL_BASELINES = ('nlm', 'bm3d', 'median', 'tv')
_READING_FILES = ('kernel_blur',)  # corruptions whose level is the name of a file


def with_original(picture: Picture, clean: Path, name: str) -> dict[str, dict[str, float]]:
    """Scores the first image of a picture, and of its result, against the clean original.

    Args:
      picture: the picture.
      clean: the original.
      name: of the original, for messages.

    Returns:
      {'noisy': {'psnr': ..., 'ssim': ..., 'mse': ...}, 'denoised': ...}, the latter if there is a
      result. SSIM is NaN where a side is shorter than its window.

    Raises:
      UserError: the original is of another size, or cannot be read.
    """
    scores = {'noisy': _scores(picture.source, clean, picture, name)}
    if picture.result:
        scores['denoised'] = _scores(picture.result, clean, picture, name)
    return scores


def _scores(file: Path, clean: Path, picture: Picture, name: str) -> dict[str, float]:
    squares, count, ssims = 0.0, 0, []
    with open_image(file) as first, open_image(clean) as second:
        frame, other = first.frames[0], second.frames[0]
        shape = frame.height, frame.width, frame.channels
        if shape != (other.height, other.width, other.channels):
            raise UserError(
                f'{name} is {other.width}x{other.height} with {other.channels} channels, '
                f'{picture.name} is {frame.width}x{frame.height} with {frame.channels}: give the '
                'original of this very picture.'
            )
        to_unit = _to_unit(frame.dtype, picture.found.range)
        # An original of another type has the range of its own.
        same = frame.dtype == other.dtype
        clean_to_unit = to_unit if same else _to_unit(other.dtype, Range())
        overlap = metrics.SSIM_WINDOW - 1
        for start in range(0, frame.height, _ROWS):
            stop = min(start + _ROWS, frame.height)
            above = max(0, start - overlap)
            rows = [
                convert(source.read(0, above, stop)[..., : frame.channels])
                for source, convert in ((first, to_unit), (second, clean_to_unit))
            ]
            a_hWC, b_hWC = (np.clip(row, 0, 1) for row in rows)
            own = slice(start - above, None)
            squares += float(np.sum((a_hWC[own] - b_hWC[own]).astype(np.float64) ** 2))
            count += a_hWC[own].size
            if min(a_hWC.shape[:2]) > overlap:
                ssim_BHWC = metrics.ssim_map(a_hWC[None], b_hWC[None])
                ssims.append((float(np.asarray(ssim_BHWC, np.float64).sum()), ssim_BHWC.size))
    mse = squares / count
    ssim = sum(s for s, _ in ssims) / sum(n for _, n in ssims) if ssims else float('nan')
    return {'psnr': _decibels(mse), 'ssim': ssim, 'mse': mse}


def _decibels(mse: float) -> float:
    return float('inf') if mse == 0 else -10 * float(np.log10(mse))


def _to_unit(dtype: np.dtype, shown: Range) -> Callable[[np.ndarray], np.ndarray]:
    config = dataclasses.replace(ModelConfig(), black=shown.black, white=shown.white)
    return PixelRange.of(dtype, config, name='the image').to_network


def with_capture(
    picture: Picture, capture: Path, name: str, denoiser: Denoiser, job: Job
) -> dict[str, Any]:
    """Scores a model on a picture and a second capture of its scene, without a clean image.

    Of large pictures, on their middle, so that it takes seconds and bounded memory.

    Args:
      picture: the first capture.
      capture: the second.
      name: of the second, for messages.
      denoiser: the model, with the range of the picture.
      job: the job that this is done in.

    Returns:
      'verdict' and 'findings' of the audit, and 'estimates': of the picture as it is and denoised,
      each with 'method', 'psnr' and the ends of its 'interval'; None where they cannot be told.

    Raises:
      UserError: the captures differ in size or type, or cannot be read.
    """
    kinds = [_kind(picture.source), _kind(capture)]
    if kinds[0] != kinds[1]:
        raise UserError(
            f'{name} is {kinds[1]}, {picture.name} is {kinds[0]}: a second capture of the same '
            'scene has the same size and type.'
        )
    captures_NHWC = np.stack([_middle(file, _CAPTURE_SIDE) for file in (picture.source, capture)])
    scene = SceneCaptures(picture.name, captures_NHWC)
    job.advance()
    audited = audit.audit_scene(scene)
    job.advance()
    scale = denoiser.pixel_range(captures_NHWC.dtype, picture.name)
    scenes = scored_scenes.prepare([scene])

    def restore(noisy_HWC: np.ndarray) -> np.ndarray:
        job.advance()
        return denoiser.denoise(noisy_HWC, name=picture.name)

    rows = score_lib.score(scenes, scale.to_network, restore, without=tuple(OPTIONAL))
    estimates = [
        {
            'method': words,
            'psnr': row['psnr_estimate'],
            'interval': row['ci95'],
        }
        for method, words in ((ONE, 'as it is'), (MODEL, 'denoised'))
        for row in rows
        if row['method'] == method and row['scene']
    ]
    return {
        'verdict': audit.worst(audited.findings),
        'findings': audit.markdown(audited.findings),
        'estimates': estimates,
    }


def _kind(file: Path) -> str:
    """Returns the size and type of the first image of a file, in words."""
    with open_image(file) as opened:
        frame = opened.frames[0]
    channels = f' with {frame.channels} channels' if frame.channels > 1 else ''
    return f'{frame.width}x{frame.height} {frame.dtype.name}{channels}'


@dataclasses.dataclass(frozen=True)
class Trial:
    """What one method makes of a clean picture with synthetic noise.

    Attributes:
      method: its name.
      psnr: of the result, in dB.
      ssim: of the result.
      image: the result, as PNG.
    """

    method: str
    psnr: float
    ssim: float
    image: bytes


def trial(picture: Picture, spec: str, models: OfferedModels, job: Job) -> list[Trial]:
    """Adds noise to the middle of a clean picture, and removes it by every model and baseline.

    Args:
      picture: the clean picture, or one whose clean original was given, which is then taken.
      spec: the noise, such as 'gaussian:25'.
      models: those that there are; of them, those that come with n2n_jax are tried.
      job: the job that this is done in.

    Returns:
      The clean picture, the noisy one, and the results, best first.

    Raises:
      UserError: the noise cannot be read, or the picture.
    """
    stored_HWC = _middle(picture.clean or picture.source, _TRIAL_SIDE)
    shown = Range() if picture.clean else picture.found.range
    clean_HWC = np.clip(_to_unit(stored_HWC.dtype, shown)(stored_HWC), 0, 1)
    if clean_HWC.shape[-1] not in (1, 3):
        raise UserError(f'{picture.name} is neither gray nor color, so no noise is made for it.')
    if any(name in spec for name in _READING_FILES):
        raise UserError(f"'{spec}' reads a file, which this page does not: choose other noise.")
    corruptor = corruptions.parse(spec)
    job.total = 1 + len(zoo.names()) + len(TRIAL_BASELINES)
    key = jax.random.key(0)
    noisy_HWC = np.asarray(corruptor.sample(key, jnp.asarray(clean_HWC[None])).image_BHWC)[0]
    job.advance(1)
    restores: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        name: models.load(name).denoise for name in zoo.names()
    }
    noise, pairs = KnownNoise.of(corruptor), drawer(corruptor, clean_HWC.shape[-1])
    for name in TRIAL_BASELINES:
        with contextlib.suppress(UserError):  # its package is missing
            restores[name] = baselines.make(name).for_noise(noise, pairs)
    results = []
    for name, restore in restores.items():
        results.append(_tried(name, restore(noisy_HWC), clean_HWC))
        job.advance(1)
    results.sort(key=lambda tried: -tried.psnr)
    return [
        Trial('clean', float('inf'), 1.0, _png(clean_HWC)),
        _tried('noisy', noisy_HWC, clean_HWC),
        *results,
    ]


def _tried(name: str, image_HWC: np.ndarray, clean_HWC: np.ndarray) -> Trial:
    shown_HWC = np.clip(image_HWC, 0, 1).astype(np.float32)
    pair = jnp.asarray(shown_HWC[None]), jnp.asarray(clean_HWC[None])
    psnr, ssim = float(metrics.psnr(*pair)[0]), float(metrics.ssim(*pair)[0])
    return Trial(name, psnr, ssim, _png(shown_HWC))


def _png(image_HWC: np.ndarray) -> bytes:
    return views.png(pictures.displayed(image_HWC))


def _middle_of(length: int, most: int) -> slice:
    first = max(0, (length - most) // 2)
    return slice(first, min(length, first + most))


def _middle(file: Path, most: int) -> np.ndarray:
    """Returns the middle of the first image of a file, as stored, `most` pixels a side at most."""
    with open_image(file) as opened:
        frame = opened.frames[0]
        rows, columns = (_middle_of(side, most) for side in (frame.height, frame.width))
        return opened.read(0, rows.start, rows.stop)[:, columns, : frame.channels]
