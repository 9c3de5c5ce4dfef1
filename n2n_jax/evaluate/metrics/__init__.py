"""Metrics of images against clean ones, by name.

`eval.metrics` lists them: 'psnr,ssim,lpips:alex'. PSNR is always computed, because it chooses the
pictures and has the interval.

To add a metric, write a module with a subclass of `Metric` and add it to `REGISTRY`: its fields are
its options (`n2n_jax.runtime.choices`), its class variables say how tables show it.
"""

from collections.abc import Iterable

from n2n_jax.evaluate.metrics.base import Metric
from n2n_jax.evaluate.metrics.bootstrap import bootstrap_interval
from n2n_jax.evaluate.metrics.lpips import Lpips
from n2n_jax.evaluate.metrics.pointwise import Bias, Mse, Psnr, PsnrFloat, mse, psnr, round_to_uint8
from n2n_jax.evaluate.metrics.structural import SSIM_WINDOW, Ssim, ssim, ssim_map
from n2n_jax.runtime import choices
from n2n_jax.runtime.errors import UserError

__all__ = [
    'PSNR',
    'REGISTRY',
    'SSIM_WINDOW',
    'Metric',
    'bootstrap_interval',
    'in_tables',
    'mse',
    'parse_list',
    'psnr',
    'round_to_uint8',
    'ssim',
    'ssim_map',
]

REGISTRY = choices.registry(
    'metric',
    {
        'psnr': Psnr,
        'psnr_float': PsnrFloat,
        'ssim': Ssim,
        'mse': Mse,
        'lpips': Lpips,
        'bias': Bias,
    },
)

PSNR = Psnr()


def parse_list(texts: str) -> tuple[Metric, ...]:
    """Parses metrics with commas between them: 'psnr,ssim,lpips:net=alex'.

    Returns:
      Them, with PSNR first, also if it is not listed.

    Raises:
      UserError: one of them cannot be parsed, or is listed twice.
    """
    parts = choices.parted(texts) if texts.strip() else []
    found = [choices.make('eval.metrics', part, REGISTRY) for part in parts]
    for i, metric in enumerate(found):
        if metric in found[:i]:
            raise UserError(f'eval.metrics={texts} lists {metric.name} twice: list it once.')
    return (PSNR, *(metric for metric in found if metric != PSNR))


def in_tables(names: Iterable[str]) -> list[Metric]:
    """Returns the metrics of these names that tables show, PSNR first.

    Names that are not known, of another version, are left out.
    """
    found = []
    for name in dict.fromkeys(names):
        try:
            found.append(choices.make('eval.metrics', name, REGISTRY))
        except UserError:
            continue
    return sorted((m for m in found if m.in_tables), key=lambda metric: metric != PSNR)
