"""What was done to get a score, in the words that are printed with it."""

from n2n_jax.corruptions import Corruptor
from n2n_jax.runtime.config import EvalConfig


def in_words(config: EvalConfig, channels: int, corruptor: Corruptor) -> str:
    """The protocol of scores under one noise."""
    return (
        f'{"RGB" if channels == 3 else "gray"} whole images, all values, peak 1; noise '
        f'{_cuts(corruptor)}, drawn from evaluation seed {config.seed} and the pixels of each '
        f'image, {config.replicas} noisy version(s) of each; psnr, ssim: output clamped and '
        'rounded to 8 bits; psnr_float: clamped only; psnr_input, ssim_input: the noisy image as '
        'it is; mean of per-image values; ci95: bootstrap over images'
    )


def _cuts(corruptor: Corruptor) -> str:
    """What its stages do to the range and the steps of the values.

    A first stage that rectifies meets clean images alone, which hold nothing to be rectified.
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
