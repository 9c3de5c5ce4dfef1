"""The description of the evaluation protocol that is printed with every score."""

from n2n_jax.corruptions import Corruptor
from n2n_jax.runtime.config import EvalConfig, ModelConfig

METRICS = ('psnr', 'psnr_float', 'ssim')  # which the text describes


def in_words(config: EvalConfig, model: ModelConfig, corruptor: Corruptor, *, replicas: int) -> str:
    """Describes the protocol of scores under one noise.

    The text identifies results in results.json: changing it makes older scores incomparable. So it
    is the same whatever `eval.metrics` lists, and an evaluation by more metrics replaces one by
    fewer.

    Args:
      config: the settings of the evaluation.
      model: the network.
      corruptor: the noise.
      replicas: number of noisy versions of each image.
    """
    precision = '' if model.precision == 'default' else f'; {model.precision} precision'
    shown = f'; shown the planes {model.planes}' if model.planes else ''
    shown += '; noise level estimated from each noisy image' if model.noise_map else ''
    return (
        f'{"RGB" if model.channels == 3 else "gray"} whole images, all values, peak 1; noise '
        f'{_clipping_text(corruptor)}, drawn from evaluation seed {config.seed} and the pixels of '
        f'each image, {replicas} noisy version(s) of each; psnr, ssim: output clamped and '
        'rounded to 8 bits; psnr_float: clamped only; psnr_input, ssim_input: the noisy image as '
        'it is; mean of per-image values; ci95: bootstrap over images'
        f'{precision}{shown}'
    )


def _clipping_text(corruptor: Corruptor) -> str:
    """Describes which stages clip or round the values.

    Rectification by the first stage is not mentioned: clean images have no negative values.
    """
    parts = []
    for i, stage in enumerate(corruptor.stages):
        name = stage.corruption.name
        if stage.corruption.rectifies and i > 0:
            parts.append(f'below 0 set to 0 ahead of {name}')
        if stage.corruption.cuts:
            low, high = f'{stage.low:g}', f'{stage.high:g}'
            level = low if low == high else f'{low} to {high}'
            parts.append(f'{stage.corruption.cuts.format(level=level)} by {name}')
    if not parts:
        return 'not clipped nor rounded'
    return f'of {corruptor.spec}: {", then ".join(parts)}'
